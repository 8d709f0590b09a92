"""The paper's evaluation protocol (AbeT's, after Meta-OoD's): 100 score bins, for comparison with published tables.

Two histograms of 100 equal bins on [0, 1], the last one closed; scores outside, and NaN, are dropped without notice
there and counted here. The reference then writes each bin number out as often as ``trunc(count / total * size)`` and
hands the lists to scikit-learn. The same numbers follow from at most 100 weighted scores, which is what this module
does (reference behaviour, pixel metrics):

- ROC with 1e5 ID and 1e5 OOD entries: balanced, whatever the prevalence. AUROC is the trapezoid area. FPR95 is the
  point whose TPR is *nearest* to 0.95, and the one before it if that TPR is exactly 1, among the points that
  ``roc_curve`` keeps (it drops those where two equal steps follow each other). Meta-OoD, where AbeT took this from,
  does not step back: a protocol of its own here, since FPR95 may differ widely.
- Precision-recall with 1e7 entries, split by the true share of kept pixels. AUPRC is average precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from abet.errors import DataError
from abet.labels import ID, OOD
from abet.metrics.keys import NEGATIVE_INFINITY, POSITIVE_INFINITY, Keys, Scores, to_scores
from abet.metrics.pixel import MAX_PIXELS, check_pixels

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BINS: Final = 100
PROTOCOL: Final = "reference-100-bins"
META_OOD_PROTOCOL: Final = "meta-ood-100-bins"
"""The same without the step back."""
NORMALISED: Final = "normalised score"
"""Of what a threshold here is: of the score as the reference maps it to [0, 1]."""
_ROC_SIZE: Final = 1e5  # of either class
_PR_SIZE: Final = 1e7  # of both classes together
_TARGET_TPR: Final = 0.95


class RocCurve(NamedTuple):
    """Points from (0, 0), whose threshold is +inf, to (1, 1): float64 (points,) each."""

    fpr: Floats
    tpr: Floats
    threshold: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class ReferenceState:
    """What an evaluation shard stores of one score for this protocol; states of any shards add up.

    id_counts, ood_counts: (100,) int64 pixels per score bin. dropped_id, dropped_ood: pixels outside [0, 1] or NaN.
    """

    id_counts: Counts
    ood_counts: Counts
    dropped_id: int
    dropped_ood: int

    @property
    def pixels(self) -> int:
        """All pixels of both classes, kept or dropped."""
        return int(self.id_counts.sum()) + int(self.ood_counts.sum()) + self.dropped_id + self.dropped_ood

    @classmethod
    def empty(cls) -> ReferenceState:
        """The state of no pixels."""
        none = np.zeros(BINS, np.int64)
        return cls(id_counts=none, ood_counts=none, dropped_id=0, dropped_ood=0)

    @classmethod
    def count(cls, scores: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> ReferenceState:
        """The state of one image.

        scores: float32 of any shape, the reference's normalised score, meant to lie in [0, 1]; higher = more OOD.
        labels: uint8 of the same shape: ID, OOD, or VOID for pixels that are left out.
        Raises DataError for other types, shapes or label values.
        """
        check_pixels(scores, labels)
        edges = np.linspace(0, 1, BINS + 1)  # explicit float64 edges: those of a range would be rounded to float32
        classes = [scores[labels == label] for label in (ID, OOD)]
        id_counts, ood_counts = (np.histogram(chosen, bins=edges)[0].astype(np.int64) for chosen in classes)
        return cls(
            id_counts=id_counts,
            ood_counts=ood_counts,
            dropped_id=classes[0].size - int(id_counts.sum()),
            dropped_ood=classes[1].size - int(ood_counts.sum()),
        )

    @classmethod
    def of_below(cls, below: Counts, *, id_pixels: int, ood_pixels: int) -> ReferenceState:
        """The state of pixels of whose raw scores so many (2, 101), ID and OOD, lie below each of `raw_edges`."""
        id_counts, ood_counts = np.diff(below)
        return cls(
            id_counts=id_counts,
            ood_counts=ood_counts,
            dropped_id=id_pixels - int(id_counts.sum()),
            dropped_ood=ood_pixels - int(ood_counts.sum()),
        )

    @classmethod
    def merge(cls, *states: ReferenceState) -> ReferenceState:
        """The state of all pixels of all states. Raises DataError beyond 2**63 - 1 pixels."""
        total = sum(state.pixels for state in states)
        if total > MAX_PIXELS:
            raise DataError(f"{total} pixels exceed the {MAX_PIXELS} that a state can count: merge fewer shards")
        none = np.zeros(BINS, np.int64)
        return cls(
            id_counts=sum((state.id_counts for state in states), none),
            ood_counts=sum((state.ood_counts for state in states), none),
            dropped_id=sum(state.dropped_id for state in states),
            dropped_ood=sum(state.dropped_ood for state in states),
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The state as int64 arrays for an ``.npz`` file: id_counts, ood_counts (100,), dropped (2,): ID, OOD."""
        dropped = np.array([self.dropped_id, self.dropped_ood], np.int64)
        return {"id_counts": self.id_counts, "ood_counts": self.ood_counts, "dropped": dropped}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ReferenceState:
        """The state that `to_arrays` wrote. Raises DataError for anything else."""
        for name, size in (("id_counts", BINS), ("ood_counts", BINS), ("dropped", 2)):
            array = arrays.get(name)
            if array is None or array.dtype != np.int64 or array.shape != (size,) or bool((array < 0).any()):
                raise DataError(
                    f"not the 100-bin counts of a score: {name!r} must be {size} int64 counts; evaluate again"
                )
        if sum(sum(arrays[name].tolist()) for name in ("id_counts", "ood_counts", "dropped")) > MAX_PIXELS:
            raise DataError(f"not the 100-bin counts of a score: more than {MAX_PIXELS} pixels; evaluate again")
        dropped_id, dropped_ood = arrays["dropped"].tolist()
        return cls(
            id_counts=np.array(arrays["id_counts"]),
            ood_counts=np.array(arrays["ood_counts"]),
            dropped_id=dropped_id,
            dropped_ood=dropped_ood,
        )

    def summarise(self, *, step_back: bool = True) -> dict[str, Any]:
        """The figures as strict JSON: auroc, auprc, fpr95, tpr (the one used), threshold, dropped, protocol.

        The threshold is in the units of the normalised score, not of the raw one as elsewhere, and ``threshold_of``
        says so. Figures without a value are null beside a ``reason``.
        step_back: from a point with TPR 1 to the one before, as AbeT does and Meta-OoD does not.
        """
        summary: dict[str, Any] = dict.fromkeys(("auroc", "auprc", "fpr95", "tpr", "threshold"))
        protocol = PROTOCOL if step_back else META_OOD_PROTOCOL
        summary |= {"dropped": {"id": self.dropped_id, "ood": self.dropped_ood}, "protocol": protocol}
        totals = {"ID": int(self.id_counts.sum()), "OOD": int(self.ood_counts.sum())}
        if missing := [name for name, total in totals.items() if total == 0]:
            return summary | {"reason": f"no {' and no '.join(missing)} pixel has a score in [0, 1]"}
        curve = roc_curve(self)
        point = operating_point(curve, step_back=step_back)
        auprc, threshold = average_precision(self), float(curve.threshold[point])
        reasons = []
        if auprc is None:
            reasons.append(f"a class is too rare to appear among {_PR_SIZE:.0e} entries")
        if not math.isfinite(threshold):
            reasons.append("the ROC point used is (0, 0), above every threshold")
        return summary | {
            "auroc": float(np.trapezoid(curve.tpr, curve.fpr)),
            "auprc": auprc,
            "fpr95": float(curve.fpr[point]),
            "tpr": float(curve.tpr[point]),
            **({"threshold": threshold, "threshold_of": NORMALISED} if math.isfinite(threshold) else {}),
            **({"reason": "; ".join(reasons)} if reasons else {}),
        }


def raw_edges(normalise: Callable[[Scores], Scores]) -> Keys:
    """The bins' edges in raw scores: keys (101,) of the first raw score that reaches each of the first 100 edges, and
    of the first above 1.

    ``normalise`` takes raw scores to the reference's, elementwise in float32; rounding keeps it from falling anywhere,
    so that every edge is found by bisection and the histogram needs no normalised scores at all.
    """
    edges = np.linspace(0, 1, BINS + 1)
    # Between these lie the keys of all scores but NaN; the upper one is that of none
    low = np.full(edges.size, NEGATIVE_INFINITY, np.int64)
    high = np.full(edges.size, POSITIVE_INFINITY + 1, np.int64)
    while bool((low < high).any()):
        middle = (low + high) // 2
        with np.errstate(over="ignore"):
            scores = normalise(to_scores(np.minimum(middle, POSITIVE_INFINITY).astype(np.uint32))).astype(np.float64)
        reached = np.append(scores[:-1] >= edges[:-1], scores[-1] > edges[-1])
        low, high = np.where(reached | (low == high), low, middle + 1), np.where(reached, middle, high)
    return low.astype(np.uint32)


def entries(counts: Counts, size: float) -> Counts:
    """How often the reference writes out each bin: trunc(count / total * size), in float64 as there; (100,) int64."""
    return np.asarray(counts / counts.sum() * size).astype(np.int64)


def roc_curve(state: ReferenceState) -> RocCurve:
    """The balanced ROC curve of the reference; neither class is empty."""
    fp, tp, threshold = _cumulative(entries(state.id_counts, _ROC_SIZE), entries(state.ood_counts, _ROC_SIZE))
    bent = (np.diff(fp, 2) != 0) | (np.diff(tp, 2) != 0)
    kept = np.concatenate([[True], bent, [True]]) if fp.size > 2 else np.ones(fp.size, bool)
    fp, tp, threshold = (np.concatenate([[start], row[kept]]) for start, row in ((0, fp), (0, tp), (np.inf, threshold)))
    return RocCurve(fpr=fp / fp[-1], tpr=tp / tp[-1], threshold=threshold)


def operating_point(curve: RocCurve, *, step_back: bool) -> int:
    """The index of the point that the reference calls 95% TPR."""
    nearest = int(np.abs(curve.tpr - _TARGET_TPR).argmin())
    return nearest - 1 if step_back and curve.tpr[nearest] == 1 else nearest


def average_precision(state: ReferenceState) -> float | None:
    """Average precision of the unbalanced entries; None where a class vanishes among them."""
    id_share = int(state.id_counts.sum()) / (int(state.id_counts.sum()) + int(state.ood_counts.sum()))
    id_entries = entries(state.id_counts, _PR_SIZE * id_share)
    ood_entries = entries(state.ood_counts, _PR_SIZE * (1 - id_share))
    if not id_entries.any() or not ood_entries.any():
        return None
    fp, tp, _ = _cumulative(id_entries, ood_entries)
    return float(np.sum(np.diff(tp, prepend=0) / tp[-1] * (tp / (tp + fp))))


def _cumulative(id_entries: Counts, ood_entries: Counts) -> tuple[Floats, Floats, Floats]:
    """FP, TP and threshold after each score that occurs, highest first."""
    present = np.flatnonzero(id_entries + ood_entries)[::-1]
    fp, tp = (np.cumsum(row[present]).astype(np.float64) for row in (id_entries, ood_entries))
    return fp, tp, (present + 1) / BINS
