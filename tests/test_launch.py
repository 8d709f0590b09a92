"""``abet launch``: several processes, one exit code, one readable error, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from abet.cli import launch as command_line
from abet.errors import UsageError
from abet.exits import Ending
from abet.launch import Launch, launch, verdict
from tests.s3_server import free_ports
from tests.test_exits import is_running, said, wait_until

ROOT = Path(__file__).parents[1]

# What stands in for training; rank r does what the r-th argument says
RANK = """
import os, signal, sys, time
from pathlib import Path
from abet.exits import STOP_SIGNALS, announce_rank, announced, record_exit, recorded
announce_rank()
rank = int(os.environ["RANK"])
todo = sys.argv[1 + rank]
seen = []
if todo == "train":
    for number in (*STOP_SIGNALS, signal.SIGINT):
        signal.signal(number, lambda number, frame: seen.append(signal.Signals(number).name))
# One write: those of other ranks may come between two
os.write(2, f"rank {rank} pid {os.getpid()} parent {os.getppid()} of {os.environ['WORLD_SIZE']}\\n".encode())
folder = Path(os.environ["ABET_EXIT_DIR"])
(folder / f"said-{rank}").touch()
print(f"result of {rank}, {os.environ['OMP_NUM_THREADS']} threads")
if todo == "die":  # once every rank has said who it is
    while len(list(folder.glob("said-*"))) < int(os.environ["WORLD_SIZE"]):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
if todo == "hang":
    time.sleep(100)
if todo == "train":
    while not seen:
        time.sleep(0.01)
    while len(seen) < 2:  # a save during which a second signal comes
        time.sleep(0.01)
    todo = f"143:rank {rank} saved after {seen[0]}, whatever {seen[1]} wanted"
if todo == "lost":  # as soon as rank 1 has ended
    while not any(ending.rank == 1 for ending in recorded(folder)):
        stat = Path("/proc") / str(announced(folder).get(1, os.getpid())) / "stat"
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.01)
    record_exit(1, "lost its peers", follows=True)
    sys.exit(1)
code, _, reason = todo.partition(":")
record_exit(int(code), reason)
sys.exit(int(code))
"""
DRIVER = """
import json, sys
from abet.launch import Launch, launch
options, *todo = sys.argv[1:]
code, reason = launch(Launch(command=todo, processes=len(todo), module="standing_in", **json.loads(options)))
print(f"abet: {reason}", file=sys.stderr)
sys.exit(code)
"""


class Launched:
    """A launcher in a process of its own, with a private folder for temporary files."""

    def __init__(self, folder: Path, *todo: str, **options: Any) -> None:
        (folder / "standing_in.py").write_text(RANK)
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "ABET_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, json.dumps(options), *todo],
            env={**environment, "PYTHONPATH": f"{ROOT}:{folder}", "TMPDIR": str(self.temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []

    def pids(self, ranks: int) -> list[int]:
        """Process ids of all ranks and of torchrun, read from the ranks' standard error while they run."""
        assert self.process.stderr is not None
        self.lines += [self.process.stderr.readline() for _ in range(ranks)]
        return [int(line.split()[number]) for line in self.lines for number in (3, 5)]

    def end(self) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, "".join(self.lines) + err


def reasons(err: str) -> list[str]:
    """The lines on standard error that are not the ranks' own."""
    return [line for line in err.splitlines() if not line.startswith("rank ")]


@pytest.mark.faults
def test_ranks_that_are_done_print_through_and_end_with_0(tmp_path: Path) -> None:
    launched = Launched(tmp_path, "0", "0")
    code, out, err = launched.end()
    assert code == 0, err
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert sorted(out.splitlines()) == [f"result of {rank}, {threads} threads" for rank in (0, 1)]
    assert sorted(line.split(" pid")[0] for line in err.splitlines()[:2]) == ["rank 0", "rank 1"]
    assert reasons(err) == ["abet: "]
    assert list(launched.temporary.iterdir()) == []


@pytest.mark.faults
def test_a_permanent_error_wins_and_is_told_once_without_traceback(tmp_path: Path) -> None:
    code, _, err = Launched(tmp_path, "lost", "3:label.png: pixel value 77 is no class", "0").end()
    assert code == 3
    assert reasons(err) == ["abet: label.png: pixel value 77 is no class"]


@pytest.mark.faults
def test_a_rank_that_is_killed_takes_all_down_with_one_readable_error(tmp_path: Path) -> None:
    launched = Launched(tmp_path, "hang", "die", "lost")
    pids = launched.pids(3)
    code, _, err = launched.end()
    assert code == 1
    died = next(line.split()[3] for line in launched.lines if line.startswith("rank 1"))
    assert reasons(err) == [
        f"abet: rank 1 (pid {died}) ended without a word (signal 9, SIGKILL): out of memory? The kernel's log (dmesg) "
        "tells"
    ]
    assert not any(map(is_running, pids))


@pytest.mark.faults
def test_signals_reach_the_ranks_which_save_and_ignore_the_second(tmp_path: Path) -> None:
    launched = Launched(tmp_path, "train", "train")
    pids = launched.pids(2)
    launched.process.send_signal(signal.SIGTERM)
    launched.process.send_signal(signal.SIGUSR2)
    code, _, err = launched.end()
    assert code == 143
    (reason,) = reasons(err)
    # the launcher may get both at once, and then hands on the one with the lower number first
    assert reason in {
        "abet: rank 0 saved after SIGTERM, whatever SIGUSR2 wanted",
        "abet: rank 0 saved after SIGUSR2, whatever SIGTERM wanted",
    }
    assert not any(map(is_running, pids))


@pytest.mark.faults
def test_a_signal_that_comes_before_the_ranks_waits_for_them(tmp_path: Path) -> None:
    launched = Launched(tmp_path, "hang")
    assert wait_until(lambda: any(launched.temporary.glob("abet-launch-*/torchrun.log")))  # signals are caught by now
    launched.process.send_signal(signal.SIGUSR2)
    code, _, err = launched.end()
    assert code == 143
    assert reasons(err) == ["abet: stopped by SIGUSR2 before the start: run the same command again"]


@pytest.mark.faults
def test_a_launcher_whose_machines_never_meet_stops_when_told(tmp_path: Path) -> None:
    launched = Launched(tmp_path, "train", nodes=2, node_rank=1, rendezvous=f"127.0.0.1:{free_ports(1)}")
    assert wait_until(lambda: any(launched.temporary.glob("abet-launch-*/torchrun.log")))
    launched.process.send_signal(signal.SIGTERM)
    code, _, err = launched.end()
    assert code == 143
    assert reasons(err) == ["abet: stopped by SIGTERM before all machines had met: run the same command again"]


@pytest.mark.faults
def test_nothing_outlives_a_launcher_that_is_killed(tmp_path: Path) -> None:
    launched = Launched(tmp_path, "train", "hang")
    pids = launched.pids(2)
    assert all(map(is_running, pids))
    launched.process.kill()
    launched.end()
    assert wait_until(lambda: not any(map(is_running, pids)))


# --- what it all comes to, without starting anything

TWO = Launch(command=["train"], processes=2)


def after(
    folder: Path,
    endings: Sequence[Ending] = (),
    *,
    failures: dict[int, int] | None = None,
    error: str | None = None,
    agent_code: int = 1,
    signals: Sequence[int] = (),
    job: Launch = TWO,
) -> tuple[int, str]:
    for ending in endings:
        (folder / f"end-{ending.rank}.json").write_text(json.dumps(ending.__dict__))
    word: dict[str, Any] = {"error": error} if error else {}
    if failures:
        word["failures"] = {str(rank): {"pid": 100 + rank, "exit_code": code} for rank, code in failures.items()}
    if word:
        (folder / "agent.json").write_text(json.dumps(word))
    return verdict(job, folder, agent_code, signals)


def test_a_rank_that_was_taken_down_with_the_others_explains_nothing(tmp_path: Path) -> None:
    failures = {0: 1, 1: -signal.SIGKILL}  # the second one 30 seconds after the first
    assert after(tmp_path, said(1, None), failures=failures) == (1, "reason 0")


def test_a_rank_that_was_killed_is_blamed_before_those_that_lost_it(tmp_path: Path) -> None:
    lost = Ending(rank=0, code=1, reason="lost its peers", follows=True)
    code, reason = after(tmp_path, [lost], failures={0: 1, 1: -signal.SIGBUS})
    assert code == 1
    assert reason.startswith("rank 1 (pid 101) ended without a word (signal 7, SIGBUS): shared memory full?")


def test_an_exit_code_counts_even_where_the_word_could_not_be_written(tmp_path: Path) -> None:
    assert after(tmp_path, failures={0: 3}) == (3, "rank 0 (pid 100) ended without a word (exit code 3)")


def test_ranks_that_nobody_explains_are_named(tmp_path: Path) -> None:
    assert after(tmp_path, failures={0: -15, 1: -15}) == (1, "ranks 0, 1 ended without a word")


def test_a_signal_before_python_could_catch_it_counts_as_stopped(tmp_path: Path) -> None:
    code, reason = after(tmp_path, said(143), failures={0: 143, 1: -15}, signals=[signal.SIGTERM])
    assert (code, reason) == (143, "reason 0")


def test_ctrl_c_is_an_interruption(tmp_path: Path) -> None:
    assert after(tmp_path, said(1, 130), failures={0: 1, 1: 130}, signals=[signal.SIGINT]) == (130, "interrupted")
    assert after(tmp_path, said(3, 130), failures={0: 3, 1: 130}, signals=[signal.SIGINT]) == (3, "reason 0")


def test_a_torchrun_that_fails_is_named_with_its_error(tmp_path: Path) -> None:
    code, reason = after(tmp_path, error="RendezvousTimeoutError: nobody came")
    assert (code, reason) == (
        1,
        "torchrun failed (RendezvousTimeoutError: nobody came); ranks 0, 1 ended without a word",
    )


def test_a_torchrun_that_is_killed_is_named_unless_all_ranks_were_done(tmp_path: Path) -> None:
    code, reason = after(tmp_path, said(0), agent_code=-9)
    assert (code, reason) == (1, "torchrun failed (signal 9, SIGKILL); rank 1 ended without a word")
    assert after(tmp_path, said(0, 0), agent_code=-9) == (0, "")


def test_a_machine_counts_its_own_ranks(tmp_path: Path) -> None:
    job = Launch(command=["train"], processes=2, nodes=3, node_rank=2, rendezvous="node-0:29500")
    _, reason = after(tmp_path, agent_code=-9, job=job)
    assert "ranks 4, 5 ended without a word" in reason


# --- what is refused, and the command line


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"command": []}, "needs a command"),
        ({"command": ["launch", "--processes", "2"]}, "needs a command"),
        ({"processes": 0}, "at least 1"),
        ({"nodes": 2, "node_rank": 2, "rendezvous": "a:1"}, "from 0 to 1"),
        ({"nodes": 2}, "HOST:PORT"),
        ({"nodes": 2, "rendezvous": "node-0"}, "HOST:PORT"),
        ({"nodes": 2, "rendezvous": "node-0:http"}, "HOST:PORT"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(change: dict[str, Any], remedy: str) -> None:
    with pytest.raises(UsageError, match=remedy):
        launch(Launch(**{"command": ["train"], "processes": 1, **change}))


def test_a_launch_within_a_launch_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ABET_EXIT_DIR", str(tmp_path))
    with pytest.raises(UsageError, match="inside a process of another abet launch"):
        launch(TWO)


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, list[Launch]]]:
    """Types ``abet launch ...`` with a launcher that ends as told: exit code, standard error, what was launched."""

    def run(arguments: str, ending: tuple[int, str]) -> tuple[int, str, list[Launch]]:
        jobs: list[Launch] = []
        monkeypatch.setattr("abet.launch.launch", lambda job: (jobs.append(job), ending)[1])
        app = typer.Typer()
        app.callback()(lambda: None)
        command_line.register(app)
        result = CliRunner().invoke(app, ["launch", *arguments.split()])
        return result.exit_code, result.stderr, jobs

    return run


@pytest.mark.parametrize("dashes", ["", "-- "])
def test_everything_behind_the_command_belongs_to_it(type_in: Callable[..., Any], dashes: str) -> None:
    words = "train demo --output run --set a=b --processes 9"
    code, err, jobs = type_in(f"--processes 4 {dashes}{words}", (0, ""))
    assert (code, err) == (0, "")
    assert jobs == [Launch(command=words.split(), processes=4)]


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ((3, "bad data"), "abet: error: bad data\n"),
        ((1, "a bug"), "abet: error: a bug\n"),
        ((143, "stopped"), "abet: stopped\n"),
        ((130, "interrupted"), ""),  # said by the command line's own end, as for every command
        ((2, ""), ""),  # said by the rank, which knows its options
        ((0, ""), ""),
    ],
)
def test_the_reason_is_said_once_with_the_exit_code(
    type_in: Callable[..., Any], ending: tuple[int, str], said: str
) -> None:
    code, err, _ = type_in("--processes 1 train", ending)
    assert (code, err) == (ending[0], said)


def test_several_machines_are_named_in_full(type_in: Callable[..., Any]) -> None:
    _, _, jobs = type_in(
        "--processes 8 --nodes 2 --node-rank 1 --rendezvous node-0:29500 --run-id 77 -- train demo", (0, "")
    )
    assert jobs == [
        Launch(command=["train", "demo"], processes=8, nodes=2, node_rank=1, rendezvous="node-0:29500", run_id="77")
    ]
