"""Sorted keys of one class, wherever they lie: all that counts, quantiles and histograms ask of an image's pixels.

`SortedArray` holds them in an array, `abet.metrics.tensors.SortedTensor` on a device. Whoever asks gets arrays, of as
many entries as were asked for, so the same arithmetic follows and the same bytes.
"""

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from abet.labels import ID, OOD
from abet.metrics.keys import Keys, Scores, to_keys

Counts = npt.NDArray[np.int64]
Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]

CLASSES: Final = (ID, OOD)
"""The order in which the keys of both classes are handed on."""


class SortedKeys(Protocol):
    """Keys (n,) of `abet.metrics.keys` in ascending order."""

    @property
    def size(self) -> int:
        """n."""
        ...

    def at(self, places: Indices) -> Keys:
        """The keys at these places, 0 to n - 1."""
        ...

    def below(self, keys: Keys) -> Counts:
        """How many are smaller than each of ``keys``."""
        ...


class SortedArray:
    """Sorted keys (n,) uint32 in an array."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    @property
    def size(self) -> int:
        """See `SortedKeys`."""
        return self.keys.size

    def at(self, places: Indices) -> Keys:
        """See `SortedKeys`."""
        return self.keys[places]

    def below(self, keys: Keys) -> Counts:
        """See `SortedKeys`."""
        return np.searchsorted(self.keys, keys).astype(np.int64, copy=False)


def sorted_classes(scores: Scores, labels: npt.NDArray[np.uint8]) -> tuple[SortedArray, SortedArray]:
    """The sorted keys of the ID and of the OOD pixels: arguments as for `abet.metrics.pixel.PixelCounter.add`."""
    keys = to_keys(np.ascontiguousarray(scores))
    id_keys, ood_keys = (SortedArray(np.sort(keys[labels == label])) for label in CLASSES)
    return id_keys, ood_keys


def first_keys(edges: Floats) -> Keys:
    """The key of the smallest float32 that is not below each edge; edges finite, in the range of float32."""
    rounded = edges.astype(np.float32)
    return to_keys(rounded) + (rounded < edges).astype(np.uint32)


def next_key(edge: float) -> Keys:
    """The key (1,) of the smallest float32 above a finite edge."""
    rounded = np.array([edge], np.float32)
    return to_keys(rounded) + (rounded <= edge).astype(np.uint32)
