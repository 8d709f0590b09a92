"""A pod from its command line to its exit code, with a stand-in for abet."""

import json
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abet.errors import AbetError, UsageError
from abet.places import parse_place
from abet.storage import StorageUnavailable
from jobs.kubernetes import pod
from jobs.kubernetes.environment import TIMED_OUT
from jobs.kubernetes.pod import Order, parse_order, run_command_line, run_pod
from jobs.runtime import Runner
from tests.jobs.conftest import ROOT

STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path
folder = Path(__file__).parent
with (folder / "calls").open("a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
what = (folder / "todo").read_text().split()
(folder / "todo").write_text(" ".join(what[1:] or what))
if what[0] == "train":
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    (folder / "ready").touch()
    while not stopped:
        time.sleep(0.01)
    sys.exit(143)
if what[0] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / "ready").touch()
    time.sleep(1)
    sys.exit(1)
if what[0] == "lines":
    reason = "refused:\\n  leave out: --a\\n" + 3000 * "x" + "\\n  remedy: --output"
    Path(os.environ["ABET_VERDICT_FILE"]).write_text(json.dumps({"code": 2, "reason": reason}))
    sys.exit(2)
if what[0] == "commit":
    step = len((folder / "calls").read_text().split("\\n"))
    Path(os.environ["ABET_PROGRESS_FILE"]).write_text(json.dumps({"step": step}))
    sys.exit(1)
Path(os.environ["ABET_VERDICT_FILE"]).write_text(json.dumps({"code": int(what[0]), "reason": f"because {what[0]}"}))
sys.exit(int(what[0]))
"""


class Stage:
    """A stand-in for abet that does what it is told, and remembers its calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "abet.py").write_text(STAND_IN)

    def todo(self, text: str) -> None:
        (self.folder / "todo").write_text(text)

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    (tmp_path / "stage").mkdir()
    made = Stage(tmp_path / "stage")
    monkeypatch.setattr(pod, "bare_runner", lambda _: Runner(abet=(sys.executable, str(made.folder / "abet.py"))))
    return made


def training(tmp_path: Path, **changes: object) -> Order:
    values = {"name": "finetune", "command": ("train", "r"), "processes": 8, "run": tmp_path / "run", **changes}
    return Order(**values)


@pytest.mark.parametrize("code", [0, 2, 3])
def test_an_end_that_no_retry_changes_is_the_pods(code: int, stage: Stage, tmp_path: Path) -> None:
    stage.todo(str(code))
    last_word = tmp_path / "termination-log"
    last_word.touch()
    assert run_pod(training(tmp_path), [], {"ABET_LAST_WORD": str(last_word)}) == code
    assert last_word.read_text() == f"because {code}"
    assert stage.calls == [["launch", "--processes", "8", "--", "train", "r"]]
    (start,) = json.loads((tmp_path / "run" / "starts.json").read_text())["starts"]
    assert start["code"] == code


def test_a_failure_is_tried_again_in_the_same_pod_and_then_given_up(stage: Stage, tmp_path: Path) -> None:
    stage.todo("1")
    assert run_pod(training(tmp_path, retries=2), [], {}) == 1
    assert len(stage.calls) == 3


def test_new_checkpoints_begin_a_new_count(stage: Stage, tmp_path: Path) -> None:
    stage.todo("commit commit commit commit 0")
    assert run_pod(training(tmp_path, retries=0), [], {}) == 0
    assert len(stage.calls) == 5


@pytest.fixture
def stopping(stage: Stage) -> Iterator[list[int]]:
    """What `listening` gives: a stop signal as soon as the stand-in is ready for it."""
    received: list[int] = []

    def stop() -> None:
        while not (stage.folder / "ready").exists():
            time.sleep(0.01)
        received.append(signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    yield received
    thread.join()


def test_a_stop_signal_ends_in_143_after_saving(stage: Stage, stopping: list[int], tmp_path: Path) -> None:
    stage.todo("train")
    assert run_pod(training(tmp_path), stopping, {}) == 143
    assert len(stage.calls) == 1


def test_a_pod_that_could_not_save_does_not_end_the_job_and_counts(
    stage: Stage, stopping: list[int], tmp_path: Path
) -> None:
    stage.todo("deaf")
    assert run_pod(training(tmp_path), stopping, {}) == 143
    (start,) = json.loads((tmp_path / "run" / "starts.json").read_text())["starts"]
    assert start["code"] is None


def test_the_last_word_is_one_line_that_keeps_the_remedy(stage: Stage, tmp_path: Path) -> None:
    order, words = Order(name="fit", command=("fit",)), tmp_path / "termination-log"
    stage.todo("lines")
    assert run_pod(order, [], {"ABET_LAST_WORD": str(words)}) == 2
    said = words.read_text()
    assert (len(said), "\n" in said) == (1000, False)
    assert said.startswith("refused: leave out: --a; xxx")
    assert said.endswith("xxx; remedy: --output")
    assert "xxx...xxx" in said


def test_what_met_its_time_limit_is_not_tried_again_in_another_pod(stage: Stage, tmp_path: Path) -> None:
    limit = {"time_limit_minutes": 0.3 / 60, "grace_seconds": 60, "retries": 3}
    words = tmp_path / "termination-log"
    stage.todo("train")
    order = Order(name="fit", command=("fit", "--dataset", "cityscapes"), **limit)  # type: ignore[arg-type]
    assert run_pod(order, [], {"ABET_LAST_WORD": str(words)}) == TIMED_OUT
    assert "raise the time limit (TIME_LIMIT_MINUTES=)" in words.read_text()
    assert run_pod(shard(tmp_path, **limit), [], {"JOB_COMPLETION_INDEX": "0"}) == TIMED_OUT
    (told,) = failures(tmp_path).values()
    assert told["code"] == TIMED_OUT
    assert told["reason"].endswith("raise the time limit (TIME_LIMIT_MINUTES=), or begin anew in more parts (SHARDS=)")


@pytest.mark.parametrize("code", [0, 1, 3])
def test_what_is_no_training_runs_once_and_is_tried_again_by_the_cluster(
    code: int, stage: Stage, tmp_path: Path
) -> None:
    stage.todo(str(code))
    order = Order(name="merge", command=("merge", "run"))
    assert run_pod(order, [], {}) == code
    assert stage.calls == [["merge", "run"]]


def test_the_entry_listens_before_it_imports_what_takes_time() -> None:
    code = "import sys, jobs.pod; print([m for m in ('pydantic', 'boto3', 'yaml', 'abet.site') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_pods_that_died_too_often_are_not_started_again(stage: Stage, tmp_path: Path) -> None:
    stage.todo("0")
    died = [{"pod": "p", "time": "", "step": None, "code": None, "note": ""}] * 2
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "starts.json").write_text(json.dumps({"schema": 1, "starts": died}))
    with pytest.raises(AbetError, match="given up: the last 2 pods"):
        run_pod(training(tmp_path, retries=1), [], {})
    assert not (stage.folder / "calls").exists()


def test_a_run_that_cannot_be_reached_keeps_no_pod_from_starting(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("abet.storage.local.LocalStorage.read", unreachable)
    stage.todo("0")
    assert run_pod(training(tmp_path), [], {}) == 0
    assert capsys.readouterr().err.count("abet: warning: no answer") == 2


def unreachable(*_: object) -> None:
    raise StorageUnavailable("no answer")


def test_of_several_pods_each_launches_its_own_ranks_and_the_first_counts_starts(stage: Stage, tmp_path: Path) -> None:
    stage.todo("0")
    environment = {"PET_NNODES": "2", "MASTER_ADDR": "m", "MASTER_PORT": "1"}
    for rank in ("1", "0"):
        assert run_pod(training(tmp_path), [], {**environment, "PET_NODE_RANK": rank}) == 0
        assert (tmp_path / "run").exists() == (rank == "0")
    words = ["launch", "--processes", "8", "--nodes", "2", "--node-rank"]
    after = ["--rendezvous", "m:1", "--run-id", "finetune", "--", "train", "r"]
    assert stage.calls == [[*words, "1", *after], [*words, "0", *after]]


# --- shards


def shard(tmp_path: Path, **changes: object) -> Order:
    values = {
        **{"name": "evaluate", "command": ("evaluate", "--shard", "{shard}/8"), "run": tmp_path / "run"},
        **{"dataset": "road_anomaly", "shards": (3, 7), "of": 8, "retries": 2},
        **changes,
    }
    return Order(**values)


def failures(tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "run" / "evaluation" / "road_anomaly"
    return {path.name: json.loads(path.read_text()) for path in folder.glob("failed-*")}


def test_an_index_runs_its_shard_once_and_tells_what_is_permanent(stage: Stage, tmp_path: Path) -> None:
    stage.todo("3")
    assert run_pod(shard(tmp_path), [], {"JOB_COMPLETION_INDEX": "1"}) == 3
    assert stage.calls == [["evaluate", "--shard", "7/8"]]
    assert failures(tmp_path) == {"failed-007-of-008.json": {"code": 3, "reason": "because 3", "after": 0}}
    stage.todo("0")
    assert run_pod(shard(tmp_path), [], {"JOB_COMPLETION_INDEX": "1"}) == 0
    assert failures(tmp_path) == {}


def test_a_shard_that_nobody_waits_for_leaves_no_word(stage: Stage, tmp_path: Path) -> None:
    stage.todo("3")
    order = shard(tmp_path, run=None, dataset=None)
    assert run_pod(order, [], {"JOB_COMPLETION_INDEX": "1", "ABET_INDEX_FAILURES": "2"}) == 3
    assert stage.calls == [["evaluate", "--shard", "7/8"]]
    assert failures(tmp_path) == {}


def test_of_what_may_be_tried_again_the_last_try_is_told(stage: Stage, tmp_path: Path) -> None:
    stage.todo("1")
    for before in ("0", "1", "2"):
        assert failures(tmp_path) == {}
        environment = {"JOB_COMPLETION_INDEX": "0", "ABET_INDEX_FAILURES": before}
        assert run_pod(shard(tmp_path), [], environment) == 1
    assert failures(tmp_path) == {"failed-003-of-008.json": {"code": 1, "reason": "because 1", "after": 0}}
    assert len(stage.calls) == 3


def test_a_last_try_that_is_killed_counts_when_its_time_is_over(
    stage: Stage, stopping: list[int], tmp_path: Path
) -> None:
    stage.todo("deaf")
    last = {"JOB_COMPLETION_INDEX": "0", "ABET_INDEX_FAILURES": "2"}
    assert run_pod(shard(tmp_path, time_limit_minutes=60), stopping, last) == 1  # evicted
    (told,) = failures(tmp_path).values()
    assert told["code"] is None
    assert 3600 < told["after"] - time.time() < 3600 + 1000


# --- the command line


TRAINING = """--name finetune --processes 8 --retries 5 --grace-seconds 300 --run s3://models/run
--need AWS_ACCESS_KEY_ID=secret/abet-s3 -- train cityscapes_finetune --output s3://models/run"""
SHARDS_3_AND_7 = (
    "--name e --run r --dataset road_anomaly --time-limit-minutes 240 --shards 3,7/8 -- evaluate --shard {shard}/8"
)


def test_the_command_line_says_all_of_it() -> None:
    order = parse_order(shlex.split(TRAINING))
    assert order.command == ("train", "cityscapes_finetune", "--output", "s3://models/run")
    assert (order.processes, order.retries, order.grace_seconds) == (8, 5, 300)
    assert order.run == parse_place("s3://models/run")
    assert [need.name for need in order.needs] == ["abet-s3"]
    some = parse_order(shlex.split(SHARDS_3_AND_7))
    assert (some.shards, some.of, some.time_limit_minutes) == ((3, 7), 8, 240)
    second = parse_order(["--name", "e", "--shards", "3,7/8", "--", "components"])
    assert (second.shards, second.of, second.run, second.dataset) == ((3, 7), 8, None, None)
    for wrong in (["3"], ["3/8", "--run", "r"]):
        with pytest.raises(UsageError, match=r"--shards 3.*: expected NUMBERS/OF, with --run and --dataset or none"):
            parse_order(["--name", "e", "--shards", *wrong, "--", "evaluate"])


def test_a_run_that_is_no_place_is_refused_with_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_order(["--name", "e", "--run", "s3://a/b", "--", "evaluate"])
    assert ended.value.code == 2
    assert "s3://a/b" in (said := capsys.readouterr().err)
    assert "parse_place" not in said


def test_what_is_missing_is_said_before_anything_starts(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    assert run_command_line(["--name", "x", "--need", "NO_SUCH_KEY=secret/abet-s3", "--", "train", "r"], []) == 2
    assert "abet: error: NO_SUCH_KEY: secret abet-s3 is not in this namespace" in capsys.readouterr().err
    assert not (stage.folder / "calls").exists()
