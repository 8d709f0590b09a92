"""Windows, shops and storeys of facades, worked out per pixel from the plane that a facade stands in."""

import numpy as np
import numpy.typing as npt

from abet.data.synthetic.camera import NEAR, Floats
from abet.data.synthetic.canvas import Canvas, Facade


def paint_facades(canvas: Canvas, index: npt.NDArray[np.intp], rgb: Floats, depth: Floats) -> None:
    """Where facades are seen, paint windows into (3, H, W) ``rgb`` and the true distance into (H, W) ``depth``."""
    number = np.array([surface.facade for surface in canvas.surfaces], np.int32).take(index)
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
    colours = np.take(planes, seen, axis=1)
    _paint(canvas, wall, colours, np.where(facing, across * z, z), canvas.camera.eye - down * z)
    _put(planes, seen, colours)


class _Wall:
    """The facade table at some pixels."""

    def __init__(self, facades: list[Facade], which: npt.NDArray[np.int32]) -> None:
        self._facades, self._which = facades, which

    def __getitem__(self, name: str) -> Floats:
        """(n,) a column that holds numbers."""
        return np.array([getattr(facade, name) for facade in self._facades], np.float32)[self._which]

    def colour(self, name: str, chosen: npt.NDArray[np.intp]) -> Floats:
        """(3, chosen) a column that holds colours, at some of the pixels."""
        table = np.array([getattr(facade, name) for facade in self._facades], np.float32).T
        return np.take(np.ascontiguousarray(table), self._which[chosen], axis=1)


def _paint(canvas: Canvas, wall: _Wall, colours: Floats, along: Floats, up: Floats) -> None:
    """Paint (3, n) wall colours at n points, ``along`` the wall and ``up`` from the ground in metres."""
    u, v = along / wall["bay"], up / wall["storey"]
    bay, storey = np.floor(u), np.floor(v)
    u -= bay
    v -= storey
    shop = (wall["shop"] > 0) & (storey < 1)
    wide = np.where(shop, np.float32(0.43), wall["wide"] / 2)
    high = np.where(shop, np.float32(0.31), wall["high"] / 2)
    glazed = (wide > 0) & (up < wall["top"] - 0.2) & (up > 0.25)
    across, above = np.abs(u - 0.5), np.abs(v - 0.52)
    outer = glazed & (across < wide + 0.05) & (above < high + 0.045)
    pane = outer & (across < wide) & (above < high) & (shop | (across > 0.022))
    gain = np.clip(colours.mean(axis=0) * np.float32(1.2) + np.float32(0.35), 0.4, 1.0)
    colours *= np.where((storey.astype(np.int32) & 1) > 0, wall["accent"], np.float32(1.0))
    colours *= np.where(up < 0.5, np.float32(0.72), np.float32(1.0))
    for name, painted in (("sign", shop & (v > 0.86)), ("trim", outer & ~pane)):
        chosen = np.flatnonzero(painted)
        _put(colours, chosen, wall.colour(name, chosen) * gain[chosen])
    inside = np.flatnonzero(pane)
    chance = _hash(bay[inside], storey[inside], wall["seed"][inside])
    _put(colours, inside, _glass(canvas, wall, inside, chance, storey[inside] + v[inside]))
    curtain = inside[(chance > 0.72) & (v[inside] > 0.45)]
    _put(colours, curtain, wall.colour("trim", curtain) * np.float32(0.8))


def _put(colours: Floats, chosen: npt.NDArray[np.intp], values: Floats) -> None:
    """``colours[:, chosen] = values``, which NumPy does ten times as slowly at once as plane by plane."""
    for plane, painted in zip(colours, values, strict=True):
        plane[chosen] = painted


def _glass(canvas: Canvas, wall: _Wall, inside: npt.NDArray[np.intp], chance: Floats, level: Floats) -> Floats:
    """(3, n) what window panes show: a dark room, and more of the sky the higher they are."""
    mirror = (0.25 + 0.5 * chance) * np.clip(0.35 + 0.1 * level, 0.1, 0.8)
    sky = np.float32(0.75) * np.array(canvas.light.haze, np.float32)[:, None]
    return np.asarray(wall.colour("pane", inside) * (1 - mirror) + sky * mirror, np.float32)


def _hash(first: Floats, second: Floats, seed: Floats) -> Floats:
    """A number in [0, 1) per window, from whole numbers."""
    mixed = first.astype(np.int32) * np.int32(73856093) ^ second.astype(np.int32) * np.int32(19349663)
    mixed = (mixed ^ seed.astype(np.int32) * np.int32(83492791)) * np.int32(668265263)
    return np.asarray(((mixed >> 8) & 0xFFFF).astype(np.float32) / np.float32(65536))
