"""Sorted runs of keys: the sparse histogram underneath `abet.metrics.pixel`, as pure functions.

A bin at shift L holds the keys that agree in ``key >> L``. Bins at L + 1 are unions of bins at L, so the number of
occupied bins never rises with L, and for sorted keys it can be read off neighbours: it is one more than the number of
neighbours whose exclusive-or is at least 2**L.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from abet.metrics.keys import Keys

Counts = npt.NDArray[np.int64]
Indices = npt.NDArray[np.intp]

_BLOCK_KEYS: Final = 2**17


class Runs(NamedTuple):
    """Occupied bins in ascending order of key: all arrays (bins,).

    low_key, high_key: uint32, the smallest and the largest key seen in the bin.
    id_count, ood_count: int64, pixels of either class.
    """

    low_key: Keys
    high_key: Keys
    id_count: Counts
    ood_count: Counts


def empty() -> Runs:
    """No bins."""
    keys, counts = np.empty(0, np.uint32), np.empty(0, np.int64)
    return Runs(low_key=keys, high_key=keys, id_count=counts, ood_count=counts)


def smallest_shift(keys: Keys, *, shift: int, max_bins: int) -> int:
    """The smallest L >= shift with at most max_bins occupied bins; keys (n,) sorted, n > 0."""
    while 1 + sum(int(np.count_nonzero(far)) for _, far in _neighbours(keys, shift)) > max_bins:
        shift += 1
    return shift


def compress(keys: Keys, *, ood: bool, shift: int, max_bins: int) -> tuple[int, Runs]:
    """Count sorted keys (n,) of one class in bins of the smallest shift >= ``shift`` that gives at most max_bins."""
    if keys.size == 0:
        return shift, empty()
    shift = smallest_shift(keys, shift=shift, max_bins=max_bins)
    ends = _ends(keys, shift)
    counts = _differences(ends + 1).astype(np.int64, copy=False)
    absent = np.zeros_like(counts)
    return shift, Runs(
        low_key=keys[_starts(ends)],
        high_key=keys[ends],
        id_count=absent if ood else counts,
        ood_count=counts if ood else absent,
    )


def combine(parts: Sequence[Runs], *, shift: int, max_bins: int) -> tuple[int, Runs]:
    """The bins of all parts at the smallest shift >= ``shift`` that gives at most max_bins.

    ``shift`` is at least that of every part, so each of their bins lies in exactly one of the result's, and minimum,
    maximum and sums over whole bins are those over the pixels. The counts together stay below 2**63.
    """
    low_key, high_key, id_count, ood_count = map(np.concatenate, zip(*parts, strict=True))
    if low_key.size == 0:
        return shift, empty()
    order = np.argsort(low_key, kind="stable")  # stable sorting merges parts that are sorted already
    low_key = low_key[order]
    shift = smallest_shift(low_key, shift=shift, max_bins=max_bins)
    ends = _ends(low_key, shift)
    high_key.sort(kind="stable")  # the bins get groups of the same sizes again, the largest key last in each
    return shift, Runs(
        low_key=low_key[_starts(ends)],
        high_key=high_key[ends],
        id_count=_group_sums(id_count[order], ends),
        ood_count=_group_sums(ood_count[order], ends),
    )


def _neighbours(keys: Keys, shift: int) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Which sorted keys lie in another bin than the next one: (index of the first, bool) by block.

    Blocks that fit into the cache, since large temporary arrays cost more in fresh pages than in arithmetic.
    """
    for start in range(0, keys.size - 1, _BLOCK_KEYS):
        block = keys[start : start + _BLOCK_KEYS + 1]
        yield start, (block[1:] ^ block[:-1]) >= np.uint32(1 << shift)


def _ends(keys: Keys, shift: int) -> Indices:
    """The last index of each bin of sorted keys (n,), n > 0."""
    inner = [np.flatnonzero(far) + start for start, far in _neighbours(keys, shift)]
    return np.concatenate([*inner, [keys.size - 1]])


def _starts(ends: Indices) -> Indices:
    """The first index of each bin."""
    starts = np.empty_like(ends)
    starts[0] = 0
    np.add(ends[:-1], 1, out=starts[1:])
    return starts


def _group_sums(counts: Counts, ends: Indices) -> Counts:
    """Sums over groups: differences of the running total (np.add.reduceat is ten times slower on short groups)."""
    return _differences(np.cumsum(counts)[ends])


def _differences(totals: Counts) -> Counts:
    """What each entry adds to the one before."""
    result = totals.copy()
    result[1:] -= totals[:-1]
    return result
