"""Loader processes: keys in, crops out, over one pipe each.

torch's DataLoader shares locks and /dev/shm between its processes, looks for dead ones every five seconds, and raises
from a signal handler, in the middle of a commit if need be. Here nothing is shared: the end of a process is the end of
its pipe, and closing is a kill, since a loader process holds no state.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from abet.data.sampling import Crops, CropSource, SampleKey
from abet.errors import AbetError, DataError

POLL_SECONDS: Final = 0.1
CLOSE_SECONDS: Final = 5.0


class LoaderError(AbetError):
    """A loader process that could not be started or died: no fault of the data, so a new start may succeed."""


class Worker:
    """One loader process and this end of its pipe."""

    def __init__(self, source: CropSource) -> None:
        # Forked, it needs no second import of torch; and it never touches torch's threads or a CUDA device
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
        self._pipe, theirs = context.Pipe()
        self.process: Any = context.Process(target=_work, args=(source, theirs, os.getpid()), daemon=True)
        try:
            self.process.start()
        finally:
            theirs.close()  # so that the pipe ends when the process does

    def send(self, keys: Sequence[SampleKey]) -> None:
        """Ask for one more batch. The end of a dead process shows when its answer is awaited."""
        with suppress(OSError):
            self._pipe.send(tuple(keys))

    def receive(self, closing: threading.Event) -> Crops | None:
        """The oldest batch asked for; None when closing. Raises what the process raised, or LoaderError."""
        while not closing.is_set():
            if not self._pipe.poll(POLL_SECONDS):
                continue
            try:
                answer = self._pipe.recv()
            except (EOFError, OSError):
                raise self._death() from None
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, Crops), answer
            return answer
        return None

    def _death(self) -> LoaderError:
        self.process.join(CLOSE_SECONDS)
        code = self.process.exitcode or 0
        cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return LoaderError(
            f"loader process {self.process.pid} died ({cause}). When nobody killed it, memory ran short: "
            "lower data.workers_per_process, or ask for more memory"
        )


def _work(source: CropSource, pipe: Connection, parent: int) -> None:
    """A loader process: keys in, arrays or an exception out, until it is killed or alone."""
    # Signals to the whole group are the trainer's to answer: it needs data until it has saved
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            keys = pipe.recv()
            pipe.send(_answer(source, keys))


def _answer(source: CropSource, keys: Sequence[SampleKey]) -> Crops | Exception:
    try:
        return source.take(keys)
    except DataError as error:
        return DataError(str(error))  # without its causes, which may not travel
    except MemoryError:
        return LoaderError("a loader process ran out of memory: lower data.workers_per_process, or ask for more")
    except Exception:  # a mistake of ours: the trainer raises it, with where it came from
        return RuntimeError(f"in a loader process:\n{traceback.format_exc()}")


def _end_with(parent: int) -> None:
    """End this process once the trainer is gone: other processes hold its end of the pipe too, so that stays open."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
