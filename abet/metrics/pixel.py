"""Streaming pixel counts: every labelled pixel of a data set, in bounded memory, in any order.

    counter = PixelCounter()
    for scores, labels in images:
        counter.add(scores, labels)
    state = counter.state()

**Bins.** A score becomes its order-preserving 32-bit key (`abet.metrics.keys`); pixels are counted per occupied bin of
``key >> L``, where L is the smallest shift that leaves at most ``max_bins`` bins. At L = 0 every distinct score has its
own bin and the figures of `abet.metrics.ranking` are exact. With 2**20 bins L never exceeds 12, since ``key >> 12`` has
no more values; with 512, the fewest allowed, it never exceeds 23.

**No bin mixes finite and non-finite scores**, so the non-finite pixels need no counters of their own: since L <= 23,
every bin lies inside one block of 2**23 keys. -inf, key 0x007FFFFF, is the only key of a score in the lowest block;
+inf, key 0xFF800000 = 511 * 2**23, is the first in the highest, whose only other key of a score is that of NaN.

**The state is a function of the multiset of pixels.** Let B(K, L) be the number of occupied bins of the keys K at shift
L, and L*(K) the smallest L with B(K, L) <= max_bins.

1. Bins at L + 1 are unions of bins at L, so B(K, L) never rises with L: every L >= L*(K) satisfies the limit as well.
2. More keys never occupy fewer bins, so L*(A + B) >= max(L*(A), L*(B)).
3. The states of A and of B tell, for each L >= max(L*(A), L*(B)), which bins of A + B are occupied (their own bins nest
   in those at L), hence B(A + B, L), and for each bin its smallest key, largest key and counts (minimum, maximum and
   sum over the nested bins).
4. By 2 and 3, searching upwards from max(L*(A), L*(B)) finds exactly L*(A + B) and the very state that counting A + B
   at once would give. L* and the per-bin values depend on the multiset alone, so by induction does every state,
   whatever the order, the buffering or the sharding. Arrays are equal to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from abet.errors import DataError
from abet.labels import ID, OOD, VOID
from abet.metrics import runs
from abet.metrics.keys import NEGATIVE_INFINITY, POSITIVE_INFINITY, Keys, Scores, is_valid, to_keys
from abet.metrics.runs import Counts, Runs
from abet.metrics.sorted_keys import CLASSES, SortedArray

Labels = npt.NDArray[np.uint8]

MAX_BINS: Final = 2**20
"""Bins of a state unless told otherwise: at most 24 MiB."""
MIN_BINS: Final = 2**9
"""The smallest limit: with fewer bins, one could hold finite and non-finite scores."""
MAX_PIXELS: Final = 2**63 - 1
"""Pixels of both classes that a state can hold."""
NO_EDGES: Final[Keys] = np.empty(0, np.uint32)
_MAX_SHIFT: Final = 23  # key >> 23 has MIN_BINS values
_BLOCK_PIXELS: Final = 2**18  # keys of one block stay in the second-level cache


@dataclass(frozen=True, eq=False, kw_only=True)
class PixelState:
    """Counts of ID and OOD pixels over score bins; what an evaluation shard stores for each score.

    shift: L above. max_bins: the limit that chose it.
    low_key, high_key: (bins,) uint32, ascending: the smallest and the largest key seen in each bin; equal where the
        bin holds one single score.
    id_count, ood_count: (bins,) int64 pixels.
    """

    shift: int
    max_bins: int
    low_key: Keys
    high_key: Keys
    id_count: Counts
    ood_count: Counts

    def __post_init__(self) -> None:
        for array in self.runs:
            array.setflags(write=False)

    @property
    def runs(self) -> Runs:
        """The per-bin arrays."""
        return Runs(self.low_key, self.high_key, self.id_count, self.ood_count)

    @property
    def id_pixels(self) -> int:
        """N: in-distribution pixels, the negatives."""
        return int(self.id_count.sum())

    @property
    def ood_pixels(self) -> int:
        """P: out-of-distribution pixels, the positives."""
        return int(self.ood_count.sum())

    @property
    def non_finite_id(self) -> int:
        """ID pixels whose score is NaN or infinite."""
        return int(self.id_count[self._non_finite].sum())

    @property
    def non_finite_ood(self) -> int:
        """OOD pixels whose score is NaN or infinite."""
        return int(self.ood_count[self._non_finite].sum())

    @property
    def _non_finite(self) -> npt.NDArray[np.bool_]:
        """Bins of non-finite scores: none of them holds a finite one (see the module)."""
        return np.asarray((self.low_key == NEGATIVE_INFINITY) | (self.low_key >= POSITIVE_INFINITY))

    @classmethod
    def empty(cls, *, max_bins: int = MAX_BINS) -> PixelState:
        """The state of no pixels; max_bins is at least 512."""
        return cls._of(0, runs.empty(), max_bins=max_bins)

    @classmethod
    def count(cls, scores: Scores, labels: Labels, *, max_bins: int = MAX_BINS) -> PixelState:
        """The state of one array of scores: arguments as for `PixelCounter.add`."""
        counter = PixelCounter(max_bins=max_bins)
        counter.add(scores, labels)
        return counter.state()

    @classmethod
    def of_sorted(cls, id_keys: SortedArray, ood_keys: SortedArray, *, max_bins: int = MAX_BINS) -> PixelState:
        """The state of pixels whose sorted keys are known."""
        classes = ((id_keys, False), (ood_keys, True))
        return cls.merge(*(cls._of_keys(part.keys, ood=ood, shift=0, max_bins=max_bins) for part, ood in classes))

    @classmethod
    def of_runs(cls, shift: int, counted: Runs, *, max_bins: int = MAX_BINS) -> PixelState:
        """The state of pixels that are counted already, in bins of the smallest shift that leaves at most max_bins."""
        return cls._of(shift, counted, max_bins=max_bins)

    @classmethod
    def merge(cls, *states: PixelState) -> PixelState:
        """The state of all pixels of all states, the same for any order and grouping.

        Raises DataError where the limits differ or the pixels together exceed 2**63 - 1.
        """
        occupied = [state for state in states if state.low_key.size]
        if len(occupied) <= 1:
            return next(iter(occupied or states), cls.empty())
        limits = {state.max_bins for state in states}
        if len(limits) > 1:
            raise DataError(
                f"states of at most {' and '.join(map(str, sorted(limits)))} bins cannot be merged: "
                "evaluate all shards with the same limit"
            )
        total = sum(state.id_pixels + state.ood_pixels for state in states)
        if total > MAX_PIXELS:
            raise DataError(f"{total} pixels exceed the {MAX_PIXELS} that a state can count: merge fewer shards")
        shift, both = runs.combine(
            [state.runs for state in occupied],
            shift=max(state.shift for state in occupied),
            max_bins=occupied[0].max_bins,
        )
        return cls._of(shift, both, max_bins=occupied[0].max_bins)

    @classmethod
    def _of(cls, shift: int, counted: Runs, *, max_bins: int) -> PixelState:
        return cls(shift=shift, max_bins=max_bins, **counted._asdict())

    @classmethod
    def _of_keys(cls, keys: Keys, *, ood: bool, shift: int, max_bins: int) -> PixelState:
        """The state of sorted keys of one class; ``shift`` is a lower bound of its own that is known already."""
        shift, counted = runs.compress(keys, ood=ood, shift=shift, max_bins=max_bins)
        return cls._of(shift, counted, max_bins=max_bins)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The state as arrays for an ``.npz`` file: the per-bin ones, and ``header`` (2,) int64: shift, max_bins.

        Equal pixels give equal bytes.
        """
        return {"header": np.array([self.shift, self.max_bins], np.int64), **self.runs._asdict()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> PixelState:
        """The state that `to_arrays` wrote. Raises DataError for arrays that no pixels can have produced."""
        expected = {"header": np.int64, "low_key": np.uint32, "high_key": np.uint32}
        expected |= {"id_count": np.int64, "ood_count": np.int64}
        for name, dtype in expected.items():
            _require(name in arrays, f"array {name!r} is missing")
            array = arrays[name]
            _require(array.dtype == dtype and array.ndim == 1, f"array {name!r} is not one {np.dtype(dtype)} row")
        _require(arrays["header"].size == 2, "the header has not two entries")
        shift, max_bins = arrays["header"].tolist()
        counted = Runs(*(np.array(arrays[name]) for name in Runs._fields))
        _check_bins(counted, shift=shift, max_bins=max_bins)
        return cls._of(shift, counted, max_bins=max_bins)


def _check_bins(counted: Runs, *, shift: int, max_bins: int) -> None:
    """Everything that the definition of a state says of its bins."""
    low, high, id_count, ood_count = counted
    _require(len({array.size for array in counted}) == 1, "the per-bin arrays differ in length")
    _require(max_bins >= MIN_BINS and low.size <= max_bins, "the bins do not fit the limit")
    _require(0 <= shift <= _MAX_SHIFT, f"the shift is not one of 0 to {_MAX_SHIFT}")
    _require(bool((is_valid(low) & is_valid(high) & (low <= high)).all()), "a key is not that of a score")
    _require(bool((low >> np.uint32(shift) == high >> np.uint32(shift)).all()), "a bin is wider than its shift")
    _require(bool((np.diff((low >> np.uint32(shift)).astype(np.int64)) > 0).all()), "the bins are not ascending")
    # The sum of two counts, and of all counts, may exceed 64 bits in damaged arrays: compare, then add in halves.
    _require(bool((id_count >= 0).all() and (ood_count >= 0).all()), "a count is negative")
    _require(_total(id_count) + _total(ood_count) <= MAX_PIXELS, f"more than {MAX_PIXELS} pixels")
    _require(bool((id_count + ood_count >= 1 + (low != high)).all()), "a bin has fewer pixels than scores")
    if shift > 0:
        split = low >> np.uint32(shift - 1) != high >> np.uint32(shift - 1)
        _require(low.size + int(np.count_nonzero(split)) > max_bins, "the shift is larger than needed")


def _total(counts: Counts) -> int:
    """The sum of up to 2**31 non-negative counts, whatever their size."""
    return (int((counts >> 32).sum()) << 32) + int((counts & 0xFFFF_FFFF).sum())


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise DataError(f"not the pixel counts of one score: {fault}; evaluate this shard again")


class PixelCounter:
    """Accumulates images into a `PixelState`; memory does not grow with the number of pixels.

    Keys are kept until ``buffer_pixels`` of a class have come together and are then sorted and compressed at once,
    which is several times faster than image by image and, by the proof above, changes nothing in the state.
    """

    def __init__(self, *, max_bins: int = MAX_BINS, buffer_pixels: int = 2**23, edges: Keys = NO_EDGES) -> None:
        """max_bins: at least 512. buffer_pixels: 4 bytes each for either class, and as much again while compressing.

        edges: keys (edges,) below which pixels are counted besides, of which sorted ones need a few look-ups each.
        """
        assert max_bins >= MIN_BINS
        assert buffer_pixels >= 1
        self._edges = edges
        self._below = np.zeros((len(CLASSES), edges.size), np.int64)
        self._state = PixelState.empty(max_bins=max_bins)
        self._buffers = {label: np.empty(buffer_pixels, np.uint32) for label in (ID, OOD)}
        self._filled = {ID: 0, OOD: 0}
        self._waiting: list[PixelState] = []

    def add(self, scores: Scores, labels: Labels) -> None:
        """Count the pixels of an image.

        scores: float32 of any shape, higher = more OOD; NaN ranks above +inf.
        labels: uint8 of the same shape: ID, OOD, or VOID for pixels that are left out.
        Raises DataError for other types, shapes or label values.
        """
        check_pixels(scores, labels)
        flat_scores, flat_labels = np.ascontiguousarray(scores).ravel(), labels.ravel()
        for start in range(0, flat_scores.size, _BLOCK_PIXELS):
            block = slice(start, start + _BLOCK_PIXELS)
            keys, classes = to_keys(flat_scores[block]), flat_labels[block]
            for label in (ID, OOD):
                self._keep(keys[classes == label], label)

    def add_sorted(self, id_keys: SortedArray, ood_keys: SortedArray) -> PixelState:
        """Count the pixels of an image whose sorted keys are known, and return their own state.

        It is merged together with others, since a merge costs by what is there already.
        """
        state = PixelState.of_sorted(id_keys, ood_keys, max_bins=self._state.max_bins)
        self._below += np.stack([keys.below(self._edges) for keys in (id_keys, ood_keys)])
        self._waiting.append(state)
        if sum(each.low_key.size for each in self._waiting) >= self._state.max_bins:
            self._flush()
        return state

    def state(self) -> PixelState:
        """The state of everything added so far; more may be added afterwards."""
        self._flush()
        return self._state

    def below(self) -> Counts:
        """ID and OOD pixels (2, edges) int64 added so far whose key is smaller than each of the edges."""
        self._flush()
        return self._below.copy()

    def _keep(self, keys: Keys, label: int) -> None:
        buffer = self._buffers[label]
        while keys.size:
            start = self._filled[label]
            taken = min(keys.size, buffer.size - start)
            buffer[start : start + taken] = keys[:taken]
            self._filled[label] += taken
            keys = keys[taken:]
            if self._filled[label] == buffer.size:
                self._flush()

    def _flush(self) -> None:
        counted = [self._counted(label) for label in (ID, OOD)]
        self._state = PixelState.merge(self._state, *self._waiting, *counted)
        self._waiting.clear()

    def _counted(self, label: int) -> PixelState:
        """Empty a buffer."""
        keys = self._buffers[label][: self._filled[label]]
        self._filled[label] = 0
        keys.sort()
        self._below[CLASSES.index(label)] += SortedArray(keys).below(self._edges)
        return PixelState._of_keys(keys, ood=label == OOD, shift=self._state.shift, max_bins=self._state.max_bins)


def check_pixels(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    """Raise DataError unless scores are float32 and labels uint8 ID / OOD / VOID of the same shape."""
    if scores.dtype != np.float32:
        raise DataError(
            f"scores are {scores.dtype}, not float32: convert them, so that the rounding is yours to choose"
        )
    if labels.dtype != np.uint8:
        raise DataError(f"labels are {labels.dtype}, not uint8 of ID {ID}, OOD {OOD} and VOID {VOID}")
    if scores.shape != labels.shape:
        raise DataError(f"scores of shape {scores.shape} and labels of shape {labels.shape} are not of one image")
    places = labels + np.uint8(1)  # VOID 0, ID 1, OOD 2: uint8 starts again after 255
    if places.max(initial=0) > OOD + 1:
        unknown = int(np.count_nonzero(places > OOD + 1))
        raise DataError(f"{unknown} labels are neither ID {ID}, OOD {OOD} nor VOID {VOID}: map them first")
