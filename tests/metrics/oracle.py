"""The figures by definition: every threshold, every pair, in fractions. Plain, and nothing of ours in it."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np

ID, OOD, VOID = 0, 1, 255


def add(terms: Iterable[Fraction]) -> Fraction:
    """The sum, in a tree: added one by one, hundreds of different denominators would take seconds."""
    terms = list(terms)
    while len(terms) > 1:
        terms = [sum(terms[i : i + 2], Fraction(0)) for i in range(0, len(terms), 2)]
    return sum(terms, Fraction(0))


def place(score: float) -> tuple[int, float]:
    """What scores are compared by: NaN above everything, -0 equal to 0."""
    return (1, 0.0) if math.isnan(score) else (0, score)


def split(scores: np.ndarray, labels: np.ndarray) -> tuple[list, list]:
    """(ID places, OOD places)."""
    pairs = list(zip(np.ravel(scores).tolist(), np.ravel(labels).tolist(), strict=True))
    negatives, positives = ([place(score) for score, label in pairs if label == kind] for kind in (ID, OOD))
    return negatives, positives


def auroc(negatives: Sequence, positives: Sequence) -> Fraction:
    """The share of (OOD, ID) pairs in the right order, ties counting half."""
    negatives = sorted(negatives)  # to the left of p are those below it, to the right those that are not above
    doubled = sum(bisect_left(negatives, p) + bisect_right(negatives, p) for p in positives)
    return Fraction(doubled, 2 * len(positives) * len(negatives))


def operating_points(negatives: Sequence, positives: Sequence) -> list[tuple]:
    """(threshold place, TP, FP) for each distinct score, highest first."""
    negatives, positives = sorted(negatives), sorted(positives)
    thresholds = sorted({*negatives, *positives}, reverse=True)
    return [(t, *(len(places) - bisect_left(places, t) for places in (positives, negatives))) for t in thresholds]


def average_precision(negatives: Sequence, positives: Sequence) -> Fraction:
    """Sum over thresholds of the gain in recall times the precision."""
    terms, before = [], 0
    for _, tp, fp in operating_points(negatives, positives):
        if tp > before:
            terms.append(Fraction(tp - before, len(positives)) * Fraction(tp, tp + fp))
        before = tp
    return add(terms)


def fpr95(negatives: Sequence, positives: Sequence) -> Fraction:
    """FPR at the highest threshold with a TPR of at least 95/100."""
    for _, tp, fp in operating_points(negatives, positives):
        if Fraction(tp, len(positives)) >= Fraction(95, 100):
            return Fraction(fp, len(negatives))
    raise AssertionError("the lowest threshold flags everything")
