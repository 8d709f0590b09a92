"""`abet.metrics.pixel` on tensors: keys, sorting and compressing where the scores are; bins alone come to the host.

    counter = TensorCounter(device)
    for scores, labels in images:
        counter.add(scores, ClassPlaces.of(labels, device))
    state = counter.state()

The states are equal to the byte to those of `abet.metrics.pixel.PixelCounter`, whose proofs hold here too. Few
operations on a device know uint32: a key is an int32 here, the uint32 key with its highest bit flipped, which has the
same order. Whatever depends on a count (how many pixels a class has, how many bins are left) waits for the device;
the places of an image's classes do so once, whatever the number of its scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from abet.errors import DataError
from abet.labels import ID, OOD
from abet.metrics.keys import Keys
from abet.metrics.pixel import MAX_BINS, MIN_BINS, NO_EDGES, Labels, PixelState, check_pixels
from abet.metrics.runs import Runs
from abet.metrics.sorted_keys import CLASSES, Counts, Indices

_LOW_BITS: Final = 0x7FFF_FFFF  # all but the sign; as a key, that of NaN
_SIGN: Final = np.uint32(0x8000_0000)


class ClassPlaces(NamedTuple):
    """Where the ID and the OOD pixels of an image are: (pixels,) int64 each, on the device that the scores are on."""

    id: Tensor
    ood: Tensor
    shape: tuple[int, ...]
    """Of the image."""

    @classmethod
    def of(cls, labels: Labels, device: torch.device) -> ClassPlaces:
        """Places of labels as for `abet.metrics.pixel.PixelCounter.add`. Raises DataError for other ones."""
        check_pixels(np.empty(labels.shape, np.float32), labels)
        flat = torch.from_numpy(np.ascontiguousarray(labels).ravel()).to(device)
        id_places, ood_places = (torch.nonzero(flat == label).squeeze(1) for label in CLASSES)
        return cls(id_places, ood_places, labels.shape)


class TensorRuns(NamedTuple):
    """`abet.metrics.runs.Runs` on a device: keys int32 as above, counts int64."""

    low_key: Tensor
    high_key: Tensor
    id_count: Tensor
    ood_count: Tensor

    def to_host(self) -> Runs:
        """The same in arrays."""
        return Runs(_to_array(self.low_key), _to_array(self.high_key), *(c.cpu().numpy() for c in self[2:]))


class SortedTensor:
    """`abet.metrics.sorted_keys.SortedKeys` on a device: keys (n,) int32 as above, ascending."""

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys

    @property
    def size(self) -> int:
        """See `SortedKeys`."""
        return self.keys.numel()

    def at(self, places: Indices) -> Keys:
        """See `SortedKeys`."""
        return _to_array(self.keys[torch.from_numpy(places).to(self.keys.device)])

    def below(self, keys: Keys) -> Counts:
        """See `SortedKeys`."""
        wanted = torch.from_numpy((keys ^ _SIGN).view(np.int32)).to(self.keys.device)
        return torch.searchsorted(self.keys, wanted).cpu().numpy()


def to_keys(scores: Tensor) -> Tensor:
    """Keys of float32 scores, of the same shape: int32 in their order, -0 equal to +0, NaN on top.

    Works on the bits alone, as `abet.metrics.keys.to_keys` does.
    """
    bits = scores.view(torch.int32)
    keys = bits ^ ((bits >> 31) & _LOW_BITS)
    keys = torch.where(keys == -1, 0, keys)  # -0
    return torch.where((bits & _LOW_BITS) > 0x7F80_0000, _LOW_BITS, keys)  # NaN


def sorted_classes(scores: Tensor, places: ClassPlaces) -> tuple[SortedTensor, SortedTensor]:
    """The sorted keys of the ID and of the OOD pixels of one image."""
    keys = to_keys(_flat(scores, places))
    return SortedTensor(keys[places.id].sort().values), SortedTensor(keys[places.ood].sort().values)


class TensorCounter:
    """`abet.metrics.pixel.PixelCounter` on a device: buffers and state stay there."""

    def __init__(
        self, device: torch.device, *, max_bins: int = MAX_BINS, buffer_pixels: int = 2**23, edges: Keys = NO_EDGES
    ) -> None:
        """As for `PixelCounter`; the buffers and what sorting takes beside them are memory of the device."""
        assert max_bins >= MIN_BINS
        assert buffer_pixels >= 1
        self._max_bins = max_bins
        self._shift, self._runs = 0, _empty(device)
        self._buffers = [torch.empty(buffer_pixels, dtype=torch.int32, device=device) for _ in CLASSES]
        self._filled = [0 for _ in CLASSES]
        self._edges = edges
        self._below = np.zeros((len(CLASSES), edges.size), np.int64)

    def add(self, scores: Tensor, places: ClassPlaces) -> None:
        """Count the pixels of an image: float32 scores of the shape of its labels, on the device.

        Raises DataError for other types or shapes.
        """
        keys = to_keys(_flat(scores, places))
        for index, chosen in enumerate((places.id, places.ood)):
            self._keep(keys[chosen], index)

    def add_sorted(self, id_keys: SortedTensor, ood_keys: SortedTensor) -> PixelState:
        """See `PixelCounter.add_sorted`; its bins come to the host."""
        shift, counted = _count(_empty(id_keys.keys.device), id_keys, ood_keys, shift=0, max_bins=self._max_bins)
        self._look_up(id_keys, ood_keys)
        least = max(self._shift, shift)
        self._shift, self._runs = _combine([self._runs, counted], shift=least, max_bins=self._max_bins)
        return PixelState.of_runs(shift, counted.to_host(), max_bins=self._max_bins)

    def state(self) -> PixelState:
        """See `PixelCounter.state`; on the host."""
        self._flush()
        return PixelState.of_runs(self._shift, self._runs.to_host(), max_bins=self._max_bins)

    def below(self) -> Counts:
        """See `PixelCounter.below`."""
        self._flush()
        return self._below.copy()

    def _keep(self, keys: Tensor, index: int) -> None:
        buffer = self._buffers[index]
        while keys.numel():
            start = self._filled[index]
            taken = min(keys.numel(), buffer.numel() - start)
            buffer[start : start + taken] = keys[:taken]
            self._filled[index] += taken
            keys = keys[taken:]
            if self._filled[index] == buffer.numel():
                self._flush()

    def _flush(self) -> None:
        filled = zip(self._buffers, self._filled, strict=True)
        id_keys, ood_keys = (SortedTensor(buffer[:size].sort().values) for buffer, size in filled)
        self._filled = [0 for _ in CLASSES]
        self._look_up(id_keys, ood_keys)
        self._shift, self._runs = _count(self._runs, id_keys, ood_keys, shift=self._shift, max_bins=self._max_bins)

    def _look_up(self, id_keys: SortedTensor, ood_keys: SortedTensor) -> None:
        if self._edges.size:
            self._below += np.stack([id_keys.below(self._edges), ood_keys.below(self._edges)])


def _flat(scores: Tensor, places: ClassPlaces) -> Tensor:
    if scores.dtype != torch.float32 or scores.shape != places.shape:
        raise DataError(
            f"scores are {scores.dtype} of shape {tuple(scores.shape)}, the image is float32 of {places.shape}"
        )
    return scores.contiguous().flatten()


def _empty(device: torch.device) -> TensorRuns:
    keys = torch.empty(0, dtype=torch.int32, device=device)
    counts = torch.empty(0, dtype=torch.int64, device=device)
    return TensorRuns(keys, keys, counts, counts)


def _count(
    before: TensorRuns, id_keys: SortedTensor, ood_keys: SortedTensor, *, shift: int, max_bins: int
) -> tuple[int, TensorRuns]:
    """Bins of ``before``, which are of ``shift``, and of more keys, of the smallest shift that leaves max_bins."""
    parts = [before]
    for keys, label in ((id_keys.keys, ID), (ood_keys.keys, OOD)):
        shift, counted = _compress(keys, ood=label == OOD, shift=shift, max_bins=max_bins)
        parts.append(counted)
    return _combine(parts, shift=shift, max_bins=max_bins)


def _compress(keys: Tensor, *, ood: bool, shift: int, max_bins: int) -> tuple[int, TensorRuns]:
    """`abet.metrics.runs.compress` on a device."""
    if keys.numel() == 0:
        return shift, _empty(keys.device)
    shift, ends = _bins(keys, shift=shift, max_bins=max_bins)
    counts = _differences(ends + 1)
    absent = torch.zeros_like(counts)
    both = (absent, counts) if ood else (counts, absent)
    return shift, TensorRuns(keys[_starts(ends)], keys[ends], *both)


def _combine(parts: Sequence[TensorRuns], *, shift: int, max_bins: int) -> tuple[int, TensorRuns]:
    """`abet.metrics.runs.combine` on a device."""
    low_key, high_key, id_count, ood_count = map(torch.cat, zip(*parts, strict=True))
    if low_key.numel() == 0:
        return shift, TensorRuns(low_key, high_key, id_count, ood_count)
    low_key, order = low_key.sort()
    shift, ends = _bins(low_key, shift=shift, max_bins=max_bins)
    sums = (_differences(count[order].cumsum(0)[ends]) for count in (id_count, ood_count))
    return shift, TensorRuns(low_key[_starts(ends)], high_key.sort().values[ends], *sums)


def _bins(keys: Tensor, *, shift: int, max_bins: int) -> tuple[int, Tensor]:
    """The smallest shift from ``shift`` on that leaves max_bins bins of sorted keys, and the last index of each bin."""
    apart = keys[1:] ^ keys[:-1]
    while True:  # the shift of all the pixels before is nearly always enough
        inner = torch.nonzero(apart >> shift).squeeze(1)
        if inner.numel() < max_bins:
            return shift, torch.cat([inner, inner.new_tensor([keys.numel() - 1])])
        shift += 1


def _starts(ends: Tensor) -> Tensor:
    return torch.cat([ends.new_zeros(1), ends[:-1] + 1])


def _differences(totals: Tensor) -> Tensor:
    """What each entry adds to the one before."""
    return torch.diff(totals, prepend=totals.new_zeros(1))


def _to_array(keys: Tensor) -> npt.NDArray[np.uint32]:
    return keys.cpu().numpy().view(np.uint32) ^ _SIGN
