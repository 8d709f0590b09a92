"""Component metrics of SegmentMeIfYouCan: is each object found as an object, whatever its size.

Chan et al., SegmentMeIfYouCan, NeurIPS Datasets and Benchmarks 2021 (arXiv 2104.14812), section 4.2; where the paper
leaves a choice, that of the published toolkit (SegmentMeIfYouCan/road-anomaly-benchmark, ``instance_segmentation.py``).

**Components.** 8-connected components of the OOD pixels (objects), and of the pixels with score > threshold outside
void (predictions). The threshold is the set's ``best_f1_threshold`` of `abet.metrics.smiyc`, so that components are
counted in a second pass; the best pixel F1 counts the pixels at it, too. Predictions smaller than a minimum are
removed; after that, objects smaller than another become void, as do the predicted pixels on them. What is left of a
prediction is still one component.

**Figures.** An object k and the predictions that touch it, K(k): sIoU = overlap / (k and K(k) together, without what
other objects cover of K(k)). Predictions likewise, with the two sides exchanged; PPV is the share of a prediction that
lies on objects. At tau, objects with sIoU >= tau are found (TP), the others missed (FN), and predictions with PPV < tau
false (FP); F1 = 2 TP / (2 TP + FN + FP). Reported are means over all components of the set, and of F1 over tau.

With n(k, p) pixels of object k on prediction p (0: none), the union of sIoU is |k| plus the sum of n(0, p) over the
predictions that touch k: what other objects cover is neither in the overlap nor in the union.

**Where this differs.** tau is compared in integers; the toolkit's 0.6 is 0.6000000000000001, which an sIoU or a PPV of
exactly 0.6 fails. The toolkit would also void a *background* smaller than the smallest object, which no image has. NaN
is above every threshold here and below each there. The threshold itself may differ, as `abet.metrics.smiyc` says, and
with it all figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from abet.errors import DataError
from abet.labels import OOD, VOID
from abet.metrics.keys import Scores
from abet.metrics.pixel import Labels, check_pixels

Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

PROTOCOL: Final = "smiyc-components"
_TWENTIETHS: Final = range(5, 16)
TAUS: Final = tuple(step / 20 for step in _TWENTIETHS)
"""0.25, 0.30, ... 0.75."""


TIES: Final = " (pixels that tie with the threshold are in none, though the best pixel F1 counts them)"
"""Said where there are no predictions, which may be why."""


class MinimumSizes(NamedTuple):
    """Smaller components are left out: predictions are removed, objects become void; in pixels."""

    prediction: int
    object: int


SIZES: Final[Mapping[str, MinimumSizes]] = {
    "anomaly-track": MinimumSizes(prediction=500, object=100),
    "obstacle-track": MinimumSizes(prediction=50, object=10),
}
"""The toolkit's minima: of RoadAnomalyTrack and Fishyscapes, and of RoadObstacleTrack and LostAndFound."""
_OBSTACLES: Final = frozenset({"lost_and_found", "lost_and_found_no_known", "road_obstacle_21"})
_TABLE_CELLS: Final = 2**22
"""Pairs of components are counted in a table of at most so many cells, 32 MiB."""


def track_of(dataset: str) -> str:
    """The track whose minima a data set has unless told otherwise: a key of `SIZES`."""
    return "obstacle-track" if dataset in _OBSTACLES else "anomaly-track"


@dataclass(frozen=True, eq=False, kw_only=True)
class Objects:
    """The objects of one image, which are the same at every threshold.

    labels: (H, W) uint8 ID, OOD or VOID. numbers: (H, W) int32, from 1 on; those of objects that were left out are 0.
    seen: (H, W) pixels that are neither void nor on an object that was left out.
    small: how many were left out by size. sizes: what they were found with.
    """

    labels: Labels
    numbers: npt.NDArray[np.int32]
    seen: Mask
    small: int
    sizes: MinimumSizes

    @classmethod
    def find(cls, labels: Labels, sizes: MinimumSizes) -> Objects:
        """Those of labels (H, W) uint8 ID, OOD or VOID."""
        assert labels.ndim == 2, labels.shape
        numbers, small, unseen = _components(labels == OOD, sizes.object)
        return cls(labels=labels, numbers=numbers, seen=(labels != VOID) & ~unseen, small=small, sizes=sizes)

    @property
    def count(self) -> int:
        """How many are large enough."""
        return np.unique(self.numbers[self.numbers > 0]).size


@dataclass(frozen=True, eq=False, kw_only=True)
class ComponentState:
    """What an evaluation shard stores of one score: one row of pixel counts per component, in ascending order.

    threshold, sizes: what the components were found with; equal in all states of a merge.
    objects, predictions: (components, 3) int64 each: overlap with the other side, own size, union of the sIoU.
    small_objects, small_predictions: how many were left out by size.
    """

    threshold: float
    sizes: MinimumSizes
    objects: Counts
    predictions: Counts
    small_objects: int
    small_predictions: int

    @classmethod
    def empty(cls, *, threshold: float, sizes: MinimumSizes) -> ComponentState:
        """The state of no images."""
        none = np.empty((0, 3), np.int64)
        return cls._of(threshold, sizes, none, none, small=(0, 0))

    @classmethod
    def count(cls, scores: Scores, labels: Labels, *, threshold: float, sizes: MinimumSizes) -> ComponentState:
        """The state of one image.

        scores: (H, W) float32, higher = more OOD. labels: (H, W) uint8 ID, OOD or VOID.
        threshold: in raw score units; pixels above it are predictions, and those with NaN.
        Raises DataError for other types, shapes or label values.

        OpenCV looks for the components: `abet.data.opencv.keep_to_one_thread` keeps it to one thread.
        """
        check_pixels(scores, labels)
        flagged = ~(scores <= np.float64(threshold))
        return cls.of_flagged(flagged, Objects.find(labels, sizes), threshold=threshold)

    @classmethod
    def of_flagged(cls, flagged: Mask, objects: Objects, *, threshold: float) -> ComponentState:
        """The same for the pixels ``flagged`` (H, W) above the threshold, and the image's objects."""
        predictions, small, _ = _components(flagged & (objects.labels != VOID), objects.sizes.prediction)
        shared = _shared(objects.numbers[objects.seen], predictions[objects.seen])
        return cls._of(threshold, objects.sizes, _rows(shared), _rows(shared[[1, 0, 2]]), small=(objects.small, small))

    @classmethod
    def merge(cls, *states: ComponentState) -> ComponentState:
        """The state of all images of all states, the same for any order and grouping; at least one state.

        Raises DataError where thresholds or minimum sizes differ.
        """
        found = {(state.threshold, state.sizes) for state in states}
        if len(found) != 1:
            raise DataError(
                f"components of different thresholds or minimum sizes cannot be merged: {sorted(found)}; "
                "count all shards with those of the whole set"
            )
        ((threshold, sizes),) = found
        return cls._of(
            threshold,
            sizes,
            np.concatenate([state.objects for state in states]),
            np.concatenate([state.predictions for state in states]),
            small=(
                sum(state.small_objects for state in states),
                sum(state.small_predictions for state in states),
            ),
        )

    @classmethod
    def _of(
        cls, threshold: float, sizes: MinimumSizes, objects: Counts, predictions: Counts, *, small: tuple[int, int]
    ) -> ComponentState:
        return cls(
            threshold=threshold,
            sizes=sizes,
            objects=_sorted(objects),
            predictions=_sorted(predictions),
            small_objects=small[0],
            small_predictions=small[1],
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The state for an ``.npz`` file: ``threshold`` (1,) float64, ``sizes`` and ``small`` (2,) int64, the rows."""
        return {
            "threshold": np.array([self.threshold], np.float64),
            "sizes": np.array(self.sizes, np.int64),
            "small": np.array([self.small_objects, self.small_predictions], np.int64),
            "objects": self.objects,
            "predictions": self.predictions,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ComponentState:
        """The state that `to_arrays` wrote. Raises DataError for what no components can have given."""
        threshold, rows = arrays["threshold"], [np.array(arrays[name]) for name in ("objects", "predictions")]
        pairs = [arrays["sizes"], arrays["small"]]
        if (
            threshold.dtype != np.float64
            or threshold.shape != (1,)
            or any(part.dtype != np.int64 or bool((part < 0).any()) for part in (*rows, *pairs))
            or any(pair.shape != (2,) for pair in pairs)
            or any(part.ndim != 2 or part.shape[1] != 3 for part in rows)
            or any(bool((part[:, :1] > part[:, 1:]).any()) for part in rows)
        ):
            raise DataError("not the components of a score: count this shard again")
        sizes, small = (tuple(pair.tolist()) for pair in pairs)
        return cls._of(float(threshold[0]), MinimumSizes(*sizes), *rows, small=small)

    def summarise(self) -> dict[str, Any]:
        """The figures as strict JSON: fractions, null beside a ``reason`` where no component defines one.

        ``siou`` (mean over objects), ``siou_predictions`` and ``ppv`` (means over predictions), ``f1`` (mean over
        ``tau``) and per tau the lists ``tp``, ``fn``, ``fp`` and ``f1_at``; how many components there were and were
        left out by size, and what they were found with.
        """
        tp = _reaching(self.objects[:, 0], self.objects[:, 2])
        fn = [len(self.objects) - found for found in tp]
        fp = [len(self.predictions) - right for right in _reaching(self.predictions[:, 0], self.predictions[:, 1])]
        f1 = [2 * t / (2 * t + n + p) if t + n + p else None for t, n, p in zip(tp, fn, fp, strict=True)]
        defined = [value for value in f1 if value is not None]
        absent = [name for name in ("objects", "predictions") if len(getattr(self, name)) == 0]
        ties = TIES if "predictions" in absent else ""
        return {
            "protocol": PROTOCOL,
            "threshold": self.threshold if math.isfinite(self.threshold) else None,
            "minimum_pixels": self.sizes._asdict(),
            "siou": _mean_ratio(self.objects[:, 0], self.objects[:, 2]),
            "siou_predictions": _mean_ratio(self.predictions[:, 0], self.predictions[:, 2]),
            "ppv": _mean_ratio(self.predictions[:, 0], self.predictions[:, 1]),
            "f1": math.fsum(defined) / len(defined) if len(defined) == len(TAUS) else None,
            "tau": list(TAUS),
            "tp": tp,
            "fn": fn,
            "fp": fp,
            "f1_at": f1,
            "objects": len(self.objects),
            "predictions": len(self.predictions),
            "too_small": {"objects": self.small_objects, "predictions": self.small_predictions},
            **({"reason": f"there are no {' and no '.join(absent)} of the minimum size{ties}"} if absent else {}),
        }


def _components(mask: Mask, minimum: int) -> tuple[npt.NDArray[np.int32], int, Mask]:
    """8-connected components of (H, W): their numbers from 1 on, how many are too small, and the pixels of those."""
    import cv2

    _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    small = stats[:, cv2.CC_STAT_AREA] < minimum
    small[0] = False
    removed = np.asarray(small[numbers], bool)
    numbers[removed] = 0
    return np.asarray(numbers, np.int32), int(np.count_nonzero(small)), removed


def _shared(objects: npt.NDArray[np.int32], predictions: npt.NDArray[np.int32]) -> Counts:
    """n(k, p) wherever it is not zero, as columns k, p, n: (3, pairs); (pixels,) numbers, 0 for none."""
    width = int(predictions.max(initial=0)) + 1
    coded = objects.astype(np.int64) * width + predictions
    if (int(objects.max(initial=0)) + 1) * width <= _TABLE_CELLS:
        table = np.bincount(coded)
        pairs = np.flatnonzero(table)
        pixels = table[pairs]
    else:  # sorting takes several times as long, and no memory by the number of components
        pairs, pixels = np.unique(coded, return_counts=True)
    return np.stack([*np.divmod(pairs, width), pixels])


def _rows(shared: Counts) -> Counts:
    """Overlap, size and sIoU's union of each component of the first side: (components, 3); shared as `_shared`."""
    own, other, pixels = shared
    alone = np.zeros(int(other.max(initial=0)) + 1, np.int64)  # n(0, p): what no component of this side covers
    alone[other[own == 0]] = pixels[own == 0]
    touching = (own > 0) & (other > 0)
    rows = np.zeros((int(own.max(initial=0)) + 1, 3), np.int64)
    np.add.at(rows[:, 0], own[touching], pixels[touching])
    np.add.at(rows[:, 1], own, pixels)
    np.add.at(rows[:, 2], own, pixels)
    np.add.at(rows[:, 2], own[touching], alone[other[touching]])
    return rows[1:][rows[1:, 1] > 0]


def _sorted(rows: Counts) -> Counts:
    """Rows in ascending order, so that the order of images leaves no trace."""
    return rows[np.lexsort(rows.T[::-1])]


def _reaching(parts: Counts, wholes: Counts) -> list[int]:
    """Per tau how many quotients are at least tau, in integers."""
    return [int(np.count_nonzero(20 * parts >= step * wholes)) for step in _TWENTIETHS]


def _mean_ratio(parts: Counts, wholes: Counts) -> float | None:
    """The mean quotient; the sum is rounded once, whatever the order."""
    return math.fsum(parts / wholes) / len(parts) if len(parts) else None
