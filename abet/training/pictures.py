"""What the network says of a few validation images: image, label, prediction and OOD score side by side."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abet.data.images import ImageArray, IndexArray
from abet.detector import class_map, score_map
from abet.labels import IGNORE, colour_table
from abet.models.head import Output
from abet.report.render import Picture, heat_map, write_png
from abet.run import PICTURES, step_name
from abet.scores import Observation

KEPT_IMAGES = 3
GAP_PIXELS = 4
TILE_PIXELS = 640
"""Wider images are shown at every second pixel, every third, and so on."""


def strip(image: ImageArray, label: IndexArray, output: Output) -> Picture:
    """One row: (H, 4 W + gaps, 3) of the image, its label, the predicted classes, and the score as heat.

    The score is ``abet`` for a head that learned a temperature, else ``entropy``.
    """
    num_classes = output.logits.shape[1]
    every = -(-image.shape[1] // TILE_PIXELS)
    key = "abet" if output.temperature is not None else "entropy"
    seen = Observation(**output._asdict())
    classes = coloured(class_map(output), num_classes)
    parts = (image, coloured(label, num_classes), classes, heat_map(score_map(key, seen)))
    small = [picture[::every, ::every] for picture in parts]
    gap = np.full((len(small[0]), GAP_PIXELS, 3), 255, np.uint8)
    return np.concatenate([part for picture in small for part in (picture, gap)][:-1], axis=1)


def coloured(label: NDArray[np.uint8], num_classes: int) -> Picture:
    """(H, W) train ids as their display colours; ignored pixels are black."""
    colours = np.zeros((256, 3), np.uint8)
    colours[:num_classes] = np.array(colour_table(num_classes), np.uint8)
    colours[IGNORE] = 0
    return colours[label]


def write_picture(run: Path, step: int, strips: list[Picture]) -> tuple[Path, Picture]:
    """Write the rows, one below the other and padded to the widest, as ``pictures/step-00000123.png``."""
    picture = np.full(
        (sum(len(row) + GAP_PIXELS for row in strips), max(row.shape[1] for row in strips), 3), 255, np.uint8
    )
    top = 0
    for row in strips:
        picture[top : top + len(row), : row.shape[1]] = row
        top += len(row) + GAP_PIXELS
    path = run / PICTURES / f"{step_name(step)}.png"
    write_png(path, picture)
    return path, picture
