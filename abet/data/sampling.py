"""Which crop is taken when: a function of (seed, epoch, position in the epoch), whatever the topology. No torch import.

Nothing about the order is ever stored: a run that goes on at step s asks for ``micro_batches(..., start_step=s)``.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from itertools import count as count_from
from typing import Final, NamedTuple

import numpy as np

from abet.batching import BatchPlan
from abet.config import AugmentationConfig
from abet.data.epochs import EpochLists, generator
from abet.data.images import ImageArray, IndexArray
from abet.data.index import Dataset, Pair
from abet.data.transforms import augment
from abet.errors import DataError

_SAMPLE_STREAM: Final = 2
_REPLACEMENT_STREAM: Final = 3
_REPLACEMENTS: Final = 9


class SampleKey(NamedTuple):
    """One crop to take: the ``position``-th of ``epoch``, from the image with this index in the data set."""

    epoch: int
    position: int
    image: int
    centroid: tuple[int, int] | None = None
    """(x, y) that the crop shows, in pixels of the original image; None: it may lie anywhere."""


def sample_rng(seed: int, key: SampleKey) -> np.random.Generator:
    """The random numbers of one crop: a function of (seed, epoch, position)."""
    return generator(seed, _SAMPLE_STREAM, key.epoch, key.position)


def replacements(seed: int, key: SampleKey, count: int, *, limit: int) -> list[int]:
    """Up to ``limit`` other images to try, in this order, when that of ``key`` cannot be read."""
    order = generator(seed, _REPLACEMENT_STREAM, key.epoch, key.position).permutation(count)[: limit + 1]
    return [image for image in order.tolist() if image != key.image][:limit]


class Crops(NamedTuple):
    """B augmented crops in memory."""

    images: ImageArray
    """(B, H, W, 3) uint8 RGB."""
    labels: IndexArray
    """(B, H, W) uint8 train ids and IGNORE."""
    names: tuple[str, ...]
    """Of the images that the crops were taken from."""
    faults: tuple[str, ...]
    """What could not be read and was replaced; empty without ``skip_corrupt``."""


@dataclass(frozen=True, kw_only=True)
class CropSource:
    """Everything that makes crops from their keys: a pure function, on whichever process it runs."""

    dataset: Dataset
    augmentation: AugmentationConfig
    seed: int
    skip_corrupt: bool
    boosted: Dataset | None = None
    """Its images count on after those of ``dataset``."""
    quirk_unshifted_centroid: bool = False
    """See `abet.data.transforms.crop_span`."""

    def take(self, keys: Sequence[SampleKey]) -> Crops:
        """The crops of ``keys``. Raises DataError for a file that cannot be read, or replaced."""
        size = (self.augmentation.crop_height, self.augmentation.crop_width)
        images = np.empty((len(keys), *size, 3), np.uint8)
        labels = np.empty((len(keys), *size), np.uint8)
        names, faults = [], list[str]()
        for place, key in enumerate(keys):
            found = self._read(key, faults)
            images[place], labels[place] = augment(
                found.image,
                found.label,
                sample_rng(self.seed, key),
                self.augmentation,
                found.centroid,
                quirk_unshifted_centroid=self.quirk_unshifted_centroid,
            )
            names.append(found.name)
        return Crops(images, labels, tuple(names), tuple(faults))

    def _read(self, key: SampleKey, faults: list[str]) -> "_Found":
        dataset, first = self._pair(key.image)
        try:
            return _Found(first.name, *dataset.read(first), key.centroid)
        except DataError as error:
            if not self.skip_corrupt:
                raise
            reason = str(error)
        for index in replacements(self.seed, key, len(self.dataset.pairs), limit=_REPLACEMENTS):
            pair = self.dataset.pairs[index]
            with suppress(DataError):
                found = _Found(pair.name, *self.dataset.read(pair), None)
                faults.append(f"{reason} (replaced by {pair.name})")
                return found
        raise DataError(
            f"{reason}. None of the images tried in its place ({_REPLACEMENTS} at most) can be read either: "
            f"`abet data check {dataset.name} {dataset.root} --split {dataset.split}` lists what is wrong"
        )

    def _pair(self, image: int) -> tuple[Dataset, Pair]:
        count = len(self.dataset.pairs)
        if image < count:
            return self.dataset, self.dataset.pairs[image]
        assert self.boosted is not None, image
        return self.boosted, self.boosted.pairs[image - count]


class _Found(NamedTuple):
    name: str
    image: ImageArray
    label: IndexArray
    centroid: tuple[int, int] | None


def steps_per_epoch(count: int, plan: BatchPlan) -> int:
    """Optimiser steps of an epoch of ``count`` crops; an incomplete last batch is dropped.

    Raises:
        DataError: fewer images than a global batch.
    """
    if count < plan.global_batch:
        raise DataError(
            f"{count} crops of an epoch are fewer than one global batch of {plan.global_batch} crops; "
            f"add images or lower batch.global_batch to {count} or less"
        )
    return count // plan.global_batch


def micro_batches(plan: BatchPlan, rank: int, lists: EpochLists, start_step: int) -> Iterator[tuple[SampleKey, ...]]:
    """What ``rank`` takes from ``start_step`` on, ``plan.accumulation`` micro-batches for each step, without end.

    Micro-batch a of rank r holds positions (a * processes + r) * batch_per_gpu onwards of its step's global batch, so
    the union over ranks and micro-batches is the same for every topology.

    Raises:
        DataError: an epoch is shorter than a global batch.
    """
    assert 0 <= rank < plan.processes, (rank, plan)
    per_epoch = steps_per_epoch(lists.length, plan)
    crops_of = lru_cache(maxsize=1)(lists.crops)

    def of_step(step: int) -> Iterator[tuple[SampleKey, ...]]:
        epoch, step_in_epoch = divmod(step, per_epoch)
        for turn in range(plan.accumulation):
            first = step_in_epoch * plan.global_batch + (turn * plan.processes + rank) * plan.batch_per_gpu
            positions = range(first, first + plan.batch_per_gpu)
            yield tuple(SampleKey(epoch, position, *crops_of(epoch)[position]) for position in positions)

    return chain.from_iterable(map(of_step, count_from(start_step)))
