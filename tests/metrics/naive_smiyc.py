"""SegmentMeIfYouCan's pixel figures by lists: edges of each image, every threshold of all images."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

ID, OOD, VOID = 0, 1, 255

Image = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]


def quantile(ordered: list[float], share: float) -> float:
    """Between the two neighbours, linearly and from the nearer one, so that it rounds as numpy's does."""
    place = share * (len(ordered) - 1)
    below = min(math.floor(place), len(ordered) - 1)
    above = min(below + 1, len(ordered) - 1)
    gap, part = ordered[above] - ordered[below], place - below
    return ordered[below] + gap * part if part < 0.5 else ordered[above] - gap * (1 - part)


def floored(image: Image) -> list[tuple[float, int]]:
    """(lower edge of its bin, label) of every pixel that is not void or broken."""
    pixels = [(s, k) for s, k in zip(*(each.ravel().tolist() for each in image), strict=True) if k != VOID]
    pixels = [(score, label) for score, label in pixels if math.isfinite(score)]
    edges = {0.0, 1.0}
    for label in (ID, OOD):
        ordered = sorted(score for score, each in pixels if each == label)
        count = min(384, len(ordered))
        edges |= {quantile(ordered, share) for share in np.linspace(0, 1, count).tolist()}
    lower = sorted(edges)[:-1]
    return [(lower[bisect_right(lower, score) - 1], label) for score, label in pixels]


def figures(images: Iterable[Image]) -> dict[str, float]:
    """Every figure of `abet.metrics.smiyc`; each image has pixels of both classes somewhere in the set."""
    pixels = [pixel for image in images for pixel in floored(image)]
    positives, negatives = (sorted(score for score, label in pixels if label == kind) for kind in (OOD, ID))
    best, point = (0.0, 0.0), None
    for threshold in sorted({score for score, _ in pixels}, reverse=True):
        tp, fp = (len(ordered) - bisect_left(ordered, threshold) for ordered in (positives, negatives))
        f1 = 2 * tp / (tp + fp + len(positives))
        best = max(best, (f1, threshold), key=lambda pair: pair[0])
        if point is None and tp >= 0.95 * len(positives):
            point = {"fpr95": fp / len(negatives), "tpr": tp / len(positives), "threshold": threshold}
    assert point is not None
    return {
        "ap": float(average_precision_score([label == OOD for _, label in pixels], [score for score, _ in pixels])),
        **point,
        "best_f1": best[0],
        "best_f1_threshold": best[1],
        "prevalence": len(positives) / len(pixels),
    }
