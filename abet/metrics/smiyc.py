"""SegmentMeIfYouCan's pixel protocol: AP, FPR95 and best F1 from each image's own quantile bins.

Chan et al., SegmentMeIfYouCan, NeurIPS Datasets and Benchmarks 2021 (arXiv 2104.14812), section 4.1, as computed by the
published toolkit (SegmentMeIfYouCan/road-anomaly-benchmark, ``PixBinaryClass``: 768 bins, "percentiles"):

1. Of each image, the bin edges are 0, 1, the 384 evenly spaced quantiles of its OOD scores and those of its ID scores
   (fewer where a class has fewer pixels), interpolated linearly. A pixel counts at the lower edge of its bin; the
   highest bin is closed.
2. All images' edges together are the thresholds, from the highest down. AP is the sum of recall gains times precision.
3. FPR95 is taken at the first threshold with TPR >= 0.95, and the best F1 = 2 TP / (2 TP + FP + FN) at the first
   threshold that reaches it. `abet.metrics.components` starts from that one.

Edges of other images cut no bin of this one, so pooled figures are a little off: use them to compare with published
tables. Scores are not bound to [0, 1]; only NaN and infinities, which have no quantiles, are dropped, and counted.

**Where this differs.** Scores stay float32; the toolkit stores them as float16 first. Equal thresholds of several
images are one point; the toolkit means that too, but keeps the first of equal ones at the very top apart. It then looks
the *thresholds* of FPR95 and best F1 up in the list before equal ones were joined: they belong to other points, far off
where images share many scores. Here they are the points' own. (An older revision joins nothing, and takes AP by
trapezoids.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from abet.errors import DataError
from abet.metrics.keys import NEGATIVE_INFINITY, POSITIVE_INFINITY, Keys, Scores, to_scores
from abet.metrics.pixel import MAX_PIXELS, Labels, check_pixels
from abet.metrics.sorted_keys import SortedKeys, first_keys, next_key, sorted_classes
from abet.thresholds import SMIYC

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

PROTOCOL: Final = SMIYC
_CLASS_QUANTILES: Final = 768 // 2
_TARGET_PERCENT: Final = 95
_FINITE: Final[Keys] = np.array([NEGATIVE_INFINITY + 1, POSITIVE_INFINITY], np.uint32)
"""The keys of finite scores are from the first on and below the second."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SmiycState:
    """What an evaluation shard stores of one score: at most 769 points per image, whatever its size.

    threshold: (points,) float64, ascending: lower edges of bins that hold pixels. id_count, ood_count: (points,) int64.
    dropped_id, dropped_ood: pixels with NaN or infinity.
    """

    threshold: Floats
    id_count: Counts
    ood_count: Counts
    dropped_id: int
    dropped_ood: int

    @property
    def pixels(self) -> int:
        """All pixels of both classes, kept or dropped."""
        return int(self.id_count.sum()) + int(self.ood_count.sum()) + self.dropped_id + self.dropped_ood

    @classmethod
    def empty(cls) -> SmiycState:
        """The state of no pixels."""
        none = np.empty(0, np.int64)
        return cls(threshold=np.empty(0), id_count=none, ood_count=none, dropped_id=0, dropped_ood=0)

    @classmethod
    def count(cls, scores: Scores, labels: Labels) -> SmiycState:
        """The state of one whole image: a part of it would have other bins.

        scores: float32 of any shape, higher = more OOD, raw units. labels: uint8 of the same shape: ID, OOD or VOID.
        Raises DataError for other types, shapes or label values.
        """
        check_pixels(scores, labels)
        return cls.of_sorted(*sorted_classes(scores, labels))

    @classmethod
    def of_sorted(cls, id_keys: SortedKeys, ood_keys: SortedKeys) -> SmiycState:
        """The same from the sorted keys of the image's ID and OOD pixels."""
        classes = (id_keys, ood_keys)
        finite = [keys.below(_FINITE) for keys in classes]  # the first finite one's place, and the next after the last
        quantiles = (_quantiles(keys, *map(int, span)) for keys, span in zip(classes, finite, strict=True))
        edges = np.unique(np.concatenate([[0.0, 1.0], *quantiles]))
        bounds = np.concatenate([first_keys(edges[:-1]), next_key(edges[-1])])
        id_count, ood_count = (np.diff(keys.below(bounds)) for keys in classes)
        dropped_id, dropped_ood = (
            keys.size - int(end - start) for keys, (start, end) in zip(classes, finite, strict=True)
        )
        held = id_count + ood_count > 0
        return cls(
            threshold=edges[:-1][held],
            id_count=id_count[held],
            ood_count=ood_count[held],
            dropped_id=dropped_id,
            dropped_ood=dropped_ood,
        )

    @classmethod
    def merge(cls, *states: SmiycState) -> SmiycState:
        """The state of all images of all states, the same for any order and grouping.

        Raises DataError beyond 2**63 - 1 pixels.
        """
        total = sum(state.pixels for state in states)
        if total > MAX_PIXELS:
            raise DataError(f"{total} pixels exceed the {MAX_PIXELS} that a state can count: merge fewer shards")
        every = (*states, cls.empty())
        threshold, place = np.unique(np.concatenate([state.threshold for state in every]), return_inverse=True)
        sums = np.zeros((2, threshold.size), np.int64)
        np.add.at(sums[0], place, np.concatenate([state.id_count for state in every]))
        np.add.at(sums[1], place, np.concatenate([state.ood_count for state in every]))
        return cls(
            threshold=threshold,
            id_count=sums[0],
            ood_count=sums[1],
            dropped_id=sum(state.dropped_id for state in states),
            dropped_ood=sum(state.dropped_ood for state in states),
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The state for an ``.npz`` file: the three rows, and ``dropped`` (2,) int64: ID, OOD."""
        rows = {"threshold": self.threshold, "id_count": self.id_count, "ood_count": self.ood_count}
        return rows | {"dropped": np.array([self.dropped_id, self.dropped_ood], np.int64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> SmiycState:
        """The state that `to_arrays` wrote. Raises DataError for what no pixels can have produced."""
        rows = {name: np.array(arrays[name]) for name in ("threshold", "id_count", "ood_count")}
        dropped = arrays["dropped"]
        counted = [rows["id_count"], rows["ood_count"], dropped]
        if (
            any(row.dtype != np.int64 or bool((row < 0).any()) for row in counted)
            or {row.shape for row in rows.values()} != {(rows["threshold"].size,)}
            or dropped.shape != (2,)
            or not bool((np.diff(rows["threshold"]) > 0).all())
        ):
            raise DataError("not the quantile bins of a score: evaluate this shard again")
        return cls(**rows, dropped_id=int(dropped[0]), dropped_ood=int(dropped[1]))

    def summarise(self) -> dict[str, Any]:
        """The figures as strict JSON: ap, fpr95, tpr (the one used), threshold, best_f1, best_f1_threshold, prevalence
        (of the kept pixels), dropped, protocol. Thresholds are in raw score units. Null beside a ``reason`` without
        ID or without OOD pixels.
        """
        summary: dict[str, Any] = {"protocol": PROTOCOL}
        names = ("prevalence", "ap", "fpr95", "tpr", "threshold", "best_f1", "best_f1_threshold")
        summary |= dict.fromkeys(names)
        summary |= {"dropped": {"id": self.dropped_id, "ood": self.dropped_ood}}
        positives, negatives = int(self.ood_count.sum()), int(self.id_count.sum())
        if missing := [name for name, total in (("ID", negatives), ("OOD", positives)) if total == 0]:
            return summary | {"reason": f"no {' and no '.join(missing)} pixel has a finite score"}
        tp, fp = (np.cumsum(counts[::-1]) for counts in (self.ood_count, self.id_count))
        threshold = self.threshold[::-1]
        f1 = 2 * tp / (tp + fp + positives)
        first, best = int(np.searchsorted(tp, -(-_TARGET_PERCENT * positives // 100))), int(f1.argmax())
        return summary | {
            "prevalence": positives / (positives + negatives),
            "ap": float(np.sum(np.diff(tp, prepend=0) / positives * (tp / (tp + fp)))),
            "fpr95": int(fp[first]) / negatives,
            "tpr": int(tp[first]) / positives,
            "threshold": float(threshold[first]),
            "best_f1": float(f1[best]),
            "best_f1_threshold": float(threshold[best]),
        }


def _quantiles(keys: SortedKeys, start: int, end: int) -> Floats:
    """Up to 384 evenly spaced quantiles of the finite scores from ``start`` on up to before ``end``, both ends among
    them: float64, interpolated to the last bit as `numpy.quantile` does. No zero is negative.
    """
    last = end - start - 1
    count = min(_CLASS_QUANTILES, last + 1)
    places = last * np.linspace(0, 1, count)
    lower = np.floor(places).astype(np.intp)
    values = to_scores(keys.at(start + np.stack([lower, np.minimum(lower + 1, last)]).ravel())).astype(np.float64)
    (low, high), part = values.reshape(2, count), places - lower
    rise = high - low
    # From the nearer of the two: of equal scores no rounding is left
    return np.where(part < 0.5, low + rise * part, high - rise * (1 - part)) + 0.0
