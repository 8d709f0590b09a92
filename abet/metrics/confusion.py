"""The confusion matrix of a segmentation and the figures that are read off it.

Matrices are int64 counts and add up: over images, over processes, in any order.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Confusion = NDArray[np.int64]
"""(C, C) counts of pixels: row = class of the label, column = predicted class."""


def confusion(labels: NDArray[np.integer[Any]], predictions: NDArray[np.integer[Any]], num_classes: int) -> Confusion:
    """H[label, prediction] over all pixels whose label is a class.

    Args:
        labels: train ids of any shape; values outside 0 to C - 1 (IGNORE) are not counted.
        predictions: train ids 0 to C - 1 of the same shape; anything where the label is not counted.
        num_classes: C.

    Returns:
        (C, C) int64.
    """
    assert labels.shape == predictions.shape, (labels.shape, predictions.shape)
    counted = (labels >= 0) & (labels < num_classes)
    predicted = predictions[counted].astype(np.int64)
    assert predicted.size == 0 or 0 <= predicted.min() <= predicted.max() < num_classes, "a prediction is no class"
    cells = labels[counted].astype(np.int64) * num_classes + predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def summarise_confusion(matrix: Confusion) -> dict[str, Any]:
    """The figures of a confusion matrix as strict JSON: fractions, and null where nothing defines one.

    Returns:
        ``miou`` (mean over the classes that occur in labels or predictions), ``iou`` (per train id; null for a class
        that occurs in neither), ``accuracy`` (of pixels), ``mean_class_accuracy`` (over the classes that occur in
        labels), ``frequency_weighted_iou`` (weights: share of the labels' pixels), ``pixels`` (how many were counted)
        and ``reason`` (why figures are null; null when none is). Definitions: Long, Shelhamer, Darrell,
        CVPR 2015, section 5, with absent classes left out as in the reference. Further per train id ``precision``
        (share of the pixels predicted as the class that are; null where none is predicted), ``recall`` (share of the
        class's pixels that are predicted as such; null where there is none) and ``share`` (of the labels' pixels).
        The reference prints precision as recall and the reverse.
    """
    assert matrix.ndim == 2, matrix.shape
    assert matrix.shape[0] == matrix.shape[1], matrix.shape
    correct, labelled, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    pixels, union = int(matrix.sum()), labelled + predicted - correct
    iou = [int(hit) / int(size) if size else None for hit, size in zip(correct, union, strict=True)]
    recall = [int(hit) / int(size) if size else None for hit, size in zip(correct, labelled, strict=True)]
    precision = [int(hit) / int(size) if size else None for hit, size in zip(correct, predicted, strict=True)]
    weighted = sum(int(size) * value for size, value in zip(labelled, iou, strict=True) if value is not None)
    return {
        "miou": _mean(iou),
        "iou": iou,
        "accuracy": int(correct.sum()) / pixels if pixels else None,
        "mean_class_accuracy": _mean(recall),
        "frequency_weighted_iou": weighted / pixels if pixels else None,
        "precision": precision,
        "recall": recall,
        "share": [int(size) / pixels if pixels else None for size in labelled],
        "pixels": pixels,
        "reason": None if pixels else "no pixel of the labels is a class: all are ignored",
    }


def _mean(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
