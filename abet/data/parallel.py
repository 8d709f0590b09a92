"""One function over many items in processes that outlive nobody: results in order, and an end at once.

ProcessPoolExecutor alone waits for what is being worked on when Ctrl-C comes, and leaves its processes behind when
their parent is killed. Here they hold one end of a pipe, and end when the other one is closed or dies.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final, TypeVar

from abet.errors import AbetError

_CHUNK: Final = 8
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
"""Those that come to a whole group: they are the parent's to answer."""
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@contextmanager
def in_processes(
    work: Callable[[_Item], _Result], items: Sequence[_Item], processes: int, *, purpose: str
) -> Iterator[Iterator[list[_Result]]]:
    """Inside the with block: what ``work`` returns for ``items``, in their order, a few at a time.

    With one process, or few items, all is done in this one. ``work``, items, results and errors must be picklable.
    Whatever ends the block, no process is left when it has ended.

    Raises:
        AbetError: a process died; ``purpose`` says what for, such as "reads labels".
    """
    assert processes >= 1, processes
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    if processes == 1 or len(chunks) <= 1:
        yield ([work(item)] for item in items)
        return
    with closing(_run(work, chunks, min(processes, len(chunks)), purpose)) as results:
        yield results


def _run(
    work: Callable[[_Item], _Result], chunks: Sequence[Sequence[_Item]], processes: int, purpose: str
) -> Generator[list[_Result], None, None]:
    # spawn: safe beside threads, and equal on every system
    context = get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_follow, initargs=(theirs,))
    try:
        waiting = iter(chunks)
        ahead = deque[Future[list[_Result]]]()
        # Not all at once: an interpreter that ends while a thread is here finishes what was handed out
        with _blocked_signals():  # in processes that are only starting as well
            ahead.extend(pool.submit(_work, work, chunk) for chunk in islice(waiting, 2 * processes))
        while ahead:
            result = ahead.popleft().result()
            with _blocked_signals():
                ahead.extend(pool.submit(_work, work, chunk) for chunk in islice(waiting, 1))
            yield result
        pool.shutdown()
    except BrokenProcessPool:
        raise AbetError(
            f"a process that {purpose} died (out of memory?): run the same command again, with more memory"
        ) from None
    finally:
        ours.close()
        pool.shutdown(cancel_futures=True)
        theirs.close()


def _work(work: Callable[[_Item], _Result], chunk: Sequence[_Item]) -> list[_Result]:
    return [work(item) for item in chunk]


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """A process that is started here begins with them blocked; this one answers to them afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow(line: Connection) -> None:
    """In each process, first of all."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()


def _end_with(line: Connection) -> None:
    """End this process, whatever it is waiting for, once the other end of ``line`` is gone."""
    with suppress(EOFError, OSError):
        line.recv_bytes()
    os._exit(1)
