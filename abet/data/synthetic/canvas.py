"""One raster of surface numbers. Image and label are both looked up from it, so they cannot drift apart.

Every shape is drawn once, as the number of its surface; a table says of each surface what it is (`Kind`), what it
looks like and how far away it is. Shadows are drawn apart and fall on ground alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from abet.data.synthetic.camera import Camera, Point, World
from abet.data.synthetic.kinds import Kind
from abet.data.synthetic.light import Light
from abet.data.synthetic.materials import Colour, Material
from abet.data.synthetic.textures import Texture

SKY: Final = 0
"""The surface that is there before anything is drawn."""
FAINT: Final = 0.02
"""Shadows of the sun that darken the ground by less are left out."""


class Surface(NamedTuple):
    """A row of the table. The gradient multiplies brightness by c + gx * column + gy * row."""

    kind: int
    r: float
    g: float
    b: float
    texture: int = Texture.PLAIN
    amplitude: float = 0.0
    texels: float = 16.0
    depth: float = 1e6
    """Distance in metres, except for ground (from its row) and facades (from their plane)."""
    c: float = 1.0
    gx: float = 0.0
    gy: float = 0.0
    facade: int = -1
    """Row of the facade table, -1 for all other surfaces."""
    ground: int = 0
    """1: lies flat on the ground, takes shadows and mirrors when wet."""
    lamp: int = 0
    """1: gives light, so that the scene's light does not matter."""


class Facade(NamedTuple):
    """The plane x = x0 + k z that a wall stands in (or, for ``facing``, its distance z = x0), and its windows."""

    x0: float
    k: float
    facing: int
    top: float
    storey: float
    """Height of a storey in metres."""
    bay: float
    """Distance between windows in metres."""
    wide: float
    """Window width as a share of the bay; 0 for a blank wall."""
    high: float
    shop: int
    """1: a ground floor of shop windows."""
    seed: int
    trim: Colour
    pane: Colour
    sign: Colour
    accent: float
    """Brightness of every second storey or bay relative to the others."""


@dataclass
class Canvas:
    """Draw from far to near; ``light`` is where brightness of faces comes from."""

    camera: Camera
    light: Light
    surfaces: list[Surface] = field(default_factory=list)
    facades: list[Facade] = field(default_factory=list)

    def __post_init__(self) -> None:
        size = self.camera.width, self.camera.height
        self.index = Image.new("I", size, SKY)
        self.cast = Image.new("L", size, 0)
        self.contact = Image.new("L", size, 0)
        self._draw = ImageDraw.Draw(self.index)
        self._cast = ImageDraw.Draw(self.cast)
        self._contact = ImageDraw.Draw(self.contact)
        assert not self.surfaces
        self.surfaces.append(Surface(Kind.SKY, 1.0, 1.0, 1.0))

    def add(self, surface: Surface) -> int:
        """A new surface's number."""
        self.surfaces.append(surface)
        return len(self.surfaces) - 1

    def surface(
        self,
        kind: Kind,
        material: Material,
        *,
        depth: float = 1e6,
        light: float = 1.0,
        gradient: tuple[float, float, float] = (1.0, 0.0, 0.0),
        facade: int = -1,
        ground: bool = False,
        lamp: bool = False,
    ) -> int:
        """A new surface of a material, under so much light; its number."""
        (r, g, b), texture, amplitude, texels = material
        r, g, b = r * light, g * light, b * light
        return self.add(
            Surface(
                kind, r, g, b, texture, amplitude, texels, depth, *gradient, facade, int(ground), int(lamp)
            )
        )  # fmt: skip

    def paint_ground(self, numbers: npt.NDArray[np.int32]) -> None:
        """Replace the raster: (H, W) surface numbers."""
        self.index = Image.fromarray(numbers)
        self._draw = ImageDraw.Draw(self.index)

    def polygon(self, surface: int, points: Sequence[Point]) -> None:
        """Fill a polygon of pixel coordinates."""
        self._draw.polygon(list(points), fill=surface)

    def ellipse(self, surface: int, box: tuple[float, float, float, float]) -> None:
        """Fill an axis-parallel ellipse: left, top, right, bottom."""
        left, top, right, bottom = box
        if right > left and bottom > top:
            self._draw.ellipse(box, fill=surface)

    def ring(self, surface: int, box: tuple[float, float, float, float], *, width: int) -> None:
        """An ellipse's outline, ``width`` pixels wide."""
        left, top, right, bottom = box
        if right > left and bottom > top:
            self._draw.ellipse(box, outline=surface, width=width)

    def line(self, surface: int, points: Sequence[Point], width: float) -> None:
        """A polyline at least one pixel wide."""
        self._draw.line(list(points), fill=surface, width=max(1, round(width)), joint="curve")

    def face(self, surface: int, corners: Sequence[World]) -> None:
        """Fill a polygon of points in the world."""
        self.polygon(surface, [self.camera.project(corner) for corner in corners])

    def shade(self, corners: Sequence[World]) -> None:
        """A cast shadow on the ground."""
        if self.light.shadow_depth >= FAINT:
            self._cast.polygon([self.camera.project(corner) for corner in corners], fill=255)

    def stand(self, place: World, half_width: float, half_length: float, height: float) -> None:
        """Contact and cast shadow of a thing that stands at ``place``: the same for known and unseen things."""
        x, _, z = place
        for grow, strength in ((1.25, 90), (1.0, 150)):
            w, d = half_width * grow, half_length * grow
            outline = [(-w, 0.0), (-0.7 * w, -d), (0.7 * w, -d), (w, 0.0), (0.7 * w, d), (-0.7 * w, d)]
            corners = [self.camera.project(World(x + px, 0.0, z + pz)) for px, pz in outline]
            self._contact.polygon(corners, fill=strength)
        if self.light.shadow_depth < FAINT:
            return
        dx, dz = (shift * height for shift in self.light.shadow)
        w, d = half_width, half_length
        base = [(-w, -d), (w, -d), (w, d), (-w, d)]
        lower = [World(x + px, 0, z + pz) for px, pz in base]
        upper = [World(x + 0.85 * px + dx, 0, z + 0.85 * pz + dz) for px, pz in base]
        for start in range(4):
            end = (start + 1) % 4
            self.shade([lower[start], lower[end], upper[end], upper[start]])
        self.shade(upper)
