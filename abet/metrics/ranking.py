"""AUROC, average precision and FPR at 95% TPR of pixel counts, each with a bracket that contains the exact value.

The exact value is the one that all pixels, sorted by score with ties kept together, would give: scikit-learn's
``roc_auc_score`` and ``average_precision_score``, and the first point of the ROC curve with TPR >= 0.95.

**Notation.** Go through the bins from the highest score down. A bin holds p OOD and n ID pixels; TP0 and FP0 are the
OOD and ID pixels above it, TP1 = TP0 + p and FP1 = FP0 + n those down to its lower end. P and N are the totals. A bin
with one single score (low_key == high_key) is *exact*: its pixels are tied, the order inside is no question. In a
*wide* bin the order is unknown, so the bracket covers every order, ties included.

**AUROC** = (1/PN) sum over OOD pixels of (ID pixels below + half of those tied). An OOD pixel of a bin has the N - FP1
ID pixels of lower bins below it, and of the bin's own between none and all n = FP1 - FP0. Hence wide bins add
p (N - FP1) to the lower and p (N - FP0) to the upper sum. In exact bins half of n counts: p (N - FP0 - n/2) in both.
The value takes that midpoint everywhere. Sums are doubled to stay integers.

**AP** = (1/P) sum over OOD pixels of TP/(TP + FP), both counted down to that pixel's score, ties included. In an exact
bin each of the p terms is TP1/(TP1 + FP1). In a wide bin number the OOD pixels i = 1..p downwards: at the i-th,
TP0 + i <= TP <= TP1 and FP0 <= FP <= FP1; as TP/(TP + FP) rises with TP and falls with FP, the term lies between
(TP0 + i)/(TP0 + i + FP1) and TP1/(TP1 + FP0). The value is the tied sum, p TP1/(TP1 + FP1) in every bin, which lies
between: its terms are at least those of the lower sum (i <= p) and at most those of the upper (FP1 >= FP0).

**The lower sum in closed form.** With c = FP1 and m = TP0 + c it is p - c (H(m + p) - H(m)), H the harmonic numbers
(psi(k + 1) = H(k) - gamma, but differences of digamma cancel for small p and large m). For m >= 1 the Euler-Maclaurin
remainder r(m) = H(m) - ln m - gamma - 1/(2m) + 1/(12 m^2) is positive and falls with m (it is completely monotonic), so
r(m + p) - r(m) < 0 and

    H(m + p) - H(m)  <  log1p(p/m) - p/(2m (m + p)) + p (2m + p)/(12 m^2 (m + p)^2).

The lower sum is thus bounded from below; since r(m) < 1/(120 m^4), c <= m, and m grows with every wide bin, the bound
gives away less than 1/120 * (1 + 1/2^3 + 1/3^3 + ...) < 0.011 of an OOD pixel over all bins. For c = 0 the sum is p.

*Rounding of the closed form.* log1p(p/m) >= p/(m + p) is at least twice the second term and the third is positive, so
the subtraction amplifies relative errors at most threefold. With log1p within 64 units in the last place
(`abet.metrics.logarithm`: 8) and the other float64 operations within half a unit each, the right-hand side is computed
to a relative error below 2**-44. Times c it is at most p + 1/120, so the term is off by less than p 2**-43; p 2**-42 is
subtracted. The terms are then cut to fixed point and summed as integers.

**FPR95.** The exact threshold is the largest score with 100 TP >= 95 P (in integers). Down to the bin before, TP is too
small; down to the end of the first bin with 100 TP1 >= 95 P it suffices: the threshold is a score inside that bin, and
FP there lies in [FP0, FP1], in an exact bin at FP1. The value is FP1/N, reached by flagging every pixel with
score >= threshold, the smallest score in the bin; ``tpr`` = TP1/P is the rate this really gives.

**Rounding.** All other sums are exact integers, or are bounded by integers (`abet.metrics.exact`); each quotient is
rounded once: the value to nearest, low downwards, high upwards. Rounding to nearest is monotone, so
low <= value <= high. No bound leaves [0, 1]: no sum of AUROC exceeds P N pairs, and a quotient TP/(TP + FP) that is cut
off after 96 places is below 1, so that its upper bound, one unit of the last place more, is at most 1. If no bin is
wide, low and high are at most two units in the last place apart (for an AP below 2**-43, at most 2**-95).
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from abet.metrics import exact
from abet.metrics.exact import FRACTION_BITS, Unsigned
from abet.metrics.keys import Keys, to_scores
from abet.metrics.logarithm import log1p
from abet.metrics.pixel import PixelState

PROTOCOL: Final = "exact-bracketed"
_LOWER_SUM_SLACK: Final = 2.0**-42
_TARGET_PERCENT: Final = 95


class Figure(NamedTuple):
    """A fraction and the bracket that contains the exact one: 0 <= low <= value <= high <= 1."""

    value: float
    low: float
    high: float


class OperatingPoint(NamedTuple):
    """FPR95: the false positive rate with its bracket, the TPR really reached, and the raw score that reaches it.

    threshold: flag every pixel with score >= threshold; NaN or infinite where the scores are.
    """

    value: float
    low: float
    high: float
    tpr: float
    threshold: float


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Bins that hold OOD pixels, highest score first, with what lies above: all arrays (bins,) uint64 but two.

    positives: p. tp: TP1. fp_before, fp: FP0, FP1. wide: bool, more than one score. low_key: uint32.
    total_positives, total_negatives: P and N.
    """

    positives: Unsigned
    tp: Unsigned
    fp_before: Unsigned
    fp: Unsigned
    wide: npt.NDArray[np.bool_]
    low_key: Keys
    total_positives: int
    total_negatives: int


def sweep(state: PixelState) -> Sweep:
    """The threshold moved from the highest score down. Bins without OOD pixels add to FP alone and are left out."""
    positives = state.ood_count[::-1].astype(np.uint64)
    negatives = state.id_count[::-1].astype(np.uint64)
    here = np.flatnonzero(positives)
    fp = np.cumsum(negatives)[here]
    return Sweep(
        positives=positives[here],
        tp=np.cumsum(positives)[here],
        fp_before=fp - negatives[here],
        fp=fp,
        wide=(state.low_key != state.high_key)[::-1][here],
        low_key=state.low_key[::-1][here],
        total_positives=state.ood_pixels,
        total_negatives=state.id_pixels,
    )


def auroc(bins: Sweep) -> Figure:
    """Area under the ROC curve; P, N > 0."""
    twice_all = np.uint64(2 * bins.total_negatives)
    tied = twice_all - bins.fp_before - bins.fp
    low = np.where(bins.wide, twice_all - bins.fp - bins.fp, tied)
    high = np.where(bins.wide, twice_all - bins.fp_before - bins.fp_before, tied)
    pairs = 2 * bins.total_positives * bins.total_negatives
    return Figure(
        value=exact.nearest(exact.weighted_sum(bins.positives, tied), pairs),
        low=exact.below(exact.weighted_sum(bins.positives, low), pairs),
        high=exact.above(exact.weighted_sum(bins.positives, high), pairs),
    )


def average_precision(bins: Sweep) -> Figure:
    """Step-wise area under the precision-recall curve, OOD positive; P > 0."""
    wide, tied = _parts(bins, bins.wide), _parts(bins, ~bins.wide)
    exact_low, exact_high = exact.ratio_sum(tied.positives, tied.tp, tied.tp + tied.fp)
    wide_tied, _ = exact.ratio_sum(wide.positives, wide.tp, wide.tp + wide.fp)
    _, wide_high = exact.ratio_sum(wide.positives, wide.tp, wide.tp + wide.fp_before)
    scale = bins.total_positives << FRACTION_BITS
    return Figure(
        value=exact.nearest(exact_low + wide_tied, scale),
        low=exact.below(exact_low + _lower_sum(wide), scale),
        high=exact.above(exact_high + wide_high, scale),
    )


def _parts(bins: Sweep, chosen: npt.NDArray[np.bool_]) -> Sweep:
    """The chosen bins; what lies above them stays counted."""
    arrays = ("positives", "tp", "fp_before", "fp", "wide", "low_key")
    return replace(bins, **{name: getattr(bins, name)[chosen] for name in arrays})


def _lower_sum(bins: Sweep) -> int:
    """2**96 * the lower sum of AP over wide bins, rounded downwards (closed form and rounding: see the module)."""
    p, c = bins.positives.astype(np.float64), bins.fp.astype(np.float64)
    m = (bins.tp - bins.positives + bins.fp).astype(np.float64)
    m = np.maximum(m, 1.0)  # m = 0 implies c = 0, which leaves p whatever stands beside c
    harmonic = log1p(p / m) - p / (2 * m * (m + p)) + p * (2 * m + p) / (12 * np.square(m * (m + p)))
    terms = np.maximum(p - c * harmonic - p * _LOWER_SUM_SLACK, 0.0)
    places = 62 - bins.total_positives.bit_length()  # the terms together are at most P, so their sum stays below 2**62
    return int(np.floor(np.ldexp(terms, places)).astype(np.int64).sum()) << (FRACTION_BITS - places)


def fpr95(bins: Sweep) -> OperatingPoint:
    """False positive rate at the first point of the ROC curve with TPR >= 0.95; P, N > 0."""
    needed = -(-_TARGET_PERCENT * bins.total_positives // 100)
    first = int(np.searchsorted(bins.tp, np.uint64(needed)))
    tp, fp = int(bins.tp[first]), int(bins.fp[first])
    fp_low = int(bins.fp_before[first]) if bins.wide[first] else fp
    return OperatingPoint(
        value=exact.nearest(fp, bins.total_negatives),
        low=exact.below(fp_low, bins.total_negatives),
        high=exact.above(fp, bins.total_negatives),
        tpr=exact.nearest(tp, bins.total_positives),
        threshold=float(to_scores(bins.low_key[first : first + 1])[0]),
    )


def undefined(state: PixelState) -> str | None:
    """Why a state has no ranking figures, or None where it has."""
    missing = [name for name, pixels in (("ID", state.id_pixels), ("OOD", state.ood_pixels)) if pixels == 0]
    return f"no {' and no '.join(missing)} pixel was evaluated" if missing else None


def summarise(state: PixelState) -> dict[str, Any]:
    """The figures of one score as strict JSON, the score's entry in ``metrics.json``.

    ``auroc`` and ``ap`` hold value, low and high, ``fpr95`` also tpr and threshold (raw score units). Without OOD or
    without ID pixels the three are null and ``reason`` says so; a threshold that is no finite number is null, with a
    ``reason`` beside it. ``prevalence`` is P / (P + N), null without pixels.
    """
    positives, negatives = state.ood_pixels, state.id_pixels
    summary: dict[str, Any] = {
        "protocol": PROTOCOL,
        "prevalence": exact.nearest(positives, positives + negatives) if positives + negatives else None,
        "auroc": None,
        "ap": None,
        "fpr95": None,
        "non_finite": {"id": state.non_finite_id, "ood": state.non_finite_ood},
    }
    if reason := undefined(state):
        return summary | {"reason": reason}
    bins = sweep(state)
    point = fpr95(bins)._asdict()
    if not math.isfinite(point["threshold"]):
        point |= {"threshold": None, "reason": f"the score at this point is {point['threshold']}, not a finite number"}
    return summary | {"auroc": auroc(bins)._asdict(), "ap": average_precision(bins)._asdict(), "fpr95": point}
