"""Confidence intervals of pooled AUROC, AP and FPR95: images drawn anew, as whole images.

    drawn = resample(counts, seed=0)
    drawn.interval()
    compare(drawn, resample(other_counts, seed=0))

**What is drawn.** The percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13)
with the image as unit: as many images as the set has, with replacement, and the figures of all their pixels. Pixels of
an image are far from independent, so intervals over pixels would be far too narrow. Those over images still take the
images for independent, which frames of one video are not.

**Pairing.** Which images are drawn follows from the seed and the number of images alone. Scores and models on the same
images therefore see the same draws, and their differences, taken draw by draw, leave out what makes an image hard for
all.

**Binning.** A draw weighs the rows of `abet.metrics.image_counts`, whose bins are coarser than those of the pooled
figures. Every figure of every draw comes with the bracket of `abet.metrics.ranking` around its exact value, in float64;
only the lower end of AP is another, simpler bound (below). An interval reaches from the 2.5% quantile of the lower ends
to the 97.5% quantile of the upper ends, and so contains the interval that unbinned scores would give; ``binning`` is
the widest bracket, and so bounds by how much the ends may lie too far out. Point figures are not computed here.

*Lower end of AP.* With a = TP0 and c = FP1 the i-th OOD pixel of a wide bin adds at least (a + i)/(a + i + c), which is
concave in i: its mean over i = 1..p is at least that of the chord, the mean of the first and the last term.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from abet.errors import UsageError
from abet.metrics.image_counts import ImageCounts

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

PROTOCOL: Final = "image-bootstrap"
RESAMPLES: Final = 1000
CONFIDENCE: Final = 0.95
FIGURES: Final = ("auroc", "ap", "fpr95")
_DRAWS_AT_ONCE: Final = 64
_EXACT: Final = 2**53 // 100
"""Counts up to here times 100 are exact in float64."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Resampled:
    """The figures of every draw.

    names: of the images drawn from. seed: of the draws.
    figures: (draws, 3, 3) float64: AUROC, AP and FPR95 by value, low and high; NaN where a draw lacks a class.
    """

    names: tuple[str, ...]
    seed: int
    figures: Floats

    def interval(self) -> dict[str, Any]:
        """Per figure ``low``, ``high`` and ``binning``, all fractions, with what they come from, as strict JSON.

        ``undefined`` draws hold no ID or no OOD pixel and are left out; if all do, the figures are null.
        """
        return _described(self, self.figures)


def weights(images: int, *, seed: int, count: int = RESAMPLES) -> npt.NDArray[np.int64]:
    """How often each draw holds each image: (count, images), each row with sum ``images``, at least 1."""
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn = rng.integers(0, images, (count, images)) + images * np.arange(count)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * images).reshape(count, images)


def resample(counts: ImageCounts, *, seed: int, count: int = RESAMPLES) -> Resampled:
    """Draw ``count`` times; counts of at least one image. Equal seeds and images give equal draws."""
    if counts.low_key.size == 0:
        return Resampled(names=counts.names, seed=seed, figures=np.full((count, 3, 3), np.nan))
    drawn = weights(len(counts.names), seed=seed, count=count).astype(np.float64)
    pixels = counts.id_count.sum(axis=1, dtype=np.int64) + counts.ood_count.sum(axis=1, dtype=np.int64)
    assert int(pixels.max()) * pixels.size <= _EXACT, "more pixels than a weighted sum can hold exactly"
    wide = (counts.low_key != counts.high_key)[::-1]
    negatives, positives = (rows[:, ::-1].astype(np.float64) for rows in (counts.id_count, counts.ood_count))
    parts = [drawn[start : start + _DRAWS_AT_ONCE] for start in range(0, count, _DRAWS_AT_ONCE)]
    figures = np.concatenate([_figures(part @ negatives, part @ positives, wide) for part in parts])
    return Resampled(names=counts.names, seed=seed, figures=figures)


def compare(first: Resampled, second: Resampled) -> dict[str, Any]:
    """Intervals of first minus second, draw by draw: two scores, or two models, on the same images.

    Keys as those of `Resampled.interval`; an interval without 0 tells the two apart.
    Raises UsageError where images, seeds or the number of draws differ.
    """
    for what, one, other in (
        ("images", first.names, second.names),
        ("seeds", first.seed, second.seed),
        ("numbers of draws", len(first.figures), len(second.figures)),
    ):
        if one != other:
            raise UsageError(f"draws from different {what} cannot be paired: resample both alike")
    exchanged = second.figures[..., [0, 2, 1]]  # the lower end of a difference takes the upper end of what is taken off
    return _described(first, first.figures - exchanged)


def _described(drawn: Resampled, figures: Floats) -> dict[str, Any]:
    defined = figures[~np.isnan(figures).any(axis=(1, 2))]
    description: dict[str, Any] = {
        "protocol": PROTOCOL,
        "confidence": CONFIDENCE,
        "resamples": len(figures),
        "undefined": len(figures) - len(defined),
        "seed": drawn.seed,
        "images": len(drawn.names),
    }
    if not len(defined):
        return description | dict.fromkeys(FIGURES) | {"reason": "no draw holds both ID and OOD pixels"}
    tail = (1 - CONFIDENCE) / 2
    for place, name in enumerate(FIGURES):
        _, low, high = defined[:, place].T
        ends = {"low": float(np.quantile(low, tail)), "high": float(np.quantile(high, 1 - tail))}
        description[name] = {**ends, "binning": float((high - low).max())}
    return description


def _figures(n: Floats, p: Floats, wide: Mask) -> Floats:
    """Brackets of draws whose ID and OOD pixels per bin, highest score first, are n and p (draws, bins)."""
    tp, fp = np.cumsum(p, axis=1), np.cumsum(n, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw without a class is 0/0: NaN, as is meant
        stacked = [
            _auroc(p, fp - n, fp, wide),
            _average_precision(p, tp, fp - n, fp, wide),
            _fpr95(tp, fp - n, fp, wide),
        ]
        figures = np.stack([np.stack(figure, axis=-1) for figure in stacked], axis=1)
    figures[(tp[:, -1] == 0) | (fp[:, -1] == 0)] = np.nan
    return figures


def _auroc(p: Floats, before: Floats, fp: Floats, wide: Mask) -> tuple[Floats, Floats, Floats]:
    negatives, pairs = fp[:, -1:], p.sum(axis=1) * fp[:, -1]
    value = np.einsum("ij,ij->i", p, negatives - (before + fp) / 2) / pairs
    slack = np.einsum("ij,ij->i", p, (fp - before) * wide) / (2 * pairs)
    return value, value - slack, value + slack


def _average_precision(p: Floats, tp: Floats, before: Floats, fp: Floats, wide: Mask) -> tuple[Floats, Floats, Floats]:
    # every denominator counts whole pixels: below 1 it is 0, in a bin above all that the draw holds, which adds nothing
    tied = tp / np.maximum(tp + fp, 1)
    best = tp / np.maximum(tp + before, 1)
    above = tp - p + 1
    low = np.where(wide, (above / (above + fp) + tied) / 2, tied)
    ends = (tied, low, np.where(wide, best, tied))
    value, lower, upper = (np.einsum("ij,ij->i", p, end) / tp[:, -1] for end in ends)
    return value, lower, upper


def _fpr95(tp: Floats, before: Floats, fp: Floats, wide: Mask) -> tuple[Floats, Floats, Floats]:
    first = (100 * tp >= 95 * tp[:, -1:]).argmax(axis=1)
    rows = np.arange(len(tp))
    value, lower = fp[rows, first] / fp[:, -1], before[rows, first] / fp[:, -1]
    return value, np.where(wide[first], lower, value), value
