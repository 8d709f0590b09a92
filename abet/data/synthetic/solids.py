"""Flat figures that face the camera, and boxes with slanted sides: what objects are built of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import cos, hypot, sin

from abet.data.synthetic.camera import NEAR, Point, World
from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.kinds import Kind
from abet.data.synthetic.materials import Material


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing in metres: x to the right of and y above ``place``, facing the camera; ``flip`` mirrors it."""

    canvas: Canvas
    place: World
    kind: Kind
    flip: bool = False
    scale: float = 1.0

    def ink(self, material: Material, *, kind: Kind | None = None, round_: float = 0.0, lamp: bool = False) -> int:
        """A surface at this distance. ``round_``: metres of half-width over which it turns away from the sun."""
        canvas, light = self.canvas, self.canvas.light
        gradient = (1.0, 0.0, 0.0)
        if round_ > 0:
            half = max(canvas.camera.pixels(round_ * self.scale, self.place.z), 1.0)
            column, _ = canvas.camera.project(self.place)
            across = 0.28 * light.sun.x * (0.35 + light.direct) / half
            gradient = (1.0 - across * column, across, 0.0)
        level = 1.0 if lamp else light.on(World(0.0, 0.35, -0.94))
        return canvas.surface(
            kind or self.kind, material, depth=self.place.z, light=level, gradient=gradient, lamp=lamp
        )

    @cached_property
    def _frame(self) -> tuple[float, float, float]:
        """Column and row of ``place``, and pixels per unit of the drawing."""
        return *self.canvas.camera.project(self.place), self.canvas.camera.pixels(self.scale, self.place.z)

    def at(self, x: float, y: float) -> Point:
        """Pixel coordinates of a point of the drawing."""
        column, row, pixels = self._frame
        across = -pixels * x if self.flip else pixels * x
        return column + across, row + self.canvas.camera.roll * across - pixels * y

    def polygon(self, ink: int, points: Sequence[tuple[float, float]]) -> None:
        """Fill a polygon."""
        self.canvas.polygon(ink, [self.at(x, y) for x, y in points])

    def rectangle(self, ink: int, left: float, bottom: float, right: float, top: float) -> None:
        """Fill a rectangle."""
        self.polygon(ink, [(left, bottom), (right, bottom), (right, top), (left, top)])

    def ellipse(self, ink: int, x: float, y: float, rx: float, ry: float) -> None:
        """Fill an ellipse around (x, y)."""
        self.canvas.ellipse(ink, self._box(x, y, rx, ry))

    def ring(self, ink: int, x: float, y: float, rx: float, ry: float, *, width: float) -> None:
        """The outline of an ellipse, ``width`` metres wide, inwards."""
        pixels = max(1, round(self.canvas.camera.pixels(width * self.scale, self.place.z)))
        self.canvas.ring(ink, self._box(x, y, rx, ry), width=pixels)

    def line(self, ink: int, points: Sequence[tuple[float, float]], width: float) -> None:
        """A polyline ``width`` metres wide."""
        pixels = self.canvas.camera.pixels(width * self.scale, self.place.z)
        self.canvas.line(ink, [self.at(x, y) for x, y in points], pixels)

    def _box(self, x: float, y: float, rx: float, ry: float) -> tuple[float, float, float, float]:
        column, row = self.at(x, y)
        pixels = self._frame[2]
        return column - rx * pixels, row - ry * pixels, column + rx * pixels, row + ry * pixels


@dataclass(frozen=True)
class Pose:
    """A place on the ground and a turn: local x to the right, z ahead for yaw 0; yaw in radians."""

    place: World
    yaw: float = 0.0

    def world(self, x: float, y: float, z: float) -> World:
        """A local point in the world."""
        c, s = cos(self.yaw), sin(self.yaw)
        return World(self.place.x + c * x + s * z, self.place.y + y, self.place.z - s * x + c * z)


Corners = tuple[World, World, World, World]


@dataclass(frozen=True)
class Face:
    """A quadrilateral of a solid: corners from lower left over lower right and upper right to upper left, as seen."""

    corners: Corners
    light: float
    depth: float

    def at(self, u: float, v: float) -> World:
        """The point at shares u to the right and v up."""
        (ax, ay, az), (bx, by, bz), (cx, cy, cz), (dx, dy, dz) = self.corners
        a, b, c, d = (1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v
        x, y, z = (
            a * ax + b * bx + c * cx + d * dx,
            a * ay + b * by + c * cy + d * dy,
            a * az + b * bz + c * cz + d * dz,
        )
        return World(x, y, z)

    def patch(self, left: float, bottom: float, right: float, top: float) -> list[World]:
        """The corners of a part."""
        return [self.at(left, bottom), self.at(right, bottom), self.at(right, top), self.at(left, top)]


@dataclass(frozen=True)
class Box:
    """A solid between a lower and an upper rectangle (x0, x1, z0, z1) in local metres, at heights y0 and y1."""

    pose: Pose
    lower: tuple[float, float, float, float]
    upper: tuple[float, float, float, float]
    y0: float
    y1: float

    def faces(self, canvas: Canvas) -> dict[str, Face]:
        """The faces that the camera sees, by name: back (z0), front (z1), left (x0), right (x1), top."""
        (a0, a1, c0, c1), (b0, b1, d0, d1) = self.lower, self.upper
        p, y0, y1 = self.pose.world, self.y0, self.y1
        low = {"bl": p(a0, y0, c0), "br": p(a1, y0, c0), "fr": p(a1, y0, c1), "fl": p(a0, y0, c1)}
        top = {"bl": p(b0, y1, d0), "br": p(b1, y1, d0), "fr": p(b1, y1, d1), "fl": p(b0, y1, d1)}
        candidates: dict[str, Corners] = {
            "back": (low["bl"], low["br"], top["br"], top["bl"]),
            "front": (low["fr"], low["fl"], top["fl"], top["fr"]),
            "left": (low["fl"], low["bl"], top["bl"], top["fl"]),
            "right": (low["br"], low["fr"], top["fr"], top["br"]),
            "top": (top["bl"], top["br"], top["fr"], top["fl"]),
        }
        return {name: face for name, corners in candidates.items() if (face := _seen(canvas, corners)) is not None}

    def draw(self, canvas: Canvas, kind: Kind, material: Material) -> dict[str, Face]:
        """Fill the faces that are seen, and return them."""
        faces = self.faces(canvas)
        for face in faces.values():
            canvas.face(canvas.surface(kind, material, depth=face.depth, light=face.light), face.corners)
        return faces


def _seen(canvas: Canvas, corners: Corners) -> Face | None:
    """The face, unless it is turned away."""
    a, b, _, d = corners
    u, v = ([q - p for p, q in zip(a, other, strict=True)] for other in (b, d))
    # seen from outside, u runs right and v up, so v x u points outwards (z runs ahead: a left-handed system)
    normal = (v[1] * u[2] - v[2] * u[1], v[2] * u[0] - v[0] * u[2], v[0] * u[1] - v[1] * u[0])
    length = hypot(*normal)
    if length < 1e-9:
        return None
    nx, ny, nz = (component / length for component in normal)
    centre = [sum(corner[axis] for corner in corners) / 4 for axis in range(3)]
    towards = -centre[0] * nx + (canvas.camera.eye - centre[1]) * ny - centre[2] * nz
    if towards <= 0:
        return None
    return Face(corners, canvas.light.on(World(nx, ny, nz)), max(centre[2], NEAR))


def paint_patch(
    canvas: Canvas, kind: Kind, material: Material, face: Face, corners: Sequence[World], *, lamp: bool = False
) -> None:
    """Fill a part of a face in another material."""
    light = 1.0 if lamp else face.light
    canvas.face(canvas.surface(kind, material, depth=face.depth, light=light, lamp=lamp), corners)
