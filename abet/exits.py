"""How each rank tells the launcher how it ended, and how those words become one exit code. No torch import.

torchrun returns 1 for every failure, so `abet launch` gives its ranks a private folder in ``$ABET_EXIT_DIR``. There a
rank leaves its process id when it starts and {code, reason} when it ends. Without that variable nothing is written.
"""

import os
import signal
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from abet.errors import AbetError
from abet.files import read_json, write_json

EXIT_DIR: Final = "ABET_EXIT_DIR"
"""Environment variable: the folder in which the ranks of one start leave word."""
PARENT: Final = "ABET_LAUNCH_PID"
"""Environment variable: process id of the torchrun that started a rank."""
JOB_ID: Final = "ABET_JOB_ID"
"""Environment variable: what the scheduler calls the job that this process belongs to."""
PROGRESS_FILE: Final = "ABET_PROGRESS_FILE"
"""Environment variable: where training tells the newest step that is safely kept, {"step"}."""
VERDICT_FILE: Final = "ABET_VERDICT_FILE"
"""Environment variable: where a command, or `abet launch` for all its ranks, leaves {code, reason} at its end."""
DONE, FAILED, STOPPED, INTERRUPTED = 0, 1, 143, 130
PERMANENT: Final = (2, 3)
"""Codes that no retry can change: bad usage; bad data, checkpoint or lost ownership."""
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGUSR2)
POLL_SECONDS: Final = 1.0


class LostPeerError(AbetError):
    """Another process ended or fell silent; this one cannot go on without it. Never the root of the trouble."""

    exit_code = FAILED


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How one rank ended, in its own words."""

    rank: int
    code: int
    """The exit code that it would have had alone."""
    reason: str
    """The message for the user; empty when all went well."""
    follows: bool = False
    """Whether it failed only because another rank had: a `LostPeerError`."""
    at: float = 0.0
    """Seconds on this machine's monotonic clock: of several failures the first one is told."""

    @property
    def failed(self) -> bool:
        """Whether something went wrong here, and not elsewhere."""
        return self.code not in (DONE, STOPPED, INTERRUPTED) and not self.follows


# --- a rank's side


def speaks_for_itself() -> bool:
    """Whether this process prints its own errors; a rank of `abet launch` records them, so that each is said once."""
    return not os.environ.get(EXIT_DIR)


def announce_rank() -> None:
    """Call it first of all in every process: a rank of `abet launch` makes itself known; others do nothing.

    From here on the rank ends within a second of its torchrun, and until training sets its own handlers a stop signal
    ends it at once, as stopped: there is nothing to save yet.
    """
    folder = os.environ.get(EXIT_DIR)
    if not folder:
        return
    for number in STOP_SIGNALS:
        signal.signal(number, _leave_before_the_start)
    watch_parent()
    with suppress(OSError):  # the launcher and its folder are gone: the watch sees to the rest
        write_json(Path(folder) / f"start-{_rank()}.json", {"pid": os.getpid()})


def record_exit(code: int, reason: str, *, follows: bool = False) -> None:
    """Leave word of how this rank ends, as the last thing that it does; without a launcher, nothing.

    Stop signals change nothing any more: torchrun sends them to the others as soon as one rank has failed. A rank that
    cannot write counts as one that ended without a word.
    """
    folder = os.environ.get(EXIT_DIR)
    if not folder:
        return
    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    ending = Ending(rank=_rank(), code=code, reason=reason, follows=follows, at=time.monotonic())
    with suppress(OSError):
        write_json(Path(folder) / f"end-{ending.rank}.json", asdict(ending))


def leave_verdict(code: int, reason: str) -> None:
    """Tell whoever started this command how it ended, where it asked for that; the first word counts.

    Ranks of a launch leave it to that.
    """
    path = os.environ.get(VERDICT_FILE)
    if path and speaks_for_itself():
        with suppress(OSError):  # the exit code says the most important part
            write_json(Path(path), {"code": code, "reason": reason}, keep_existing=True)


def record_progress(step: int) -> None:
    """Tell whoever started this job that ``step`` is safely kept; without somebody who asked for it, nothing."""
    path = os.environ.get(PROGRESS_FILE)
    if path:
        with suppress(OSError):  # training matters more
            write_json(Path(path), {"step": step})


def watch_parent() -> None:
    """End this process as soon as the one that started it is gone: nothing stays behind on a cluster's node.

    Checked every second in a thread. What a commit had not finished is as if it had never begun.
    """
    # The variable, and not getppid alone: the parent may be gone before this line
    parent = int(os.environ.get(PARENT) or os.getppid())

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os._exit(FAILED)

    threading.Thread(target=watch, name="abet-watch-parent", daemon=True).start()


def _rank() -> int:
    return int(os.environ.get("RANK") or 0)


def _leave_before_the_start(number: int, _frame: FrameType | None) -> None:
    record_exit(STOPPED, f"stopped by {signal.Signals(number).name} before the start: run the same command again")
    os._exit(STOPPED)


# --- the launcher's side


def announced(folder: Path) -> dict[int, int]:
    """rank -> process id of those that have started."""
    return {int(path.stem.partition("-")[2]): read_json(path)["pid"] for path in folder.glob("start-*.json")}


def recorded(folder: Path) -> list[Ending]:
    """What the ranks have said of their ends, in the order of their ranks."""
    endings = [Ending(**read_json(path)) for path in folder.glob("end-*.json")]
    return sorted(endings, key=lambda ending: ending.rank)


def reduce_exits(endings: Sequence[Ending], expected: Collection[int]) -> tuple[int, str]:
    """One exit code and its reason for the ranks that were ``expected`` to leave word.

    In this order: 2 or 3 of any rank, the lowest one's, since no retry helps; a rank without a word is 1; what all say
    alike (0 done, 143 stopped after saving, 130 interrupted); else 1 with the reason of the rank that failed first, one
    that lost its peers last.
    """
    said = {ending.rank: ending for ending in sorted(endings, key=lambda ending: ending.rank)}
    for ending in said.values():
        if ending.code in PERMANENT:
            return ending.code, ending.reason
    if silent := sorted(set(expected) - set(said)):
        ranks = f"rank {silent[0]}" if len(silent) == 1 else f"ranks {', '.join(map(str, silent))}"
        return FAILED, f"{ranks} ended without a word"
    codes = {ending.code for ending in said.values()}
    if len(codes) == 1 and codes <= {DONE, STOPPED, INTERRUPTED}:
        return codes.pop(), next(iter(said.values())).reason
    failed = [ending for ending in said.values() if ending.code not in (DONE, STOPPED)]
    if not failed:
        return FAILED, f"the ranks disagree: {_ranks(said, DONE)} done, {_ranks(said, STOPPED)} stopped by a signal"
    first = min(failed, key=lambda ending: (ending.follows, ending.at))
    return FAILED, first.reason or f"rank {first.rank} ended with exit code {first.code}"


def _ranks(said: Mapping[int, Ending], code: int) -> list[int]:
    return [rank for rank, ending in said.items() if ending.code == code]
