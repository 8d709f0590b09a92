"""Progress for people and for log files: a live bar on a terminal, else a line now and then. All on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_INTERVAL_SECONDS = 30.0


class Advance(Protocol):
    """Call it with the units done since the last call, and with how things stand, if that is worth showing."""

    def __call__(self, units: int, status: str = "") -> None: ...


def note(text: str) -> None:
    """One line beside the progress: on a terminal it appears above the bar."""
    print(text, file=sys.stderr, flush=True)


def format_seconds(seconds: float) -> str:
    """``45 s``, ``12 min``, ``1 h 40 min``, ``42 h``: as precise as an estimate deserves."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours < 10 and minutes else f"{seconds / 3600:.0f} h"


@contextmanager
def progress(description: str, total: int, *, done: int = 0) -> Iterator[Advance]:
    """Show how far ``total`` units of work, of which ``done`` are done, have come, with the time that remains."""
    console = Console(stderr=True)
    shown = _bar if console.is_terminal else _log
    with shown(console, description, total, done) as advance:
        yield advance


@contextmanager
def unsized_progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """The same for work whose size is known only once it runs: call the result with (done, total)."""
    with ExitStack() as stack:
        advance: Advance | None = None

        def show(_done: int, total: int) -> None:
            nonlocal advance
            if advance is None:
                advance = stack.enter_context(progress(description, total))
            advance(1)

        yield show


@contextmanager
def _bar(console: Console, description: str, total: int, done: int) -> Iterator[Advance]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    after = (TextColumn("ETA"), TimeRemainingColumn(), TextColumn("{task.fields[status]}"))
    with Progress(*columns, *after, console=console) as bars:
        task = bars.add_task(description, total=total, completed=done, status="")

        def advance(units: int, status: str = "") -> None:
            if status:
                bars.update(task, status=status)
            bars.advance(task, units)

        yield advance


@contextmanager
def _log(console: Console, description: str, total: int, done: int) -> Iterator[Advance]:
    start = last = time.monotonic()
    before = done

    def advance(units: int, status: str = "") -> None:
        nonlocal done, last
        done += units
        now = time.monotonic()
        if done == total or now - last >= LOG_INTERVAL_SECONDS:
            last = now
            remaining = (now - start) / max(done - before, 1) * (total - done)
            text = f"{description}: {done}/{total}, {format_seconds(remaining)} left"
            console.print(f"{text}  {status}" if status else text, highlight=False, markup=False, soft_wrap=True)

    yield advance
