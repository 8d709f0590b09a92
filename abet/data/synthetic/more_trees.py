"""Trees of five further OOD sets, and of LostAndFound's training split, drawn where they are asked for by name.

Each keeps its set's rules: what is void, which images are left out, whose labels are hidden. The files are those that
`abet.data.fishyscapes`, `abet.data.segment_me` and `abet.data.no_known` read.
"""

import io
import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from abet.data.no_known import KNOWN_PREFIXES
from abet.data.synthetic.kinds import CITYSCAPES_IDS, FREE_ROAD, Kind, table
from abet.data.synthetic.traffic import Theme
from abet.data.synthetic.trees import (
    ANYWHERE,
    CITIES,
    LANES,
    STREETS,
    Part,
    Shot,
    jpeg,
    lost_and_found,
    lost_and_found_files,
    png,
)

_OBSTACLES: Final = Theme(unseen=("lane",), traffic=0.0, people=False)
"""RoadObstacle21's streets are empty but for what lies on them. (Known objects on the road would be OOD there too.)"""
_UNKNOWN: Final = frozenset({Kind.SIGN_BACK, Kind.WIRE})
"""What no Cityscapes class covers and no OOD set asks for."""
_ANOMALY_TABLE: Final = {**dict.fromkeys(CITYSCAPES_IDS, 0), **dict.fromkeys(_UNKNOWN, 255), Kind.UNSEEN: 1}
_OBSTACLE_TABLE: Final = {**dict.fromkeys(FREE_ROAD, 0), Kind.UNSEEN: 1}
_OBJECTS: Final = (2, 9, 31, 20, 35, 38)
"""LostAndFound's ids in turn: 31 and 38 are what one may drive over."""
_EMPTY_EVERY: Final = 12
"""Each so many images of LostAndFound have one whose label is empty."""
_COLOURS: Final = {0: (255, 255, 255), 1: (255, 102, 0), 255: (0, 0, 0)}


def webp(array: npt.NDArray[np.uint8]) -> bytes:
    """A WebP of (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="WEBP", quality=90, method=0)
    return buffer.getvalue()


def overlay(difference: npt.NDArray[np.int16]) -> bytes:
    """An archive with (H, W, 3) as ``rgb``; numpy puts no time into it."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, rgb=difference)
    return buffer.getvalue()


def _no_known(shot: Shot) -> tuple[bytes, ...]:
    """Label ids; a train-id file beside it that voids what one may drive over, as published."""
    number = _OBJECTS[shot.index % len(_OBJECTS)]
    known = {**dict.fromkeys(FREE_ROAD, 1), Kind.UNSEEN: number}
    ids = table(known, default=0)[shot.picture.kinds]
    if shot.index % _EMPTY_EVERY == _EMPTY_EVERY - 2:  # of a street that is not left out
        ids = np.zeros_like(ids)
    hazard = 0 if number in (31, 38) else 2
    train_ids = np.select([ids == 1, ids > 1], [np.uint8(1), np.uint8(hazard)], np.uint8(255))
    return png(ids), png(train_ids), png(shot.picture.image)


def _no_known_files(index: int) -> tuple[str, ...]:
    """Three streets of the set, then one of the places with children or bicycles, which are left out."""
    street = (*STREETS, "")[index % 4] or KNOWN_PREFIXES[index // 4 % len(KNOWN_PREFIXES)]
    scene = street.rpartition("_000")[0] or street
    stem = f"{street}_{index:06d}" if street != scene else f"{street}_{index:06d}_000010"
    label = f"lost_and_found_no_known/gtCoarse/test/{scene}/{stem}_gtCoarse"
    image = f"lost_and_found_no_known/leftImg8bit/test/{scene}/{stem}_leftImg8bit.png"
    return f"{label}_labelIds.png", f"{label}_labelTrainIds.png", image


def _anomaly(shot: Shot) -> npt.NDArray[np.uint8]:
    return outlined(table(_ANOMALY_TABLE)[shot.picture.kinds])


def outlined(label: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A label (H, W) of 0, 1 and 255 in which pixels above and beside each object are void: edges are never exact.

    Below it, where it stands on the ground, it touches ID. Were the whole ring void, a mask of everything would have
    the object as a component of its own.
    """
    found = np.pad(label == 1, 1)
    near = np.zeros(label.shape, np.bool_)
    for down, right in itertools.product((1, 2), range(3)):
        near |= found[down : down + label.shape[0], right : right + label.shape[1]]
    return np.where(near & (label == 0), np.uint8(255), label)


def _fishyscapes(shot: Shot) -> tuple[bytes, ...]:
    image = png(shot.picture.image)
    return (png(_anomaly(shot)), image, image) if shot.index == 0 else (png(_anomaly(shot)), image)


def _fishyscapes_files(index: int) -> tuple[str, ...]:
    """A label and its image among LostAndFound's; beside the first one that no label asks for."""
    street = STREETS[index % len(STREETS)]
    stem = f"{street}_{index:06d}_000030"
    folder = f"fishyscapes_lost_and_found/leftImg8bit/{('train', 'test')[index % 2]}/{street}"
    image = f"{folder}/{stem}_leftImg8bit.png"
    other = [f"{folder}/{street}_{index:06d}_000040_leftImg8bit.png"] if index == 0 else []
    return f"fishyscapes_lost_and_found/fishyscapes_lostandfound/{index:04d}_{stem}_labels.png", *other, image


def _static(shot: Shot) -> tuple[bytes, ...]:
    """Objects pasted into a street of training; where they hide what no class covers, that is no longer void."""
    assert shot.street is not None
    kinds = np.where(shot.picture.kinds == Kind.UNSEEN, np.uint8(Kind.UNSEEN), shot.street.kinds)
    difference = shot.picture.image.astype(np.int16) - shot.street.image
    difference[kinds != Kind.UNSEEN] = 0
    label = outlined(table(_ANOMALY_TABLE)[kinds])
    return png(label), overlay(difference), png(shot.street.image)


def _static_files(index: int) -> tuple[str, ...]:
    city = CITIES[index % len(CITIES)]
    stem = f"{city}_{index:06d}_000019"
    label = f"fishyscapes_static/fs_val_v3/{index:04d}_{stem}"
    photograph = f"fishyscapes_static/leftImg8bit/val/{city}/{stem}_leftImg8bit.png"
    return f"{label}_labels.png", f"{label}_rgb.npz", photograph


def _with_colours(label: npt.NDArray[np.uint8]) -> tuple[bytes, bytes]:
    """A label, and its rendering for the eye, which is not read."""
    palette = np.zeros((256, 3), np.uint8)
    for number, colour in _COLOURS.items():
        palette[number] = colour
    return png(label), png(palette[label])


def _anomaly_21(shot: Shot) -> tuple[bytes, ...]:
    return *_with_colours(_anomaly(shot)), jpeg(shot.picture.image)


def _obstacle_21(shot: Shot) -> tuple[bytes, ...]:
    label = outlined(table(_OBSTACLE_TABLE, default=255)[shot.picture.kinds])
    return *_with_colours(label), webp(shot.picture.image)


def _labelled_files(dataset: str, stem: str, suffix: str) -> tuple[str, ...]:
    label = f"{dataset}/labels_masks/{stem}_labels_semantic"
    return f"{label}.png", f"{label}_color.png", f"{dataset}/images/{stem}{suffix}"


MORE_PARTS: Final[Mapping[str, Part]] = MappingProxyType(
    {
        "lost_and_found_no_known/test": Part(
            number=6, scenes=24, theme=LANES, files=_no_known_files, encode=_no_known
        ),
        "fishyscapes_lost_and_found/validation": Part(
            number=7, scenes=24, theme=LANES, files=_fishyscapes_files, encode=_fishyscapes
        ),
        "fishyscapes_static/validation": Part(
            number=8, scenes=12, theme=ANYWHERE, files=_static_files, encode=_static, pasted=True
        ),
        "road_anomaly_21/validation": Part(
            number=9, scenes=10, theme=ANYWHERE, encode=_anomaly_21,
            files=lambda index: _labelled_files("road_anomaly_21", f"validation{index:04d}", ".jpg"),
        ),
        "road_anomaly_21/test": Part(
            number=10, scenes=6, theme=ANYWHERE, encode=lambda shot: (jpeg(shot.picture.image),),
            files=lambda index: (f"road_anomaly_21/images/street{index:04d}.jpg",),
        ),
        "road_obstacle_21/validation": Part(
            number=11, scenes=40, theme=_OBSTACLES, encode=_obstacle_21,
            files=lambda index: _labelled_files("road_obstacle_21", f"validation_{index + 1}", ".webp"),
        ),
        "road_obstacle_21/test": Part(
            number=12, scenes=6, theme=_OBSTACLES, encode=lambda shot: (webp(shot.picture.image),),
            files=lambda index: (f"road_obstacle_21/images/street_{index + 1}.webp",),
        ),
        "lost_and_found/train": Part(
            number=13, scenes=0, theme=LANES, files=lost_and_found_files("train"), encode=lost_and_found
        ),
    }
)  # fmt: skip
"""Their splits by ``data set/split``; of the SegmentMeIfYouCan sets, ``test`` has no labels."""
