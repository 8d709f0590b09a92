"""What a pixel can be: the in-distribution / OOD / void vocabulary, and the class tables of the training sets.

Every OOD data set is read into ID, OOD and VOID, every training set into train ids and IGNORE, whatever numbers its
own files use.
"""

import colorsys
from typing import Final, NamedTuple

ID: Final = 0
"""In-distribution: something the training classes cover."""
OOD: Final = 1
"""Out-of-distribution: the detector should rank these pixels first."""
VOID: Final = 255
"""Not evaluated."""
IGNORE: Final = 255
"""In a training label, among the train ids 0 to C - 1: neither trained on nor counted."""


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

MAPILLARY: Final = (
    LabelClass("Bird", (165, 42, 42)),
    LabelClass("Ground Animal", (0, 192, 0)),
    LabelClass("Curb", (196, 196, 196)),
    LabelClass("Fence", (190, 153, 153)),
    LabelClass("Guard Rail", (180, 165, 180)),
    LabelClass("Barrier", (90, 120, 150)),
    LabelClass("Wall", (102, 102, 156)),
    LabelClass("Bike Lane", (128, 64, 255)),
    LabelClass("Crosswalk - Plain", (140, 140, 200)),
    LabelClass("Curb Cut", (170, 170, 170)),
    LabelClass("Parking", (250, 170, 160)),
    LabelClass("Pedestrian Area", (96, 96, 96)),
    LabelClass("Rail Track", (230, 150, 140)),
    LabelClass("Road", (128, 64, 128)),
    LabelClass("Service Lane", (110, 110, 110)),
    LabelClass("Sidewalk", (244, 35, 232)),
    LabelClass("Bridge", (150, 100, 100)),
    LabelClass("Building", (70, 70, 70)),
    LabelClass("Tunnel", (150, 120, 90)),
    LabelClass("Person", (220, 20, 60)),
    LabelClass("Bicyclist", (255, 0, 0)),
    LabelClass("Motorcyclist", (255, 0, 100)),
    LabelClass("Other Rider", (255, 0, 200)),
    LabelClass("Lane Marking - Crosswalk", (200, 128, 128)),
    LabelClass("Lane Marking - General", (255, 255, 255)),
    LabelClass("Mountain", (64, 170, 64)),
    LabelClass("Sand", (230, 160, 50)),
    LabelClass("Sky", (70, 130, 180)),
    LabelClass("Snow", (190, 255, 255)),
    LabelClass("Terrain", (152, 251, 152)),
    LabelClass("Vegetation", (107, 142, 35)),
    LabelClass("Water", (0, 170, 30)),
    LabelClass("Banner", (255, 255, 128)),
    LabelClass("Bench", (250, 0, 30)),
    LabelClass("Bike Rack", (100, 140, 180)),
    LabelClass("Billboard", (220, 220, 220)),
    LabelClass("Catch Basin", (220, 128, 128)),
    LabelClass("CCTV Camera", (222, 40, 40)),
    LabelClass("Fire Hydrant", (100, 170, 30)),
    LabelClass("Junction Box", (40, 40, 40)),
    LabelClass("Mailbox", (33, 33, 33)),
    LabelClass("Manhole", (100, 128, 160)),
    LabelClass("Phone Booth", (142, 0, 0)),
    LabelClass("Pothole", (70, 100, 150)),
    LabelClass("Street Light", (210, 170, 100)),
    LabelClass("Pole", (153, 153, 153)),
    LabelClass("Traffic Sign Frame", (128, 128, 128)),
    LabelClass("Utility Pole", (0, 0, 80)),
    LabelClass("Traffic Light", (250, 170, 30)),
    LabelClass("Traffic Sign (Back)", (192, 192, 192)),
    LabelClass("Traffic Sign (Front)", (220, 220, 0)),
    LabelClass("Trash Can", (140, 140, 20)),
    LabelClass("Bicycle", (119, 11, 32)),
    LabelClass("Boat", (150, 0, 255)),
    LabelClass("Bus", (0, 60, 100)),
    LabelClass("Car", (0, 0, 142)),
    LabelClass("Caravan", (0, 0, 90)),
    LabelClass("Motorcycle", (0, 0, 230)),
    LabelClass("On Rails", (0, 80, 100)),
    LabelClass("Other Vehicle", (128, 64, 64)),
    LabelClass("Trailer", (0, 0, 110)),
    LabelClass("Truck", (0, 0, 70)),
    LabelClass("Wheeled Slow", (0, 0, 192)),
    LabelClass("Car Mount", (32, 32, 32)),
    LabelClass("Ego Vehicle", (120, 10, 10)),
)
"""The 65 classes of Mapillary Vistas v1.1 and v1.2, in id order, which is the order of train ids (see config.json)."""


def colour_table(num_classes: int) -> list[tuple[int, int, int]]:
    """One display colour per train id: the published ones for 19 (Cityscapes) and 65 (Mapillary), else spread hues."""
    for table in (CITYSCAPES, MAPILLARY):
        if num_classes == len(table):
            return [row.colour for row in table]
    hues = (colorsys.hsv_to_rgb((i * 0.61803398875) % 1.0, 0.65, 0.9) for i in range(num_classes))
    return [(round(r * 255), round(g * 255), round(b * 255)) for r, g, b in hues]
