"""Threads that no process waits for at its end, unlike those of `concurrent.futures`, which Python joins at exit."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")


class DaemonPool:
    """A few daemon threads, there while there is work. It must be such that it may be cut off anywhere."""

    def __init__(self, threads: int, *, name: str) -> None:
        self._most, self._name = threads, name
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running = 0

    def submit(self, work: Callable[[], _T]) -> "Future[_T]":
        """Run ``work`` in a thread, in its turn. As long as that has not come, the result's ``cancel`` works."""
        future: Future[_T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    result = work()
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)

        with self._lock:
            self._queue.put(run)
            if self._running < self._most:
                self._running += 1
                threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        return future

    def _serve(self) -> None:
        while True:
            with self._lock:
                try:
                    run = self._queue.get_nowait()
                except queue.Empty:
                    self._running -= 1
                    return
            run()
