"""What an epoch is made of: every image once, or some images at random and as many places of each class.

    lists = EpochLists(seed=0, images=2975, share=0.5, places=..., boosted=..., last_boosted_epoch=150)
    crop = lists.crops(epoch=3)[17]

Class-uniform sampling (Zhu et al., CVPR 2019; reference behaviour): of N crops an epoch takes int(N * share / C) around
each of the C classes, the rest from images at random. A function of (seed, epoch) alone: one list, which all processes
draw and share out. No torch import.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_ORDER_STREAM: Final = 1
NOWHERE: Final = -1
"""Stands for the coordinates of a crop that may lie anywhere."""


class Crop(NamedTuple):
    """One entry of an epoch: an image, and the place that the crop should show."""

    image: int
    """Index in the data set, the boosted split's images after those of the training split."""
    centroid: tuple[int, int] | None
    """(x, y) in pixels of the original image; None: anywhere."""


@dataclass(frozen=True, kw_only=True)
class EpochLists:
    """What the lists of all epochs follow from."""

    seed: int
    images: int
    """N, of the training split."""
    share: float = 0.0
    """Of an epoch's crops that are taken around classes; 0: every image once."""
    places: Sequence[NDArray[np.int32]] = ()
    """Per class (M, 3): image, x, y. One entry for each of the C classes, empty for those that occur nowhere."""
    boosted: Sequence[NDArray[np.int32]] = ()
    """More of them, from further images; one entry for each class, or none at all."""
    last_boosted_epoch: int | None = 0
    """``boosted`` takes part up to this epoch; None: in all."""

    @property
    def per_class(self) -> int:
        """Crops of an epoch around each class."""
        return int(self.images * self.share / len(self.places)) if self.share else 0

    @property
    def length(self) -> int:
        """Crops of an epoch, the same for all: a class that occurs nowhere takes its share away (as the reference)."""
        missing = sum(not count for count in self.counts()) if self.share else 0
        return self.images - self.per_class * missing

    def counts(self) -> list[int]:
        """Places of each class, the boosted ones included."""
        more = self.boosted or [np.empty((0, 3), np.int32)] * len(self.places)
        return [len(own) + len(further) for own, further in zip(self.places, more, strict=True)]

    def crops(self, epoch: int) -> list[Crop]:
        """The `length` crops of ``epoch``, in their order."""
        return [Crop(image, None if x == NOWHERE else (x, y)) for image, x, y in self.entries(epoch).tolist()]

    def entries(self, epoch: int) -> NDArray[np.int64]:
        """(`length`, 3) int64 in the order of this epoch: image, x, y."""
        rng = generator(self.seed, _ORDER_STREAM, epoch)
        if not self.share:
            return _anywhere(rng.permutation(self.images))
        last = self.last_boosted_epoch
        entries = self.in_order(rng, boost=last is None or epoch <= last)
        return entries[rng.permutation(len(entries))]

    def in_order(self, rng: np.random.Generator, *, boost: bool) -> NDArray[np.int64]:
        """The entries as they are drawn: images at random first, then class by class.

        A class that ``boosted`` alone has places of takes images at random once that is left out: epochs stay of one
        length.
        """
        chosen = [_anywhere(draw(rng, self.images, self.images - self.per_class * len(self.places)))]
        for number, (own, total) in enumerate(zip(self.places, self.counts(), strict=True)):
            places = np.concatenate([own, self.boosted[number]]) if boost and self.boosted else own
            if len(places):
                chosen.append(places[draw(rng, len(places), self.per_class)].astype(np.int64))
            elif total:
                chosen.append(_anywhere(draw(rng, self.images, self.per_class)))
        return np.concatenate(chosen)


def draw(rng: np.random.Generator, count: int, wanted: int) -> NDArray[np.int64]:
    """``wanted`` of the numbers 0 to ``count`` - 1: a shuffled list that is gone through as often as it takes."""
    return np.resize(rng.permutation(count), wanted)


def _anywhere(images: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.column_stack([images, np.full((len(images), 2), NOWHERE)])


def generator(seed: int, *place: int) -> np.random.Generator:
    """Random numbers that are a function of (seed, place)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=place)))
