"""A polite end: SIGTERM and SIGUSR2 ask the loop to save and stop; nothing interrupts a save."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from abet.errors import AbetError
from abet.exits import STOP_SIGNALS, STOPPED, speaks_for_itself


class Stopped(AbetError):  # noqa: N818
    """Training was stopped by a signal, after saving: run the same command again to go on."""

    exit_code = STOPPED


@dataclass
class StopRequest:
    """Set by a signal's handler, read by the loop between two steps; a second signal changes nothing."""

    signal_name: str | None = None

    def __call__(self) -> bool:
        """Whether a signal has asked to stop."""
        return self.signal_name is not None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """While inside, the stop signals only leave a note. The handlers from before return at the end.

    Not under `abet launch`: torchrun sends SIGTERM to all as soon as one rank has failed, and a rank on its way out
    with a reason of its own must not end as one that was merely stopped.
    """
    request = StopRequest()

    def note(number: int, _frame: FrameType | None) -> None:
        request.signal_name = request.signal_name or signal.Signals(number).name

    before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items() if speaks_for_itself() else ():
            signal.signal(number, handler)
