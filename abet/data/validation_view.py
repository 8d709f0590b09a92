"""The square of a fixed height that is validated on where images differ in size (reference behaviour, Mapillary).

A pure function, the same each time. No torch import.
"""

import numpy as np

from abet.data.images import ImageArray, IndexArray
from abet.data.resize import Span, bicubic_window, nearest_window
from abet.labels import IGNORE


def validation_view(image: ImageArray, label: IndexArray, height: int) -> tuple[ImageArray, IndexArray]:
    """Image and label resized to ``height`` rows, aspect kept, and cut or padded to a square; both sides alike.

    The reference pads images that are higher than wide by all that is missing on either side, and then cuts where
    the unpadded image would be: the picture is shifted, and what lies outside becomes class 0. Here it stays in the
    middle. Landscape images, nearly all, come out as in the reference, but for the width: floor(W * height / H),
    computed exactly.

    Args:
        image: (H, W, 3) uint8 RGB, resized bicubically.
        label: (H, W) uint8 train ids and IGNORE, resized to the nearest.
        height: of the square, in pixels.

    Returns:
        (height, height, 3) uint8, black where a narrow image is padded, and (height, height) uint8, IGNORE there.
    """
    assert image.shape == (*label.shape, 3), (image.shape, label.shape)
    assert height > 0, height
    rows, columns = _spans(label.shape[0], label.shape[1], height)
    view = np.zeros((height, height, 3), np.uint8)
    classes = np.full((height, height), IGNORE, np.uint8)
    shown = (rows.place, columns.place)
    view[shown] = bicubic_window(image, rows, columns)
    classes[shown] = nearest_window(label, rows, columns)
    return view, classes


def _spans(rows: int, columns: int, height: int) -> tuple[Span, Span]:
    width = max(1, columns * height // rows)
    first = max(0, round((width - height) / 2))
    seen = Span(columns, width, first, min(width, first + height), max(0, (height - width) // 2))
    return Span(rows, height, 0, height, 0), seen
