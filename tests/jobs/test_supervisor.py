"""The supervisor of a node, with real child processes that stand in for abet."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abet.errors import AbetError
from jobs import attempts
from jobs.attempts import ATTEMPTS, WORDS
from jobs.cluster import Cluster
from jobs.signals import listening
from jobs.supervisor import Outcome, Task, command_line, supervise
from tests.jobs.conftest import HOSTILE, ROOT

HERE = Cluster(job_id="7", node="n1", requeues=True)


def supervised(task: Task, cluster: Cluster, **more: Any) -> Outcome:
    """One attempt, listened to as its callers do."""
    with listening() as received:
        return supervise(task, cluster, received, **more)


@pytest.fixture
def task(tmp_path: Path, runner: tuple[str, ...]) -> Callable[..., Task]:
    """A task whose command is what the stand-in does."""

    def make(*todo: str, **values: Any) -> Task:
        record = str(tmp_path / "record")
        return Task(name="job", command=todo, runner=runner, record=record, launch=False, **values)

    return make


@pytest.mark.parametrize(
    ("code", "cause", "again"),
    [(0, "done", False), (1, "failed", True), (2, "refused", False), (3, "refused", False), (143, "stopped", False)],
)
def test_exit_codes_come_through(task: Callable[..., Task], tmp_path: Path, code: int, cause: str, again: bool) -> None:
    outcome = supervised(task("say:because", f"exit:{code}"), HERE)
    assert outcome == Outcome(code=code, reason="because", cause=cause, again=again)  # type: ignore[arg-type]
    (attempt,) = attempts.read(tmp_path / "record").attempts
    assert (attempt.code, attempt.reason, attempt.cause, attempt.again) == (code, "because", cause, again)
    assert {path.name for path in (tmp_path / "record").iterdir()} == {ATTEMPTS, WORDS}  # the verdict is gone


@pytest.mark.parametrize(
    ("todo", "reason"),
    [
        (("exit:1",), "ended without a word (exit code 1)"),
        (("damage", "exit:1"), "ended without a word (exit code 1)"),
        (("die:9",), "ended without a word (signal 9)"),
        (("deaf", "die:15"), "ended without a word (signal 15)"),
    ],
)
def test_an_end_without_a_word_is_a_failure(task: Callable[..., Task], todo: tuple[str, ...], reason: str) -> None:
    outcome = supervised(task(*todo), HERE)
    assert (outcome.code, outcome.reason, outcome.cause) == (1, reason, "failed")


def test_a_runner_that_is_not_there(task: Callable[..., Task]) -> None:
    outcome = supervised(replace(task("exit:0"), runner=("/no/such/python", "-m", "abet"), retries=0), HERE)
    assert outcome.code == 1
    assert outcome.reason == (
        "/no/such/python -m abet: No such file or directory; check `python:` or the container of the profile"
    )


def test_a_record_folder_that_cannot_be_written_starts_nothing(task: Callable[..., Task], tmp_path: Path) -> None:
    (tmp_path / "record").touch()
    marker = tmp_path / "started"
    with pytest.raises(AbetError) as error:
        supervised(task(f"ready:{marker}"), HERE)
    assert str(tmp_path / "record") in str(error.value)
    assert "`jobs:` of the site file" in str(error.value)
    assert not marker.exists()


def test_a_record_that_vanishes_costs_the_diary_and_not_the_outcome(
    task: Callable[..., Task], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = supervised(task("say:lost", f"fill:{tmp_path / 'record'}", "exit:3"), HERE)
    assert (outcome.code, outcome.cause) == (3, "refused")
    assert "record is incomplete" in capsys.readouterr().err


def test_what_the_child_gets_to_know(task: Callable[..., Task], tmp_path: Path) -> None:
    assert supervised(task("environment"), HERE, copy_to=tmp_path / "logs").code == 0
    told = json.loads((tmp_path / "logs" / "out.log").read_text())
    assert told["ABET_JOB_ID"] == "7"
    assert told["ABET_PROGRESS_FILE"] == str(tmp_path / "record" / "progress.json")


def test_output_is_shown_and_kept_with_what_was_there(
    task: Callable[..., Task], tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for word in ("first", "second"):
        supervised(task(f"print:{word}"), HERE, copy_to=tmp_path / "logs")
    assert (tmp_path / "logs" / "out.log").read_text() == "first\nsecond\n"
    assert (tmp_path / "logs" / "err.log").read_text() == "err first\nerr second\n"
    assert capfdbinary.readouterr().out == b"first\nsecond\n"


def test_a_reader_that_leaves_stops_no_job(task: Callable[..., Task], tmp_path: Path, runner: tuple[str, ...]) -> None:
    driver = """
import sys
from pathlib import Path
from jobs.cluster import Cluster
from jobs.signals import listening
from jobs.supervisor import Task, supervise
record, logs, *runner = sys.argv[1:5]
task = Task(name="job", command=tuple(sys.argv[5:]), runner=tuple(runner), record=record, launch=False)
with listening() as received:
    code = supervise(task, Cluster(job_id="7", node="n1"), received, copy_to=Path(logs)).code
sys.stdout = None
sys.exit(code)
"""
    words = [str(tmp_path / "record"), str(tmp_path / "logs"), *runner, *["print:more"] * 200, "exit:0"]
    with subprocess.Popen([sys.executable, "-c", driver, *words], stdout=subprocess.PIPE, cwd=ROOT) as job:
        assert job.stdout is not None
        job.stdout.close()
    assert job.returncode == 0
    assert (tmp_path / "logs" / "out.log").read_text() == "more\n" * 200


def test_handlers_from_before_are_back_afterwards(task: Callable[..., Task]) -> None:
    def mine(number: int, frame: object) -> None:
        raise AssertionError(number)

    before = signal.signal(signal.SIGUSR2, mine)
    try:
        others = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        supervised(task("exit:0"), HERE)
        assert signal.getsignal(signal.SIGUSR2) is mine
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == others
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_paths_survive_to_the_child_unchanged(task: Callable[..., Task], tmp_path: Path) -> None:
    words = ("-c", "import json, sys; print(json.dumps(sys.argv[1:]))", HOSTILE, "", "--")
    supervised(replace(task(*words), runner=(sys.executable,)), HERE, copy_to=tmp_path / HOSTILE / "logs")
    assert json.loads((tmp_path / HOSTILE / "logs" / "out.log").read_text()) == [HOSTILE, "", "--"]


def test_what_a_node_starts(task: Callable[..., Task]) -> None:
    two = Cluster(job_id="7_1", node="n2", node_rank=1, nodes=2, rendezvous="10.0.0.7:20008")
    training = replace(task("train", "x"), launch=True, processes=8, runner=("srun", "--nodelist={node}", "abet"))
    assert command_line(training, two) == [
        *("srun", "--nodelist=n2", "abet", "launch", "--processes", "8", "--nodes", "2", "--node-rank", "1"),
        *("--rendezvous", "10.0.0.7:20008", "--run-id", "7_1-0", "--", "train", "x"),
    ]
    assert command_line(training, HERE)[3:] == ["launch", "--processes", "8", "--", "train", "x"]
    assert command_line(replace(training, launch=False), two)[3:] == ["train", "x"]


def test_a_failure_starts_again_until_it_was_fruitless_too_often(task: Callable[..., Task]) -> None:
    def attempt(restarts: int, *todo: str) -> Outcome:
        return supervised(task(*todo, "say:no", "exit:1", retries=2), replace(HERE, restarts=restarts))

    assert [attempt(0).again, attempt(1).again] == [True, True]
    assert attempt(2, "keep:10").again  # a new step sets the count back
    assert [attempt(3), attempt(4)] == [Outcome(code=1, reason="no", again=True, cause="failed")] * 2
    last = attempt(5)
    assert not last.again
    assert last.reason == "no; given up after 3 attempts in a row without a new checkpoint"


def test_a_command_is_stopped_at_a_time_limit_of_its_supervisor_and_killed_after_its_grace(
    task: Callable[..., Task],
) -> None:
    limit = {"time_limit_minutes": 0.3 / 60, "grace_seconds": 60}
    alone = replace(HERE, requeues=False)
    polite = supervised(task("wait:1", "say:stopped", "exit:143", **limit), alone)
    assert (polite.code, polite.cause, polite.again) == (143, "timeout", False)
    assert polite.reason.startswith("stopped; its time is over, and nothing of it is kept: raise the time limit")
    deaf = supervised(task("wait:9", **{**limit, "grace_seconds": 0}), alone)
    assert (deaf.cause, deaf.again) == ("timeout", False)
    assert deaf.reason.startswith("ended without a word (signal 9); its time is over")
    assert supervised(task("wait:1", "exit:0", **limit), alone).cause == "done"


def test_a_reason_of_several_lines_is_kept_as_one(task: Callable[..., Task], tmp_path: Path) -> None:
    outcome = supervised(task("say:refused:\n  leave out: --a\n  add: --b", "exit:2"), HERE)
    assert outcome.reason == "refused: leave out: --a; add: --b"
    assert attempts.read(tmp_path / "record").attempts[-1].reason == outcome.reason


def test_without_retries_nothing_starts_again(task: Callable[..., Task]) -> None:
    outcome = supervised(task("say:no", "exit:1", retries=0), HERE)
    assert (outcome.again, outcome.reason) == (False, "no")
