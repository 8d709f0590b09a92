"""What a pixel can be: the in-distribution / OOD / void vocabulary and the Cityscapes class table.

Every OOD data set is read into the three values below, whatever numbers its own files use.
"""

import colorsys
from typing import Final, NamedTuple

ID: Final = 0
"""In-distribution: something the training classes cover."""
OOD: Final = 1
"""Out-of-distribution: the detector should rank these pixels first."""
VOID: Final = 255
"""Not evaluated."""


class LabelClass(NamedTuple):
    """One row of a class table: its name and display colour (R, G, B in 0..255)."""

    name: str
    colour: tuple[int, int, int]


CITYSCAPES: Final = (
    LabelClass("road", (128, 64, 128)),
    LabelClass("sidewalk", (244, 35, 232)),
    LabelClass("building", (70, 70, 70)),
    LabelClass("wall", (102, 102, 156)),
    LabelClass("fence", (190, 153, 153)),
    LabelClass("pole", (153, 153, 153)),
    LabelClass("traffic light", (250, 170, 30)),
    LabelClass("traffic sign", (220, 220, 0)),
    LabelClass("vegetation", (107, 142, 35)),
    LabelClass("terrain", (152, 251, 152)),
    LabelClass("sky", (70, 130, 180)),
    LabelClass("person", (220, 20, 60)),
    LabelClass("rider", (255, 0, 0)),
    LabelClass("car", (0, 0, 142)),
    LabelClass("truck", (0, 0, 70)),
    LabelClass("bus", (0, 60, 100)),
    LabelClass("train", (0, 80, 100)),
    LabelClass("motorcycle", (0, 0, 230)),
    LabelClass("bicycle", (119, 11, 32)),
)
"""The 19 Cityscapes classes in train-id order (cityscapesScripts' names and colours)."""


def colour_table(num_classes: int) -> list[tuple[int, int, int]]:
    """One display colour per train id: Cityscapes' own for 19 classes, else evenly spread hues."""
    if num_classes == len(CITYSCAPES):
        return [row.colour for row in CITYSCAPES]
    hues = (colorsys.hsv_to_rgb((i * 0.61803398875) % 1.0, 0.65, 0.9) for i in range(num_classes))
    return [(round(r * 255), round(g * 255), round(b * 255)) for r, g, b in hues]
