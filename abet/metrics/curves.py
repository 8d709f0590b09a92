"""Pixel counts as drawable lists: ROC, precision-recall and score histograms, small enough for a web page.

Everything here is for looking at; the figures themselves come from `abet.metrics.ranking`.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from abet.metrics.keys import NEGATIVE_INFINITY, POSITIVE_INFINITY, to_scores
from abet.metrics.pixel import PixelState
from abet.metrics.ranking import fpr95, sweep, undefined

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

HISTOGRAM_BINS: Final = 100
_TAIL: Final = 0.001  # share of either class that may lie beyond each end of the histogram's range


def curves(state: PixelState, max_points: int = 512) -> dict[str, Any]:
    """The curves of one score as strict JSON, its entry in ``curves.json``.

    roc: fpr, tpr and threshold from (0, 0) to (1, 1); pr: recall, precision and threshold from recall 0 to 1, to be
        drawn as steps (precision[k] holds between recall[k - 1] and recall[k]); each at most max_points long. Flagged
        are pixels with score >= threshold (raw score units), null where that is no finite number.
    histogram: edges (n + 1 raw scores), and of each class the fraction of its pixels per bin; the end bins take in
        everything finite beyond them, so only non-finite scores are missing from a sum of 1.
    threshold: the one of FPR95, or null.

    Without ID or without OOD pixels the curves are empty and ``reason`` says why.
    """
    assert max_points >= 4
    histogram = _histogram(state)
    if reason := undefined(state):
        return {
            "roc": {"fpr": [], "tpr": [], "threshold": []},
            "pr": {"recall": [], "precision": [], "threshold": []},
            "histogram": histogram,
            "threshold": None,
            "reason": reason,
        }
    return {
        "roc": _roc(state, max_points),
        "pr": _precision_recall(state, max_points),
        "histogram": histogram,
        "threshold": finite([fpr95(sweep(state)).threshold])[0],
    }


def finite(values: npt.ArrayLike) -> list[float | None]:
    """Numbers for strict JSON: null for what is not finite."""
    return [value if math.isfinite(value) else None for value in np.asarray(values, np.float64).tolist()]


def _roc(state: PixelState, max_points: int) -> dict[str, Sequence[float | None]]:
    fpr = _cumulative(state.id_count[::-1])
    tpr = _cumulative(state.ood_count[::-1])
    threshold = np.concatenate([[np.inf], to_scores(state.low_key[::-1])])
    kept = _thin(fpr, tpr, max_points)
    return {"fpr": finite(fpr[kept]), "tpr": finite(tpr[kept]), "threshold": finite(threshold[kept])}


def _cumulative(counts: npt.NDArray[np.int64]) -> Floats:
    """Running shares of a total from 0 to 1, (n + 1,)."""
    totals = np.concatenate([[0], np.cumsum(counts)])
    return np.asarray(totals / totals[-1])


def _precision_recall(state: PixelState, max_points: int) -> dict[str, Sequence[float | None]]:
    bins = sweep(state)
    recall = bins.tp / bins.total_positives
    precision = bins.tp / (bins.tp + bins.fp)
    threshold = to_scores(bins.low_key)
    kept = _thin(recall, precision, max_points - 1)
    return {
        "recall": [0.0, *finite(recall[kept])],
        "precision": [float(precision[0]), *finite(precision[kept])],
        "threshold": [None, *finite(threshold[kept])],
    }


def _thin(x: Floats, y: Floats, max_points: int) -> Indices:
    """Indices of at most max_points points that are spread evenly along a curve, ends included.

    Evenly in the distance travelled, either axis scaled to its own total. Around each mark both neighbours are kept:
    a jump longer than the spacing (a tie of many pixels) keeps both its corners.
    """
    if x.size <= max_points:
        return np.arange(x.size)
    travelled = np.zeros(x.size)
    for axis in (x, y):
        steps = np.abs(np.diff(axis))
        if (total := float(steps.sum())) > 0:
            travelled[1:] += np.cumsum(steps) / total
    marks = np.linspace(0, travelled[-1], (max_points - 2) // 2 + 2)[1:-1]
    after = np.searchsorted(travelled, marks)
    return np.unique(np.concatenate([[0], after - 1, after, [x.size - 1]]))


def _histogram(state: PixelState) -> dict[str, Sequence[float | None]]:
    inside = (state.low_key > NEGATIVE_INFINITY) & (state.high_key < POSITIVE_INFINITY)
    scores = to_scores(state.low_key[inside]).astype(np.float64)
    if scores.size == 0:
        return {"edges": [], "id": [], "ood": []}
    classes = {"id": state.id_count, "ood": state.ood_count}
    edges = _edges(scores, [count[inside] for count in classes.values()])
    shown = np.clip(scores, edges[0], edges[-1])
    fractions = {
        name: np.histogram(shown, bins=edges, weights=count[inside] / max(int(count.sum()), 1))[0]
        for name, count in classes.items()
    }
    return {"edges": finite(edges), **{name: finite(fraction) for name, fraction in fractions.items()}}


def _edges(scores: Floats, counts: Sequence[npt.NDArray[np.int64]]) -> Floats:
    """Equal bins between the 0.1% and 99.9% quantiles of either class, whichever is further out.

    By class, since a rare class may lie beyond every quantile of the pooled scores; by quantile, since a single wild
    score would leave one bar.
    """
    ends = []
    for count in counts:
        share = np.cumsum(count.astype(np.float64))
        if share.size and share[-1] > 0:
            quantiles = np.searchsorted(share, [_TAIL * share[-1], (1 - _TAIL) * share[-1]])
            ends += [float(scores[index]) for index in quantiles]
    low, high = min(ends), max(ends)
    if low == high:
        margin = max(0.5, abs(low) * 1e-6)
        low, high = low - margin, high + margin
    return np.linspace(low, high, HISTOGRAM_BINS + 1)
