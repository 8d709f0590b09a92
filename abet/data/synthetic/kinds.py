"""What can be drawn, and the numbers that the published label formats give it."""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt


class Kind(IntEnum):
    """The meaning of a surface. Everything but UNSEEN is known to both training sets."""

    ROAD = 0
    MARKING = 1
    CROSSWALK = 2
    MANHOLE = 3
    CURB = 4
    SIDEWALK = 5
    TERRAIN = 6
    BUILDING = 7
    FENCE = 8
    VEGETATION = 9
    SKY = 10
    POLE = 11
    STREET_LIGHT = 12
    TRAFFIC_LIGHT = 13
    SIGN = 14
    SIGN_BACK = 15
    PERSON = 16
    RIDER = 17
    BICYCLE = 18
    CAR = 19
    TRUCK = 20
    BUS = 21
    WIRE = 22
    UNSEEN = 23


MAPILLARY_IDS: Final[Mapping[Kind, int]] = MappingProxyType(
    {
        Kind.ROAD: 13,
        Kind.MARKING: 24,
        Kind.CROSSWALK: 23,
        Kind.MANHOLE: 41,
        Kind.CURB: 2,
        Kind.SIDEWALK: 15,
        Kind.TERRAIN: 29,
        Kind.BUILDING: 17,
        Kind.FENCE: 3,
        Kind.VEGETATION: 30,
        Kind.SKY: 27,
        Kind.POLE: 45,
        Kind.STREET_LIGHT: 44,
        Kind.TRAFFIC_LIGHT: 48,
        Kind.SIGN: 50,
        Kind.SIGN_BACK: 49,
        Kind.PERSON: 19,
        Kind.RIDER: 20,
        Kind.BICYCLE: 52,
        Kind.CAR: 55,
        Kind.TRUCK: 61,
        Kind.BUS: 54,
        Kind.WIRE: 65,
    }
)
"""Mapillary Vistas v1.1: the place in ``config.json``; 65 is Unlabeled."""

CITYSCAPES_IDS: Final[Mapping[Kind, int]] = MappingProxyType(
    {
        Kind.ROAD: 7,
        Kind.MARKING: 7,
        Kind.CROSSWALK: 7,
        Kind.MANHOLE: 7,
        Kind.CURB: 8,
        Kind.SIDEWALK: 8,
        Kind.TERRAIN: 22,
        Kind.BUILDING: 11,
        Kind.FENCE: 13,
        Kind.VEGETATION: 21,
        Kind.SKY: 23,
        Kind.POLE: 17,
        Kind.STREET_LIGHT: 17,
        Kind.TRAFFIC_LIGHT: 19,
        Kind.SIGN: 20,
        Kind.SIGN_BACK: 4,
        Kind.PERSON: 24,
        Kind.RIDER: 25,
        Kind.BICYCLE: 33,
        Kind.CAR: 26,
        Kind.TRUCK: 27,
        Kind.BUS: 28,
        Kind.WIRE: 0,
    }
)
"""Cityscapes label ids (cityscapesScripts, ``labels.py``); 0 is unlabeled, 4 static: both void."""

FREE_ROAD: Final = frozenset({Kind.ROAD, Kind.MARKING, Kind.CROSSWALK, Kind.MANHOLE})
"""What LostAndFound calls free road: all that one drives over."""


def table(numbers: Mapping[Kind, int], *, default: int | None = None) -> npt.NDArray[np.uint8]:
    """(len(Kind),) uint8 to index with kinds; without ``default`` only kinds in ``numbers`` may be looked up."""
    assert default is not None or set(numbers) >= set(Kind) - {Kind.UNSEEN}
    row = np.full(len(Kind), 255 if default is None else default, np.uint8)
    for kind, number in numbers.items():
        row[kind] = number
    return row
