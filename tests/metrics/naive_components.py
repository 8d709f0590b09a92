"""Component metrics by definition: flood fill over sets of pixels, quotients as fractions. Nothing of ours in it."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

OOD, VOID = 1, 255

Pixels = set[tuple[int, int]]
Image = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]


def flood(pixels: Pixels) -> list[Pixels]:
    """8-connected components of a set of (row, column)."""
    found, left = [], set(pixels)
    while left:
        component, border = set(), [left.pop()]
        while border:
            y, x = border.pop()
            component.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            border += near
        found.append(component)
    return found


def siou(component: Pixels, others: list[Pixels], own_side: list[Pixels]) -> Fraction:
    """Overlap / (union - what the other components of the same side cover of the touching ones): the definition."""
    touching: Pixels = set().union(*(other for other in others if other & component))
    adjustment = touching & set().union(*(each for each in own_side if each is not component))
    return Fraction(len(component & touching), len((component | touching) - adjustment))


def figures(
    images: Iterable[Image], threshold: float, smallest_prediction: int, smallest_object: int
) -> dict[str, Any]:
    """Lists of sIoU of ``objects`` and ``predictions``, of PPV, and of TP, FN and FP at tau = 0.25, 0.30 ... 0.75."""
    objects_siou, predictions_siou, ppv = [], [], []
    for scores, labels in images:
        places = [(y, x) for y in range(labels.shape[0]) for x in range(labels.shape[1])]
        objects = flood({p for p in places if labels[p] == OOD})
        void = {p for p in places if labels[p] == VOID}
        void = void.union(*(each for each in objects if len(each) < smallest_object))
        objects = [each for each in objects if len(each) >= smallest_object]
        flagged = {p for p in places if labels[p] != VOID and scores[p] > threshold}
        predictions = [each - void for each in flood(flagged) if len(each) >= smallest_prediction]
        predictions = [each for each in predictions if each]
        objects_siou += [siou(each, predictions, objects) for each in objects]
        predictions_siou += [siou(each, objects, predictions) for each in predictions]
        covered: Pixels = set().union(*objects)
        ppv += [Fraction(len(each & covered), len(each)) for each in predictions]
    tp, fn, fp = [], [], []
    for tau in (Fraction(step, 20) for step in range(5, 16)):
        tp.append(sum(value >= tau for value in objects_siou))
        fn.append(sum(value < tau for value in objects_siou))
        fp.append(sum(value < tau for value in ppv))
    return {"siou": objects_siou, "siou_predictions": predictions_siou, "ppv": ppv, "tp": tp, "fn": fn, "fp": fp}


def means(found: dict[str, Any]) -> dict[str, float | None]:
    """The four figures that are reported, None where no component defines one."""
    names = ("siou", "siou_predictions", "ppv")
    result = {name: float(sum(found[name]) / len(found[name])) if found[name] else None for name in names}
    pairs = [(2 * tp, 2 * tp + fn + fp) for tp, fn, fp in zip(found["tp"], found["fn"], found["fp"], strict=True)]
    f1 = float(sum(Fraction(*pair) for pair in pairs) / len(pairs)) if pairs[0][1] else None
    return {**result, "f1": f1}
