"""Stop signals: noted by whoever supervises, and sent to a child whose supervisor dies. Standard library alone."""

import ctypes
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

PR_SET_PDEATHSIG: Final = 1
SIGNALS: Final = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)


@contextmanager
def listening() -> Iterator[list[int]]:
    """While inside, stop signals are only noted; the handlers from before (submitit's, say) return at the end."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_with_parent(number: int) -> Callable[[], None] | None:
    """Asks the kernel to stop a child politely when this process dies, however that happens; None where it cannot.

    Ranks whose supervisor is gone would train on, and nobody would hear how they end.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)  # before the fork: a child may not load anything
    return lambda: libc.prctl(PR_SET_PDEATHSIG, number)
