"""The pinhole camera and the road that it looks along.

World coordinates in metres: x to the right, y up from the road, z ahead. The road's centre line is the parabola
x = c(z); ``s`` is the signed distance from it, so that lanes and sidewalks are intervals of s at any z.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Point = tuple[float, float]
"""Column and row in pixels of the raster."""

NEAR: Final = 1.2
"""Metres: nothing is drawn closer."""
FAR: Final = 140.0
"""Metres: where the street ends in a backdrop."""


class World(NamedTuple):
    """A point in metres."""

    x: float
    y: float
    z: float


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Pixels are those of the supersampled raster; rows run downwards."""

    width: int
    height: int
    focal: float
    """Focal length in pixels."""
    eye: float
    """Metres above the road."""
    column: float
    """Column of the vanishing point of the z axis."""
    horizon: float
    """Row of the horizon at that column; the camera's pitch."""
    roll: float
    """Slope of the horizon, in rows per column."""

    def project(self, point: World) -> Point:
        """Where a point in front of the camera is seen; one that is closer than NEAR is moved there."""
        x, y, z = point
        scale = self.focal / (z if z > NEAR else NEAR)
        across = scale * x
        return self.column + across, self.horizon + self.roll * across + scale * (self.eye - y)

    def pixels(self, metres: float, z: float) -> float:
        """How long ``metres`` across the line of sight are at distance z."""
        return self.focal * metres / max(z, NEAR)

    def grids(self) -> tuple[Floats, Floats]:
        """Per pixel, (H, W): the slopes of its ray, dx/dz to the right and dy/dz downwards."""
        columns = (np.arange(self.width, dtype=np.float32) + 0.5 - self.column)[None, :]
        rows = (np.arange(self.height, dtype=np.float32) + 0.5 - self.horizon)[:, None]
        across = np.broadcast_to(columns / np.float32(self.focal), (self.height, self.width))
        return across, np.asarray((rows - np.float32(self.roll) * columns) / np.float32(self.focal), np.float32)


@dataclass(frozen=True, kw_only=True)
class Side:
    """The cross-section on one side of the centre line, as distances from it in metres, outwards."""

    road: float
    """Edge of the carriageway, parking included."""
    strip: float
    """Outer edge of a planted strip between curb and sidewalk; equal to ``road`` without one."""
    sidewalk: float
    """Outer edge of the sidewalk; equal to ``strip`` without one."""
    front: float
    """Where buildings begin; between sidewalk and front lies a verge or garden."""
    parking: float
    """Width of the parking lane at the carriageway's edge, 0 without one."""


@dataclass(frozen=True, kw_only=True)
class Road:
    """Course and cross-section. ``crossing`` is the (near, far) z of a side street, if there is one."""

    offset: float
    heading: float
    curvature: float
    lane: float
    """Width of a lane in metres."""
    left: Side
    right: Side
    crossing: tuple[float, float] | None

    def centre(self, z: float) -> float:
        """x of the centre line at z."""
        return self.offset + self.heading * z + 0.5 * self.curvature * z * z

    def slope(self, z: float) -> float:
        """dx/dz of the centre line."""
        return self.heading + self.curvature * z

    def place(self, s: float, z: float, y: float = 0.0) -> World:
        """The point at distance s right of the centre line."""
        return World(self.centre(z) + s, y, z)

    def side(self, sign: int) -> Side:
        """The right side for +1, the left one for -1."""
        return self.right if sign > 0 else self.left

    def in_crossing(self, z: float, margin: float = 0.0) -> bool:
        """Whether z lies in the side street."""
        return self.crossing is not None and self.crossing[0] - margin < z < self.crossing[1] + margin
