"""The usual four folder trees: which files a scene becomes in each, and the numbers and names that stand in them."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from abet.data.synthetic.kinds import CITYSCAPES_IDS, FREE_ROAD, MAPILLARY_IDS, Kind, table
from abet.data.synthetic.mapillary_names import MAPILLARY_NAMES
from abet.data.synthetic.scene import Picture
from abet.data.synthetic.traffic import Theme
from abet.labels import MAPILLARY

Files = Callable[[int], tuple[str, ...]]
"""Index of a scene -> its files below ROOT, the image last: where it stands, the scene is complete."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """What the files of a scene are made from."""

    index: int
    """Of the scene in its part."""
    picture: Picture
    street: Picture | None
    """Another scene of training, if the part asks for one."""


Encode = Callable[[Shot], tuple[bytes, ...]]
"""The content of those files, in the same order."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One split of one data set. ``number`` seeds its scenes and never changes."""

    number: int
    scenes: int
    """How many, unless told otherwise."""
    theme: Theme
    files: Files
    encode: Encode
    pasted: bool = False
    """Whether each scene comes with a street of training to paste its objects into."""


UNLABELED: Final = 65
JPEG_QUALITY: Final = 93
CITIES: Final = ("northport", "southgate", "eastwick", "westbrook")
STREETS: Final = ("01_Harbour_Lane_1", "02_Mill_Road_3", "03_Station_Street_7")
LANES: Final = Theme(unseen=("lane",), traffic=0.35)
ANYWHERE: Final = Theme(unseen=("lane", "lane", "sidewalk", "parking"))


def png(array: npt.NDArray[np.uint8], *, palette: bool = False) -> bytes:
    """A PNG of (H, W) or (H, W, 3); ``palette`` gives it Mapillary's colours, as published labels have."""
    image = Image.fromarray(array)
    if palette:
        colours = [channel for row in MAPILLARY for channel in row.colour] + [0, 0, 0]
        image.putpalette(colours)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def jpeg(array: npt.NDArray[np.uint8]) -> bytes:
    """A JPEG of (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _mapillary(shot: Shot) -> tuple[bytes, ...]:
    return png(table(MAPILLARY_IDS)[shot.picture.kinds], palette=True), jpeg(shot.picture.image)


def _cityscapes(shot: Shot) -> tuple[bytes, ...]:
    return png(table(CITYSCAPES_IDS)[shot.picture.kinds]), png(shot.picture.image)


def lost_and_found(shot: Shot) -> tuple[bytes, ...]:
    """Label ids (0 unlabelled, 1 free road, 2 a hazard) and train ids (255 void, 1 free road, 2 hazard)."""
    known = {**dict.fromkeys(FREE_ROAD, 1), Kind.UNSEEN: 2}
    labels = [png(table(known, default=void)[shot.picture.kinds]) for void in (0, 255)]
    return (*labels, png(shot.picture.image))


def _road_anomaly(shot: Shot) -> tuple[bytes, ...]:
    return png(table({Kind.UNSEEN: 1}, default=0)[shot.picture.kinds]), png(shot.picture.image)


def _mapillary_files(split: str) -> Files:
    def files(index: int) -> tuple[str, ...]:
        stem = f"synthetic_{split}_{index:06d}"
        return f"mapillary/{split}/labels/{stem}.png", f"mapillary/{split}/images/{stem}.jpg"

    return files


def _cityscapes_files(split: str) -> Files:
    def files(index: int) -> tuple[str, ...]:
        city = CITIES[index % len(CITIES)]
        stem = f"{city}_{index:06d}_000019"
        return (
            f"cityscapes/gtFine/{split}/{city}/{stem}_gtFine_labelIds.png",
            f"cityscapes/leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png",
        )

    return files


def lost_and_found_files(split: str) -> Files:
    """Names of an image's two labels and of the image, in the order of `lost_and_found`."""

    def files(index: int) -> tuple[str, ...]:
        street = STREETS[index % len(STREETS)]
        label = f"lost_and_found/gtCoarse/{split}/{street}/{street}_{index:06d}_000010_gtCoarse"
        image = f"lost_and_found/leftImg8bit/{split}/{street}/{street}_{index:06d}_000010_leftImg8bit.png"
        return f"{label}_labelIds.png", f"{label}_labelTrainIds.png", image

    return files


def _road_anomaly_files(index: int) -> tuple[str, ...]:
    return f"road_anomaly/labels/street_{index:06d}.png", f"road_anomaly/original/street_{index:06d}.png"


def _training(number: int, scenes: int, files: Files, encode: Encode) -> Part:
    return Part(number=number, scenes=scenes, theme=Theme(), files=files, encode=encode)


PARTS: Final[Mapping[str, Part]] = MappingProxyType(
    {
        "mapillary/training": _training(0, 400, _mapillary_files("training"), _mapillary),
        "mapillary/validation": _training(1, 24, _mapillary_files("validation"), _mapillary),
        "cityscapes/train": _training(2, 400, _cityscapes_files("train"), _cityscapes),
        "cityscapes/val": _training(3, 24, _cityscapes_files("val"), _cityscapes),
        "lost_and_found/test": Part(
            number=4, scenes=48, theme=LANES, files=lost_and_found_files("test"), encode=lost_and_found
        ),
        "road_anomaly/test": Part(number=5, scenes=48, theme=ANYWHERE, files=_road_anomaly_files, encode=_road_anomaly),
    }
)
"""The splits of the four sets that are drawn unless told otherwise, by ``data set/split``."""


def mapillary_config() -> bytes:
    """``config.json`` of Mapillary Vistas v1.1: 65 classes, then Unlabeled."""
    rows = [
        {
            "color": list(colour),
            "instances": name.split("--")[0] in {"animal", "human", "object"},
            "readable": readable,
            "name": name,
            "evaluate": not name.startswith("void"),
        }
        for name, (readable, colour) in zip(MAPILLARY_NAMES, [*MAPILLARY, ("Unlabeled", (0, 0, 0))], strict=True)
    ]
    content = {
        "labels": rows,
        "version": 1.1,
        "mapping": "public",
        "folder_structure": "{split}/{content:s}/{image_id:s}.{extension:s}",
    }
    return (json.dumps(content, indent=2) + "\n").encode()
