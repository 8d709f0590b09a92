"""Windows, shops and storeys of facades, worked out per pixel from the plane that a facade stands in."""

import numpy as np
import numpy.typing as npt

from abet.data.synthetic.camera import NEAR, Floats
from abet.data.synthetic.canvas import Canvas, Facade


def paint_facades(canvas: Canvas, index: npt.NDArray[np.int32], rgb: Floats, depth: Floats) -> None:
    """Where facades are seen, paint windows into (3, H, W) ``rgb`` and the true distance into (H, W) ``depth``."""
    number = np.array([surface.facade for surface in canvas.surfaces], np.int32)[index]
    seen = np.flatnonzero(number >= 0)
    if not seen.size:
        return
    which = number.ravel()[seen]
    wall = _Wall(canvas.facades, which)
    across, down = (grid.ravel()[seen] for grid in canvas.camera.grids())
    x0, facing = wall["x0"], wall["facing"] > 0
    slope = across - wall["k"]
    slope = np.where(np.abs(slope) < 1e-4, np.float32(1e-4), slope)
    z = np.clip(np.where(facing, x0, x0 / slope), NEAR, 400.0)
    depth.ravel()[seen] = z
    planes = rgb.reshape(3, -1)
    colours = planes[:, seen]
    _paint(canvas, wall, colours, np.where(facing, across * z, z), canvas.camera.eye - down * z)
    planes[:, seen] = colours


class _Wall:
    """Columns of the facade table, per pixel."""

    def __init__(self, facades: list[Facade], which: npt.NDArray[np.int32]) -> None:
        self._facades, self._which = facades, which

    def __getitem__(self, name: str) -> Floats:
        return np.array([getattr(facade, name) for facade in self._facades], np.float32)[self._which]

    def colour(self, name: str, channel: int) -> Floats:
        return np.array([getattr(facade, name)[channel] for facade in self._facades], np.float32)[self._which]


def _paint(canvas: Canvas, wall: _Wall, colours: Floats, along: Floats, up: Floats) -> None:
    """Paint (3, n) wall colours at n points, ``along`` the wall and ``up`` from the ground in metres."""
    u, v = along / wall["bay"], up / wall["storey"]
    bay, storey = np.floor(u), np.floor(v)
    u, v = u - bay, v - storey
    chance = _hash(bay, storey, wall["seed"])
    shop = (wall["shop"] > 0) & (storey < 1)
    wide = np.where(shop, np.float32(0.86), wall["wide"]) / 2
    high = np.where(shop, np.float32(0.62), wall["high"]) / 2
    blank = (wide <= 0) | (up > wall["top"] - 0.2) | (up < 0.25)
    du, dv = np.abs(u - 0.5), np.abs(v - 0.52)
    pane = (du < wide) & (dv < high) & ~blank
    bars = pane & ~shop & (du < 0.022)
    frame = ((du < wide + 0.05) & (dv < high + 0.045) & ~blank & ~pane) | bars
    pane &= ~bars
    band = shop & (v > 0.86)
    curtain = pane & (chance > 0.72) & (v > 0.45)
    tone = np.where(np.mod(storey, 2) > 0, wall["accent"], np.float32(1.0)) * np.where(up < 0.5, np.float32(0.72), 1)
    gain = np.clip(colours.mean(axis=0) * np.float32(1.2) + np.float32(0.35), 0.4, 1.0)
    mirror = (0.25 + 0.5 * chance) * np.clip(0.35 + 0.1 * (storey + v), 0.1, 0.8)
    for channel, haze in enumerate(canvas.light.haze):
        plane = colours[channel]
        trim = wall.colour("trim", channel)
        plane *= tone
        np.copyto(plane, wall.colour("sign", channel) * gain, where=band)
        np.copyto(plane, trim * gain, where=frame)
        np.copyto(plane, wall.colour("pane", channel) * (1 - mirror) + np.float32(0.75 * haze) * mirror, where=pane)
        np.copyto(plane, trim * np.float32(0.8), where=curtain)


def _hash(first: Floats, second: Floats, seed: Floats) -> Floats:
    """A number in [0, 1) per window."""
    mixed = np.sin(first * np.float32(12.9898) + second * np.float32(78.233) + seed * np.float32(0.0137))
    mixed = mixed * np.float32(43758.547)
    return np.asarray(mixed - np.floor(mixed), np.float32)
