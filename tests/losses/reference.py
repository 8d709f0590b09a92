"""The losses written out as loops over images, pixels and classes in double precision, straight from their definitions.

``ignored`` is what an ignored pixel is counted as in the class shares; None: as nothing.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from abet.labels import IGNORE

Labels = NDArray[np.uint8]
Logits = NDArray[np.float32]


def log_softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = values.max()
    return values - largest - math.log(math.fsum(math.exp(value - largest) for value in values))


def weights_of(counts: NDArray[np.float64], total: float, bound: float) -> list[float]:
    return [1 + bound * (1 - count / total) if count else 1.0 for count in counts]


def image_weighted(
    logits: Logits, labels: Labels, bound: float, *, batch: bool = False, ignored: int | None = None
) -> float:
    classes, total = logits.shape[1], 0.0
    counted = labels if ignored is None else np.where(labels == IGNORE, ignored, labels)
    for number, label in enumerate(labels):
        shares = counted if batch else counted[number]
        counts = np.array([float((shares == k).sum()) for k in range(classes)])
        weights = weights_of(counts, counts.sum(), bound)
        pixels = [place for place in np.ndindex(*label.shape) if label[place] != IGNORE]
        nll = [-log_softmax(logits[number][:, y, x].astype(float))[label[y, x]] for y, x in pixels]
        own = [weights[label[place]] for place in pixels]
        total += math.fsum(w * n for w, n in zip(own, nll, strict=True)) / (math.fsum(own) or 1)
    return total


def window_classes(label: Labels, y: int, x: int, classes: int, strict: Sequence[int]) -> set[int]:
    """The channels that are right at a pixel; ``classes`` stands for "ignored"."""
    if label[y, x] in strict:
        return {int(label[y, x])}
    found = set()
    for row in range(y - 1, y + 2):
        for column in range(x - 1, x + 2):
            inside = 0 <= row < label.shape[0] and 0 <= column < label.shape[1]
            found.add(int(label[row, column]) if inside and label[row, column] != IGNORE else classes)
    return found


def differs(label: Labels, y: int, x: int) -> bool:
    near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
    return any(
        0 <= row < label.shape[0] and 0 <= column < label.shape[1] and label[row, column] != label[y, x]
        for row, column in near
    )


def boundary_loss(
    logits: Logits, labels: Labels, bound: float, *, strict: Sequence[int] = (), hard: bool = False, slip: bool = False
) -> float:
    """`relaxed_sum`, or with ``hard`` `hard_boundary_sum`; ``slip``: the boundary weights of the whole batch."""
    classes = logits.shape[1]
    right, border = [], []
    for label in labels:
        places = list(np.ndindex(*label.shape))
        if hard:
            sets = {p: {classes if label[p] == IGNORE else int(label[p])} for p in places}
            border.append({p: 2.0 if differs(label, *p) else 1.0 for p in places})
        else:
            sets = {p: window_classes(label, *p, classes, strict) for p in places}
            border.append({p: 1 / max(len(sets[p] - {classes}), 1) for p in places})
        right.append(sets)
    total = 0.0
    for number, sets in enumerate(right):
        doubled = border[number] if hard else dict.fromkeys(sets, 1.0)
        counts = np.array(
            [math.fsum(doubled[p] for p, found in sets.items() if k in found) for k in range(classes + 1)]
        )
        weights = weights_of(counts, counts.sum(), bound)
        valid = [p for p, found in sets.items() if found != {classes}]
        loss = 0.0
        for p in valid:
            of_class = log_softmax(logits[number][(slice(None), *p)].astype(float))
            chosen = sets[p] - {classes}
            log_right = math.log(math.fsum(math.exp(of_class[k]) for k in chosen))
            # another image's ignored pixel has a boundary weight of 1
            of_batch = [border[b][p] if right[b][p] != {classes} else 1.0 for b in range(len(right))]
            factor = math.fsum(of_batch) if slip else border[number][p]
            loss -= factor * log_right * math.fsum(weights[k] for k in chosen)
        total += loss / (len(valid) + 1)
    return total
