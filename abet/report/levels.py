"""Score maps in 8 bits that lose no mask: the thresholds that the viewer's slider stops at.

A map's code is the number of levels that its score reaches, so that "code >= k" *is* "score >= level k" for the scores
it is made of; kept ones are rounded to 16 bits before (`abet.report.coding`), which moves a few pixels beside a
threshold to its other side. What is lost here lies between two levels, where the slider cannot stop.

Levels are thresholds of the pooled curves in ``curves.json``, so each comes with the exact rates of the whole set.
Evenly spread over scores they would be useless: thresholds that matter flag a hundredth of the ID pixels, and OOD may
be a thousandth of all. So 255 of them are spread evenly over TPR + log FPR, from an FPR of 10^-4 on. Measured on the 36
curves of the demo: half of the steps are below 0.5 points of TPR and 3% of FPR; the largest are 1.1 points of TPR and,
where a curve has few points, 15 to 100% of FPR.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from abet.report.records import Curves, FprFigure, PixelCounts

Floats = NDArray[np.float64]

MOST_LEVELS: Final = 255
SMALLEST_FPR: Final = 1e-4
"""Below it, FPR is taken as linear."""
_CELLS: Final = 64
_SAME_TPR: Final = 1e-12  # one pixel more is a larger step; a curve's own rounding is a smaller one


@dataclass(frozen=True, eq=False, kw_only=True)
class Levels:
    """Thresholds (n,) float32, ascending, in raw score units, with what the whole set does at "score >= threshold".

    Several may have the same TPR: the highest of them is the one with the fewest false alarms.
    """

    threshold: NDArray[np.float32]
    tpr: Floats
    fpr: Floats
    precision: Floats
    at_95: int | None
    """Which level is the threshold of FPR95."""

    def encode(self, score: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Codes of scores of any shape: how many levels each reaches. NaN, which ranks above every number, all."""
        return np.searchsorted(self.threshold, score, side="right").astype(np.uint8)

    def shades(self) -> tuple[float, float, list[int]]:
        """Place of every code on a colour ramp of 256, and the raw scores at the ramp's ends.

        From the 1% quantile of the ID pixels to the score that 5% of the OOD pixels reach, or the 95% threshold.
        """
        low = self.threshold[np.flatnonzero(self.fpr >= 0.99).max(initial=0)]
        high = max(low, self.threshold[max(np.flatnonzero(self.tpr >= 0.05).max(initial=0), self.at_95 or 0)])
        scores = np.concatenate([self.threshold[:1], self.threshold])  # code k: from level k - 1 on
        span = float(high) - float(low) or 1.0
        ramp = np.clip((scores - float(low)) * (255 / span), 0, 255)
        return float(low), float(high), [int(value) for value in np.rint(ramp)]


def choose_levels(
    curves: Curves, point: FprFigure | None, pixels: PixelCounts, most: int = MOST_LEVELS
) -> Levels | None:
    """At most ``most`` levels of one score from its pooled curves and the ``point`` of its FPR95, which is among them.

    None where the curves hold no threshold, as those of a set without OOD pixels.
    """
    points = _points(curves, point, pixels)
    if not points.size:
        return None
    threshold, tpr, fpr = points
    kept = _choose(tpr, fpr, most)
    wanted = np.flatnonzero(threshold == _single(point.threshold)) if point else kept[:0]
    if wanted.size and wanted[0] not in kept:
        kept[np.abs(kept - wanted[0]).argmin()] = wanted[0]
    threshold, tpr, fpr = (column[kept] for column in (threshold, tpr, fpr))
    true, false = tpr * pixels.ood, fpr * pixels.id
    return Levels(
        threshold=threshold.astype(np.float32),
        tpr=tpr,
        fpr=fpr,
        precision=np.divide(true, true + false, out=np.zeros_like(true), where=true + false > 0),
        at_95=int(np.flatnonzero(kept == wanted[0])[0]) if wanted.size else None,
    )


def _points(curves: Curves, point: FprFigure | None, pixels: PixelCounts) -> Floats:
    """Threshold (single precision), TPR and FPR of every point that is known, thresholds ascending: (3, n)."""
    rows: list[tuple[float, float, float]] = []
    if point and point.threshold is not None and point.tpr is not None and point.value is not None:
        rows.append((point.threshold, point.tpr, point.value))
    if curves.roc:
        rows += _finite(curves.roc.threshold, curves.roc.tpr, curves.roc.fpr)
    if curves.pr and pixels.id:
        for threshold, recall, precision in _finite(curves.pr.threshold, curves.pr.recall, curves.pr.precision):
            if precision > 0:
                false = round(recall * pixels.ood * (1 / precision - 1))
                rows.append((threshold, recall, false / pixels.id))
    if not rows:
        return np.empty((3, 0))
    columns = np.array(rows).T
    columns[0] = columns[0].astype(np.float32)
    _, first = np.unique(columns[0], return_index=True)
    return columns[:, first]


def _single(value: float | None) -> float:
    return float(np.float32(np.nan if value is None else value))


def _finite(threshold: Sequence[float | None], *others: Sequence[float]) -> list[tuple[float, float, float]]:
    rows = zip(threshold, *others, strict=False)  # old files hold no thresholds
    return [(level, one, other) for level, one, other in rows if level is not None]


def _choose(tpr: Floats, fpr: Floats, most: int) -> NDArray[np.intp]:
    """Indices of at most ``most`` of the points, ascending, evenly over TPR + log FPR.

    A threshold below another of the same TPR only adds false alarms. It is taken where nothing better lies within a
    64th of the way, so that a heat map has shades there.
    """
    if tpr.size <= most:
        return np.arange(tpr.size)
    way = -(tpr + np.log1p(fpr / SMALLEST_FPR) / np.log1p(1 / SMALLEST_FPR))
    worse = np.append(np.diff(tpr) > -_SAME_TPR, False)
    cell = np.floor((way - way[0]) / ((way[-1] - way[0]) or 1.0) * _CELLS)
    gaps = np.flatnonzero(worse & ~np.isin(cell, cell[~worse]))
    fillers = gaps[np.unique(cell[gaps], return_index=True)[1]]
    better = np.flatnonzero(~worse)
    return np.sort(np.concatenate([fillers, better[_spread(way[better], most - fillers.size)]]))


def _spread(way: Floats, most: int) -> NDArray[np.intp]:
    """Indices of at most ``most`` of the ascending places, as evenly as they lie."""
    if way.size <= most:
        return np.arange(way.size)
    marks = np.linspace(way[0], way[-1], most)
    return np.unique(np.clip(np.searchsorted(way, marks), 0, way.size - 1))
