"""How ranks leave word of their ends, and the one exit code that comes of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from abet.exits import Ending, announced, record_exit, recorded, reduce_exits, speaks_for_itself

ROOT = Path(__file__).parents[1]


def said(*codes: int | None) -> list[Ending]:
    """Endings of the ranks 0, 1, ... with these codes; None: no word. Each later than the one before."""
    return [
        Ending(rank=rank, code=code, reason=f"reason {rank}" if code else "", at=float(rank))
        for rank, code in enumerate(codes)
        if code is not None
    ]


@pytest.mark.parametrize(
    ("codes", "code", "reason"),
    [
        ((0,), 0, ""),
        ((0, 0, 0, 0), 0, ""),
        ((143, 143), 143, "reason 0"),
        ((130, 130), 130, "reason 0"),
        ((1, 2, 3, 0), 2, "reason 1"),
        ((0, 143, 3, 2), 3, "reason 2"),
        ((None, 3), 3, "reason 1"),
        ((1, None, 143, 143), 1, "rank 1 ended without a word"),
        ((None, 0, None), 1, "ranks 0, 2 ended without a word"),
        ((None,), 1, "rank 0 ended without a word"),
        ((0, 1, 1), 1, "reason 1"),
        ((143, 1), 1, "reason 1"),
        ((143, 130), 1, "reason 1"),
        ((0, 137), 1, "reason 1"),
        ((143, 0, 143), 1, "the ranks disagree: [1] done, [0, 2] stopped by a signal"),
    ],
)
def test_all_endings_become_one(codes: tuple[int | None, ...], code: int, reason: str) -> None:
    endings = said(*codes)
    assert reduce_exits(endings, range(len(codes))) == (code, reason)
    assert reduce_exits(endings[::-1], range(len(codes))) == (code, reason)


def test_of_several_failures_the_first_is_told_and_a_lost_peer_never_before_its_cause() -> None:
    lost = Ending(rank=0, code=1, reason="lost its peers", follows=True, at=1.0)
    cause = Ending(rank=1, code=1, reason="the cause", at=2.0)
    later = Ending(rank=2, code=1, reason="failed later", at=3.0)
    assert reduce_exits([lost, cause, later], range(3)) == (1, "the cause")
    assert reduce_exits([lost], range(1)) == (1, "lost its peers")


def test_a_failure_without_a_reason_still_names_its_rank() -> None:
    assert reduce_exits([Ending(rank=3, code=1, reason="")], [3]) == (1, "rank 3 ended with exit code 1")


@pytest.fixture
def _keep_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_keep_handlers")
def test_a_rank_leaves_word_in_the_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABET_EXIT_DIR", str(tmp_path))
    for rank, code, reason in ((1, 3, "pixel rot in 'Zürich'"), (0, 143, "stopped")):
        monkeypatch.setenv("RANK", str(rank))
        record_exit(code, reason, follows=rank == 0)
    assert [(e.rank, e.code, e.reason, e.follows) for e in recorded(tmp_path)] == [
        (0, 143, "stopped", True),
        (1, 3, "pixel rot in 'Zürich'", False),
    ]
    assert not speaks_for_itself()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["end-0.json", "end-1.json"]


def test_without_a_launcher_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABET_EXIT_DIR", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    record_exit(1, "x")
    assert signal.getsignal(signal.SIGTERM) is before
    assert speaks_for_itself()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_keep_handlers")
def test_a_folder_that_is_gone_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ABET_EXIT_DIR", str(tmp_path / "file" / "gone"))
    record_exit(3, "x")


# --- real processes (without torch: milliseconds)


def start_rank(folder: Path, code: str, **environment: str) -> subprocess.Popen[str]:
    """A rank that announces itself, says "ready" and goes on with ``code``."""
    lines = ["from abet.exits import announce_rank, record_exit", "import os, signal, time", "announce_rank()"]
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join([*lines, "print('ready', flush=True)", code])],
        env={**os.environ, "PYTHONPATH": str(ROOT), "ABET_EXIT_DIR": str(folder), "RANK": "5", **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_before_training_ends_a_rank_as_stopped(tmp_path: Path, number: signal.Signals) -> None:
    with start_rank(tmp_path, "time.sleep(60)") as process:
        ready(process)
        assert announced(tmp_path) == {5: process.pid}
        process.send_signal(number)
        assert process.wait(timeout=30) == 143
    (ending,) = recorded(tmp_path)
    assert (ending.rank, ending.code) == (5, 143)
    assert f"stopped by {number.name} before the start" in ending.reason


def test_a_signal_after_the_last_word_changes_it_no_more(tmp_path: Path) -> None:
    code = "record_exit(3, 'bad data'); os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.1); os._exit(3)"
    with start_rank(tmp_path, code) as process:
        assert process.wait(timeout=30) == 3
    assert [(ending.code, ending.reason) for ending in recorded(tmp_path)] == [(3, "bad data")]


def test_a_rank_whose_parent_was_gone_before_it_could_look_ends_itself(tmp_path: Path) -> None:
    with start_rank(tmp_path, "time.sleep(60)", ABET_LAUNCH_PID=str(os.getpid() + 1)) as process:
        assert process.wait(timeout=30) == 1


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_a_rank_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    middle = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', "
        "'from abet.exits import announce_rank; import time; announce_rank(); time.sleep(60)']); "
        "print('ready', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ABET_EXIT_DIR": str(tmp_path), "RANK": "0"}
    environment.pop("ABET_LAUNCH_PID", None)
    with subprocess.Popen([sys.executable, "-c", middle], env=environment, stdout=subprocess.PIPE, text=True) as parent:
        ready(parent)
        assert wait_until(lambda: bool(announced(tmp_path)))
        parent.kill()
    assert wait_until(lambda: not is_running(announced(tmp_path)[0]))
    assert recorded(tmp_path) == []
