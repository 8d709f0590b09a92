"""The diary of a job: every attempt, why it ended, and how far it came. Standard library alone.

A job's folder holds ``attempts.jsonl`` (one line when an attempt begins and one when it ends, by node 0),
``words/ATTEMPT-NODE.json`` (what each node said) and ``progress.json`` (the newest step that is safely kept).
"""

import json
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from abet.errors import DataError
from abet.exits import FAILED
from abet.files import read_json, write_json
from jobs.cluster import Cluster

ATTEMPTS: Final = "attempts.jsonl"
PROGRESS: Final = "progress.json"
WORDS: Final = "words"
CANCELLED: Final = "cancelled"


@dataclass(frozen=True, kw_only=True)
class Word:
    """What one node said of its end."""

    node: int
    code: int
    reason: str
    signals: tuple[int, ...] = ()
    at: float = 0.0
    """Seconds since the epoch."""

    @property
    def follows(self) -> bool:
        """Whether this node failed because another one had."""
        return "another process has ended or fallen silent" in self.reason


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of a job, and its end unless it still runs or died without a word."""

    number: int
    first_step: int | None
    last_step: int | None = None
    code: int | None = None
    reason: str = ""
    cause: str = ""
    again: bool = False
    started: str = ""
    ended: str = ""

    @property
    def fruitless(self) -> bool:
        """Whether it failed, vanished or met its time limit without a new checkpoint. To be preempted is no fault."""
        fell = self.code is None or self.code == FAILED or self.cause == "timeout"
        return fell and not _later(self.last_step, self.first_step)


def _later(last: int | None, first: int | None) -> bool:
    return last is not None and last > (first or 0)


@dataclass(frozen=True, kw_only=True)
class History:
    """All attempts, oldest first, and the step that is kept by now."""

    attempts: tuple[Attempt, ...]
    step: int | None

    def fruitless_attempts(self) -> int:
        """How many attempts before the one that ends now came to nothing, in a row; -1 when this one did not."""
        if not self.attempts:
            return 0
        *before, now = self.attempts
        if _later(self.step, now.first_step):
            return -1
        count = 0
        for attempt in reversed(before):
            if not attempt.fruitless:
                break
            count += 1
        return count


def begin(record: Path, cluster: Cluster, *, name: str) -> int:
    """Open the next attempt; returns its number, the same on every node."""
    (record / WORDS).mkdir(parents=True, exist_ok=True)
    number = cluster.restarts
    for stale in (record / WORDS).glob(f"{number}-{cluster.node_rank}.json"):  # of a job that was started by hand again
        stale.unlink()
    if cluster.node_rank == 0:
        line = {
            "attempt": number,
            "event": "begin",
            "name": name,
            "job": cluster.job_id,
            "node": cluster.node,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "time": _now(),
            "step": read_step(record),
        }
        _append(record, line)
    return number


def end(record: Path, number: int, code: int, reason: str, *, cause: str, again: bool) -> None:
    """Close an attempt."""
    line = {
        "attempt": number,
        "event": "end",
        "code": code,
        "reason": reason,
        "cause": cause,
        "again": again,
        "time": _now(),
        "step": read_step(record),
    }
    _append(record, line)


def leave_word(record: Path, number: int, word: Word) -> None:
    """Tell node 0 how this node ended."""
    write_json(record / WORDS / f"{number}-{word.node}.json", asdict(word))


def words(record: Path, number: int, nodes: Iterable[int]) -> list[Word]:
    """What these nodes have said of an attempt so far; a word that cannot be read is not said yet."""
    found = []
    for node in nodes:  # opened by name: a network file system lists a new file later than it opens it
        with suppress(DataError, OSError, TypeError, KeyError):
            values = read_json(record / WORDS / f"{number}-{node}.json")
            found.append(Word(**{**values, "signals": tuple(values["signals"])}))
    return found


def cancel(record: Path) -> None:
    """Leave word that this job is to end for good: whatever signal stops it, it is not started again."""
    record.mkdir(parents=True, exist_ok=True)
    (record / CANCELLED).touch()


def is_cancelled(record: Path) -> bool:
    """Whether somebody has said so."""
    return (record / CANCELLED).exists()


def read_step(record: Path) -> int | None:
    """The newest step that is safely kept; None when there is none yet."""
    try:
        step = read_json(record / PROGRESS).get("step")
    except (DataError, OSError):
        return None
    return step if isinstance(step, int) else None


def read(record: Path) -> History:
    """The whole diary; an attempt that died without a word has no code."""
    found: list[Attempt] = []
    for line in _lines(record):
        if line.get("event") == "begin":
            found.append(Attempt(number=line["attempt"], first_step=line["step"], started=line["time"]))
        elif line.get("event") == "end" and found and (found[-1].number, found[-1].code) == (line["attempt"], None):
            begun = found.pop()
            found.append(
                Attempt(
                    number=begun.number,
                    first_step=begun.first_step,
                    started=begun.started,
                    last_step=line["step"],
                    code=line["code"],
                    reason=line["reason"],
                    cause=line["cause"],
                    again=line["again"],
                    ended=line["time"],
                )
            )
    steps = [*(attempt.first_step for attempt in found), None][1:]
    # What a silent attempt reached shows in where the next one began
    found = [
        Attempt(**{**asdict(attempt), "last_step": step}) if attempt.code is None else attempt
        for attempt, step in zip(found, steps, strict=True)
    ]
    return History(attempts=tuple(found), step=read_step(record))


def _lines(record: Path) -> list[dict[str, Any]]:
    try:
        text = (record / ATTEMPTS).read_text(encoding="utf-8")
    except OSError:
        return []
    lines = []
    for line in text.splitlines():
        with suppress(ValueError):  # cut short by a kill or a full disk
            lines.append(json.loads(line))
    return lines


def _append(record: Path, line: dict[str, Any]) -> None:
    with (record / ATTEMPTS).open("a+b") as file:
        cut_short = False
        if file.tell():
            file.seek(-1, os.SEEK_END)
            cut_short = file.read(1) != b"\n"
        file.write(("\n" * cut_short + json.dumps(line) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
