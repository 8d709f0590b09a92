"""Batches for training, decoded ahead by processes of their own; and a share of the validation images, by threads.

with TrainingBatches(source, lists, ...) as batches:
    batch = batches.next_batch(stop)
"""

import atexit
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle, islice
from typing import Final, NamedTuple, Self

import numpy as np
import torch

from abet.batching import BatchPlan
from abet.data.epochs import EpochLists
from abet.data.images import ImageArray, IndexArray, read_label
from abet.data.index import Dataset, Pair
from abet.data.sampling import Crops, CropSource, micro_batches
from abet.data.validation_view import validation_view
from abet.data.workers import CLOSE_SECONDS, POLL_SECONDS, LoaderError, Worker
from abet.errors import DataError
from abet.labels import IGNORE

_AHEAD_PER_WORKER: Final = 2
_READY_BATCHES: Final = 2
_PROBED_LABELS: Final = 16


class Batch(NamedTuple):
    """A micro-batch of B crops, in host memory (pinned where asked for)."""

    images: torch.Tensor
    """(B, H, W, 3) uint8 RGB."""
    labels: torch.Tensor
    """(B, H, W) uint8 train ids and IGNORE."""
    names: tuple[str, ...]
    """Of the images that the crops were taken from."""
    faults: tuple[str, ...]
    """What could not be read and was replaced; empty without ``skip_corrupt``."""


class TrainingBatches:
    """The micro-batches of one rank from ``start_step`` on, without end: a context manager over `next_batch`.

    The same batches, bit for bit, for any number of ``workers``.
    """

    def __init__(
        self,
        source: CropSource,
        lists: EpochLists,
        *,
        plan: BatchPlan,
        rank: int,
        start_step: int = 0,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        """Nothing is started yet. Raises DataError for an epoch that is shorter than a global batch.

        Args:
            source: what makes the crops.
            lists: which crops an epoch is made of.
            plan: how a global batch is shared out.
            rank: of this process, below ``plan.processes``.
            start_step: optimiser steps that are done already.
            workers: loader processes, which live until the end; 0 decodes in one thread of this process.
            pin_memory: page-locked memory, for copies to a CUDA device that do not wait.
        """
        self._source = source
        self._keys = micro_batches(plan, rank, lists, start_step)
        self._workers: list[Worker] = []
        self._worker_count = workers
        self._pin_device = torch.cuda.current_device() if pin_memory else None
        self._ready: queue.Queue[Batch | Exception] = queue.Queue(maxsize=_READY_BATCHES)
        self._closing = threading.Event()
        # Daemon: a read that hangs on a lost network drive must not keep the process alive
        self._thread = threading.Thread(target=self._feed, name="batches", daemon=True)
        self._failure: Exception | None = None
        self._waited_seconds = 0.0

    def __enter__(self) -> Self:
        """Start the loader processes, then the thread that listens to them. Raises LoaderError when it cannot."""
        # Processes that ignore SIGTERM must be gone before the interpreter's exit, which would wait for them
        atexit.register(self.close)
        try:
            for _ in range(self._worker_count):
                self._workers.append(Worker(self._source))
            self._thread.start()
        except (OSError, RuntimeError) as error:
            self.close()
            raise LoaderError(
                f"loader process {len(self._workers) + 1} of {self._worker_count} could not be started: {error}; "
                "lower data.workers_per_process (0 needs none)"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """Stop thread and processes, wherever they are; returns within seconds, and may be called again."""
        self._closing.set()
        for worker in self._workers:
            worker.process.kill()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_SECONDS)
        for worker in self._workers:
            worker.process.join(CLOSE_SECONDS)
        atexit.unregister(self.close)

    def next_batch(self, stop: Callable[[], bool]) -> Batch | None:
        """The next micro-batch; None when it is not ready and ``stop()`` is true, which is asked while waiting.

        Raises:
            DataError: a file that cannot be read; the message names it.
            LoaderError: a loader process died.
        """
        if self._failure is not None:
            raise self._failure
        started = time.monotonic()
        try:
            result = self._wait(stop)
        finally:
            self._waited_seconds += time.monotonic() - started
        if isinstance(result, Exception):
            self._failure = result
            raise result
        return result

    def _wait(self, stop: Callable[[], bool]) -> Batch | Exception | None:
        while True:
            try:
                return self._ready.get(timeout=POLL_SECONDS)
            except queue.Empty:
                assert self._thread.ident is not None, "use TrainingBatches in a with statement"
                assert not self._closing.is_set(), "these batches are closed"
                if stop():
                    return None

    def take_waited_seconds(self) -> float:
        """Seconds that `next_batch` has waited since this was last asked."""
        waited, self._waited_seconds = self._waited_seconds, 0.0
        return waited

    def _feed(self) -> None:
        """The thread: whatever goes wrong travels to `next_batch` as a value."""
        try:
            if self._pin_device is not None:
                torch.cuda.set_device(self._pin_device)  # a thread starts on device 0, and would claim memory there
            for arrays in self._from_workers() if self._workers else self._from_here():
                self._put(self._batch(arrays))
        except Exception as error:
            self._put(error)

    def _put(self, item: Batch | Exception) -> None:
        while not self._closing.is_set():
            with suppress(queue.Full):
                self._ready.put(item, timeout=POLL_SECONDS)
                return

    def _batch(self, arrays: Crops) -> Batch:
        images, labels = torch.from_numpy(arrays.images), torch.from_numpy(arrays.labels)
        if self._pin_device is not None:
            images, labels = images.pin_memory(), labels.pin_memory()
        return Batch(images, labels, arrays.names, arrays.faults)

    def _from_here(self) -> Iterator[Crops]:
        for keys in self._keys:
            if self._closing.is_set():
                return
            yield self._source.take(keys)

    def _from_workers(self) -> Iterator[Crops]:
        """Micro-batch i comes from worker i modulo their number, so the order is that of the keys."""
        for worker, keys in zip(self._workers * _AHEAD_PER_WORKER, self._keys, strict=False):
            worker.send(keys)
        for worker in cycle(self._workers):
            arrays = worker.receive(self._closing)
            if arrays is None:
                return
            worker.send(next(self._keys))
            yield arrays


class Loaded(NamedTuple):
    """One validation image and its place in the data set; (H, W, 3) uint8 RGB, (H, W) uint8 train ids and IGNORE."""

    place: int
    pair: Pair
    image: ImageArray
    label: IndexArray


class ValidationImages:
    """The images ``rank``, ``rank + processes``, ... of a data set, in order: over the ranks each one exactly once.

    As they are, or with ``height`` the square that `validation_view` makes of each. A context manager. Threads decode
    ahead (Pillow lets go of the interpreter's lock), one image more than threads.
    """

    def __init__(
        self, dataset: Dataset, rank: int, processes: int, *, height: int | None = None, threads: int = 2
    ) -> None:
        """Nothing is started yet."""
        assert 0 <= rank < processes, (rank, processes)
        self._dataset, self._height, self._threads = dataset, height, threads
        self._share = range(rank, len(dataset.pairs), processes)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="validation")

    def __enter__(self) -> Self:
        """Ready: threads start as they are needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give up what has not been decoded yet."""
        self._pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Loaded]:
        """Once through this rank's share. Raises DataError for a file that cannot be read, when its turn comes."""
        ahead = deque[tuple[int, Future[tuple[ImageArray, IndexArray]]]]()
        pairs, left = self._dataset.pairs, iter(self._share)
        for place in islice(left, self._threads + 1):
            ahead.append((place, self._pool.submit(self._read, pairs[place])))
        while ahead:
            place, future = ahead.popleft()
            image, label = future.result()
            for following in islice(left, 1):
                ahead.append((following, self._pool.submit(self._read, pairs[following])))
            yield Loaded(place, pairs[place], image, label)

    def __len__(self) -> int:
        """Images of this rank's share."""
        return len(self._share)

    def _read(self, pair: Pair) -> tuple[ImageArray, IndexArray]:
        image, label = self._dataset.read(pair)
        return (image, label) if self._height is None else validation_view(image, label, self._height)


def require_valid_pixels(dataset: Dataset) -> None:
    """Check that a crop can hold something to learn: reads label files, evenly spread ones first, up to the first hit.

    A label that cannot be read is passed over: training names it when its turn comes.

    Raises:
        DataError: every pixel of every label is ignored.
    """
    count, unreadable = len(dataset.pairs), 0
    spread = np.linspace(0, count - 1, min(_PROBED_LABELS, count)).round().astype(int).tolist()
    for path in (dataset.pairs[place].label for place in dict.fromkeys([*spread, *range(count)])):
        try:
            if (dataset.labels.apply(read_label(path), file=path) != IGNORE).any():
                return
        except DataError:
            unreadable += 1
    broken = f" or cannot be read ({unreadable} of them)" if unreadable else ""
    raise DataError(
        f"{dataset.name}, split {dataset.split}: every pixel of all {count} labels is ignored{broken}, so no crop can "
        f"hold anything to learn; {dataset.labels}. Choose a split whose labels are published (data.train_split), or "
        f"look for what is wrong: abet data check {dataset.name} {dataset.root} --split {dataset.split}"
    )
