"""Thresholds to work at, and what is found there, with intervals from drawing the images anew.

A pixel is flagged where its score is at or above the threshold. Candidates are the scores of the set themselves (the
lower ends of bins, where it has more than 2**20 distinct ones), so that no threshold lies between two of them by
accident:

``tpr95``        the highest with TPR >= 95%: that of ``fpr95`` in `abet.metrics.ranking`
``fpr1``         the lowest with FPR <= 1%
``f1-pixel``     the one with the highest F1 = 2 TP / (2 TP + FP + FN) of pixels, the highest of several
``f1-component`` the one with the highest F1 of components (`abet.metrics.components`) among those of a grid

**Grid.** Components are found anew at each threshold, which costs a labelling per image. So only those thresholds are
tried at which 5%, 10% ... 95% of the OOD pixels are flagged, or between 0.01% and 20% of the ID pixels, and that of
``f1-pixel``: about thirty, fixed after a first pass; a second one counts at all of them.

**Intervals.** As in `abet.metrics.bootstrap`, images are drawn with replacement. That of a *threshold* asks how much
the choice depends on which images one had: each draw chooses its own. That of a *figure* asks what other images of
this kind would give at the threshold that was chosen: it stays, and each draw counts. Thresholds of draws are known up
to a bin of `abet.metrics.image_counts`, and their interval reaches from lower to upper ends (for ``f1-pixel``, those of
the best bin, which is not always that of the best score); figures are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from abet.labels import ID, OOD
from abet.metrics.bootstrap import CONFIDENCE
from abet.metrics.components import TAUS, ComponentState, Objects
from abet.metrics.image_counts import ImageCounts
from abet.metrics.keys import Scores, to_keys, to_scores
from abet.metrics.pixel import PixelState, check_pixels

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

PIXEL_NAMES: Final = ("tpr95", "fpr1", "f1-pixel")
COMPONENT_NAME: Final = "f1-component"
NAMES: Final = (*PIXEL_NAMES, COMPONENT_NAME)
FIGURES: Final = ("tpr", "fpr", "precision", "f1", "component_f1")
_TPR_PERCENT: Final = 95
_FPR_PERCENT: Final = 1
_GRID_TPR: Final = tuple(range(5, 100, 5))
"""Percent."""
_GRID_FPR: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
"""In ten-thousandths."""
FLAGS_MUCH: Final = (
    "flags {:.0f}% of the ID pixels: objects are hardly found as objects, or void around each cuts it out of a mask of "
    "nearly everything; look before you use it"
)
"""Beside a component threshold that is looser than any that the grid has for the sake of its FPR."""
TIED: Final = (
    "{:.3g}% of the ID pixels tie at the highest score that is told apart, {:.6g}, and no more than {}% may be flagged"
)
"""Why there is no ``fpr1`` where every threshold flags too many."""
_DRAWS_AT_ONCE: Final = 64


def pixel_thresholds(state: PixelState) -> dict[str, float]:
    """The three pixel thresholds in raw score units; both classes hold pixels.

    NaN or infinite where the scores at that point are; ``fpr1`` is NaN where even the highest score has more than 1%.
    """
    tp, fp, scores = _sweep(state)
    allowed = int(np.count_nonzero(100 * fp <= _FPR_PERCENT * fp[-1]))
    f1 = 2 * tp / (tp + fp + tp[-1])
    places = (_first(tp, _TPR_PERCENT, 100), allowed - 1, int(f1.argmax()))
    values = (float(scores[place]) if place >= 0 else math.nan for place in places)
    return dict(zip(PIXEL_NAMES, values, strict=True))


def grid(state: PixelState) -> Floats:
    """The thresholds that components are tried at, highest first, with the pixel thresholds among them; all finite."""
    tp, fp, scores = _sweep(state)
    places = [_first(tp, percent, 100) for percent in _GRID_TPR]
    places += [int(np.count_nonzero(10_000 * fp <= part * fp[-1])) - 1 for part in _GRID_FPR]
    found = [float(scores[place]) for place in places if place >= 0] + list(pixel_thresholds(state).values())
    return np.unique([value for value in found if math.isfinite(value)])[::-1].astype(np.float64)


def _sweep(state: PixelState) -> tuple[Counts, Counts, Scores]:
    """OOD and ID pixels at or above each candidate, highest first, and the candidates."""
    assert state.id_pixels, "no ID pixel"
    assert state.ood_pixels, "no OOD pixel"
    return np.cumsum(state.ood_count[::-1]), np.cumsum(state.id_count[::-1]), to_scores(state.low_key[::-1])


def _first(tp: Counts, part: int, whole: int) -> int:
    """The first place with at least part / whole of all."""
    return int(np.searchsorted(tp, -(-part * int(tp[-1]) // whole)))


@dataclass(frozen=True, eq=False, kw_only=True)
class ThresholdCounts:
    """What a second pass counts of one score: all arrays int64, by image, threshold (as in `grid`) and tau.

    tp, fp: (images, thresholds) pixels flagged. positives, negatives: (images,) pixels.
    found, wrong: (images, thresholds, taus) objects found, and false predictions. objects: (images,).
    """

    thresholds: Floats
    tp: Counts
    fp: Counts
    positives: Counts
    negatives: Counts
    found: Counts
    wrong: Counts
    objects: Counts

    @classmethod
    def count(cls, scores: Scores, objects: Objects, *, thresholds: Floats) -> ThresholdCounts:
        """Those of one image; scores (H, W) as for `ComponentState.count`, thresholds highest first.

        The same objects serve all scores of the image.
        """
        labels = objects.labels
        check_pixels(scores, labels)
        limits = to_keys(thresholds.astype(np.float32))[::-1]
        assert np.array_equal(thresholds.astype(np.float32), thresholds), "thresholds are scores"
        keys = to_keys(np.ascontiguousarray(scores))
        flagged = [_at_least(keys[labels == label], limits) for label in (OOD, ID)]
        states = [
            ComponentState.of_flagged(keys >= limit, objects, threshold=value).summarise()
            for value, limit in zip(thresholds.tolist(), limits[::-1], strict=True)
        ]
        return cls(
            thresholds=thresholds,
            tp=flagged[0][None],
            fp=flagged[1][None],
            positives=np.array([np.count_nonzero(labels == OOD)], np.int64),
            negatives=np.array([np.count_nonzero(labels == ID)], np.int64),
            found=np.array([[state["tp"] for state in states]], np.int64).reshape(1, len(states), len(TAUS)),
            wrong=np.array([[state["fp"] for state in states]], np.int64).reshape(1, len(states), len(TAUS)),
            objects=np.array([objects.count], np.int64),
        )

    @classmethod
    def stack(cls, *states: ThresholdCounts) -> ThresholdCounts:
        """Those of several images, in this order."""
        assert all(np.array_equal(state.thresholds, states[0].thresholds) for state in states)
        names = ("tp", "fp", "positives", "negatives", "found", "wrong", "objects")
        rows = {name: np.concatenate([getattr(state, name) for state in states]) for name in names}
        return cls(thresholds=states[0].thresholds, **rows)

    def figures(self, weights: Counts) -> dict[str, Floats]:
        """By name (draws, thresholds) fractions of the images as often as ``weights`` (draws, images) says.

        NaN where a figure has no definition; ``component_f1`` is the mean over tau. Neither F1 has one in a draw that
        holds nothing to find: no OOD pixel, or no object.
        """
        drawn = weights.astype(np.float64)  # sums of counts are exact in float64, and BLAS is quick
        tp, fp, positives, negatives, objects = (
            drawn @ part.astype(np.float64)
            for part in (self.tp, self.fp, self.positives[:, None], self.negatives[:, None], self.objects[:, None])
        )
        found, wrong = (np.tensordot(drawn, part.astype(np.float64), axes=1) for part in (self.found, self.wrong))
        with np.errstate(invalid="ignore", divide="ignore"):  # 0/0 is NaN, as is meant
            figures = (
                tp / positives,
                fp / negatives,
                tp / (tp + fp),
                2 * tp / (tp + fp + _unless_zero(positives)),
                (2 * found / (found + wrong + _unless_zero(objects)[..., None])).mean(axis=2),
            )
        return dict(zip(FIGURES, figures, strict=True))


def _unless_zero(counts: Floats) -> Floats:
    """Counts, NaN for zero."""
    return np.where(counts > 0, counts, np.nan)


def _at_least(keys: npt.NDArray[np.uint32], limits: npt.NDArray[np.uint32]) -> Counts:
    """How many keys reach each of the limits, which ascend: from the last limit to the first."""
    bins = np.bincount(np.searchsorted(limits, keys, side="right"), minlength=limits.size + 1)
    return np.cumsum(bins[::-1]).astype(np.int64)[: limits.size]


def drawn_thresholds(counts: ImageCounts, weights: Counts) -> dict[str, Floats]:
    """By name (draws, 2) the ends of the bin that holds the pixel threshold of each draw; NaN where it has none."""
    negatives, positives = (rows[:, ::-1].astype(np.float64) for rows in (counts.id_count, counts.ood_count))
    ends = np.stack([to_scores(keys[::-1]) for keys in (counts.low_key, counts.high_key)], axis=1).astype(np.float64)
    parts = [_choose(part @ negatives, part @ positives, ends) for part in _in_parts(weights)]
    return {name: np.concatenate([part[name] for part in parts]) for name in PIXEL_NAMES}


def _in_parts(weights: Counts) -> Iterator[Floats]:
    for start in range(0, len(weights), _DRAWS_AT_ONCE):
        yield weights[start : start + _DRAWS_AT_ONCE].astype(np.float64)


def _choose(n: Floats, p: Floats, ends: Floats) -> dict[str, Floats]:
    """The same for ID and OOD pixels per bin, highest first: (draws, bins); ends (bins, 2) in raw score units."""
    tp, fp = np.cumsum(p, axis=1), np.cumsum(n, axis=1)
    tpr95 = ends[(100 * tp >= _TPR_PERCENT * tp[:, -1:]).argmax(axis=1)]
    # the lowest score that is allowed lies in the first bin that is not, or is the lower end of the one before
    allowed = np.count_nonzero(100 * fp <= _FPR_PERCENT * fp[:, -1:], axis=1)
    lower, upper = np.minimum(allowed, len(ends) - 1), np.maximum(allowed - 1, 0)
    fpr1 = np.stack([ends[lower, 0], ends[upper, 0]], axis=1)
    fpr1[allowed == 0] = np.nan
    denominator = np.maximum(tp + fp + tp[:, -1:], 1)
    f1 = ends[(2 * tp / denominator).argmax(axis=1)]
    chosen = {"tpr95": tpr95, "fpr1": fpr1, "f1-pixel": f1}
    absent = (tp[:, -1] == 0) | (fp[:, -1] == 0)
    for values in chosen.values():
        values[absent | ~np.isfinite(values).all(axis=1)] = np.nan
    return chosen


def operating_points(
    state: PixelState, images: ImageCounts, counts: ThresholdCounts, weights: Counts
) -> dict[str, dict[str, Any]]:
    """By name the threshold and its figures, each with value, low and high, as strict JSON.

    state: of all pixels, both classes among them. images: the same by image. counts: of the second pass, at
    ``grid(state)``, images in any order that ``weights`` (draws, images) follows as well as ``images`` does.
    A threshold that is not a finite number, or that no score is, is null, with a ``reason``.
    """
    everything = counts.figures(np.ones((1, len(counts.positives)), np.int64))
    drawn = counts.figures(weights)
    ends = drawn_thresholds(images, weights)
    points: dict[str, dict[str, Any]] = {}
    for name, value in pixel_thresholds(state).items():
        if math.isfinite(value):
            points[name] = _point(value, ends[name], counts, everything, drawn)
        else:
            points[name] = {"threshold": None, "reason": _why_none(name, value, state)}
    points[COMPONENT_NAME] = _component_point(counts, everything, drawn)
    return points


def _why_none(name: str, value: float, state: PixelState) -> str:
    _, fp, scores = _sweep(state)
    if name == "fpr1" and 100 * fp[0] > _FPR_PERCENT * fp[-1]:
        return TIED.format(100 * fp[0] / fp[-1], scores[0], _FPR_PERCENT)
    return f"the score at this point is {value}, not a finite number"


def _component_point(
    counts: ThresholdCounts, everything: Mapping[str, Floats], drawn: Mapping[str, Floats]
) -> dict[str, Any]:
    if not counts.thresholds.size:
        return {"threshold": None, "reason": "no score of the grid is a finite number"}
    if not counts.objects.any():
        return {"threshold": None, "reason": "no object has the minimum size"}
    chosen, best = everything["component_f1"][0], drawn["component_f1"]
    absent = np.isnan(best).any(axis=1)  # a draw without objects, at every threshold alike
    thresholds = np.where(absent, np.nan, counts.thresholds[best.argmax(axis=1)])
    place = int(chosen.argmax())
    value = float(counts.thresholds[place])
    point = _point(value, np.stack([thresholds, thresholds], axis=1), counts, everything, drawn)
    fpr = float(everything["fpr"][0, place])
    return {**point, **({"note": FLAGS_MUCH.format(100 * fpr)} if 10_000 * fpr > _GRID_FPR[-1] else {})}


def _point(
    value: float, ends: Floats, counts: ThresholdCounts, everything: Mapping[str, Floats], drawn: Mapping[str, Floats]
) -> dict[str, Any]:
    place = int(np.flatnonzero(counts.thresholds == value)[0])
    figures = {name: _interval(float(everything[name][0, place]), drawn[name][:, [place, place]]) for name in FIGURES}
    return {"threshold": _interval(value, ends), **figures}


def _interval(value: float, ends: Floats) -> dict[str, float | None]:
    """A value and its interval from lower and upper ends (draws, 2), of the draws that define it."""
    defined = ends[~np.isnan(ends).any(axis=1)]
    interval: dict[str, float | None] = {"value": None if math.isnan(value) else value, "low": None, "high": None}
    if len(defined):
        tail = (1 - CONFIDENCE) / 2
        interval["low"] = float(np.quantile(defined[:, 0], tail))
        interval["high"] = float(np.quantile(defined[:, 1], 1 - tail))
    return interval
