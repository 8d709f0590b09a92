"""Pixel counts of each image over bins that all images share: what resampling images needs, in bounded memory.

Bins are those of `abet.metrics.pixel`, with a smaller limit: ``key >> L`` for the smallest L that leaves at most
``max_bins`` of them occupied by the pixels of *all* images together. By the proof there, L and the occupied bins follow
from the pixels alone, bins at a smaller L nest in them, and so one pass is enough and the order of merging leaves no
trace. Images are kept apart and sorted by name; 8 bytes per image and bin, 39 MiB for 1,200 images and 4,096 bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from abet.errors import DataError
from abet.metrics import runs
from abet.metrics.keys import Keys
from abet.metrics.pixel import MIN_BINS, PixelState
from abet.metrics.runs import Runs

ImageRows = npt.NDArray[np.int32]

_ARRAYS: Final = ("low_key", "high_key", "id_count", "ood_count")

MAX_BINS: Final = 2**12
"""Bins unless told otherwise."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageCounts:
    """Counts of ID and OOD pixels by image and score bin; what an evaluation shard stores of one score.

    names: of the images, ascending. shift, max_bins: L, and the limit that chose it.
    low_key, high_key: (bins,) uint32: the smallest and the largest key in each bin, over all images.
    id_count, ood_count: (images, bins) int32 pixels.
    """

    names: tuple[str, ...]
    shift: int
    max_bins: int
    low_key: Keys
    high_key: Keys
    id_count: ImageRows
    ood_count: ImageRows

    @classmethod
    def count(cls, name: str, state: PixelState, *, max_bins: int = MAX_BINS) -> ImageCounts:
        """The state of one image: its name in the data set, and its pixels, counted with at least max_bins bins.

        Raises DataError for an image of 2**31 pixels or more.
        """
        assert MIN_BINS <= max_bins <= state.max_bins
        if state.id_pixels + state.ood_pixels > np.iinfo(np.int32).max:
            raise DataError(f"{name}: {state.id_pixels + state.ood_pixels} pixels are more than an image can have")
        shift, coarse = runs.combine([state.runs], shift=state.shift, max_bins=max_bins)
        return cls(
            names=(name,),
            shift=shift,
            max_bins=max_bins,
            low_key=coarse.low_key,
            high_key=coarse.high_key,
            id_count=coarse.id_count.astype(np.int32)[None],
            ood_count=coarse.ood_count.astype(np.int32)[None],
        )

    @classmethod
    def empty(cls, *, max_bins: int = MAX_BINS) -> ImageCounts:
        """The state of no images; max_bins is at least 512."""
        assert max_bins >= MIN_BINS
        none, keys = np.empty((0, 0), np.int32), np.empty(0, np.uint32)
        return cls(names=(), shift=0, max_bins=max_bins, low_key=keys, high_key=keys, id_count=none, ood_count=none)

    @classmethod
    def merge(cls, *states: ImageCounts) -> ImageCounts:
        """The state of all images of all states, at least one, the same for any order and grouping.

        Merge many at once: each merge writes all counts anew. Raises DataError where the limits differ or an image
        occurs twice.
        """
        limits = {state.max_bins for state in states}
        if len(limits) != 1:
            raise DataError(f"image counts of at most {' and '.join(map(str, sorted(limits)))} bins cannot be merged")
        names = [name for state in states for name in state.names]
        if len(names) != len(set(names)):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise DataError(f"images counted twice: {', '.join(twice)}; merge each shard once")
        shift, pooled = runs.combine(
            [state._runs for state in states],
            shift=max(state.shift for state in states),
            max_bins=states[0].max_bins,
        )
        order = np.argsort(np.array(names, dtype=object), kind="stable")
        return cls(
            names=tuple(sorted(names)),
            shift=shift,
            max_bins=states[0].max_bins,
            low_key=pooled.low_key,
            high_key=pooled.high_key,
            id_count=np.concatenate([_placed(state, state.id_count, pooled, shift) for state in states])[order],
            ood_count=np.concatenate([_placed(state, state.ood_count, pooled, shift) for state in states])[order],
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The state for an ``.npz`` file: ``header`` (2,) int64 of shift and max_bins, ``names``, and the counts."""
        return {
            "header": np.array([self.shift, self.max_bins], np.int64),
            "names": np.array(self.names, np.str_),
            **{name: getattr(self, name) for name in _ARRAYS},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ImageCounts:
        """The state that `to_arrays` wrote. Raises DataError where the arrays do not fit together."""
        shift, max_bins = arrays["header"].tolist()
        names, found = tuple(arrays["names"].tolist()), {name: np.array(arrays[name]) for name in _ARRAYS}
        bins = found["low_key"].size
        shapes = ((bins,), (bins,), (len(names), bins), (len(names), bins))
        types = (np.uint32, np.uint32, np.int32, np.int32)
        for array, shape, dtype in zip(found.values(), shapes, types, strict=True):
            if array.shape != shape or array.dtype != dtype:
                raise DataError("not the counts of images: evaluate this shard again")
        return cls(names=names, shift=shift, max_bins=max_bins, **found)

    @property
    def _runs(self) -> Runs:
        """The bins of all images together, but for what they count: that is added up image by image (`_placed`)."""
        none = np.zeros(self.low_key.size, np.int64)
        return Runs(self.low_key, self.high_key, none, none)


def _placed(state: ImageCounts, counts: ImageRows, pooled: Runs, shift: int) -> ImageRows:
    """A state's counts in the pooled bins, each of which holds whole bins of the state: (images, pooled bins)."""
    placed = np.zeros((len(state.names), pooled.low_key.size), np.int32)
    if state.low_key.size == 0:
        return placed
    bins = np.searchsorted(pooled.low_key >> np.uint32(shift), state.low_key >> np.uint32(shift))
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    placed[:, bins[starts]] = np.add.reduceat(counts, starts, axis=1)
    return placed
