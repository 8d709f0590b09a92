"""From surface numbers to a picture: texture, windows, shadow, haze, sky and wet road.

Planes of one channel each, (H, W) float32: everything that is alike in all channels is worked out once.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from abet.data.synthetic.camera import Floats
from abet.data.synthetic.canvas import Canvas, Surface
from abet.data.synthetic.ground import GroundMap
from abet.data.synthetic.sky import paint_sky
from abet.data.synthetic.textures import SIZE, atlas
from abet.data.synthetic.windows import paint_facades

_FAR_TEXTURE: Final = 14.0
"""Metres beyond which a texture on the ground fades: its texels become smaller than pixels."""
_PLAIN: Final = 384
"""Rows of the raster for which the blur of shadows is given in pixels."""

Index = npt.NDArray[np.intp]


def shade(canvas: Canvas, where: GroundMap, index: Index, rng: np.random.Generator) -> Floats:
    """(3, H, W) float32 in 0..1 at the raster's size; ``index`` (H, W) holds surface numbers."""
    table = _table(canvas)
    ground = table["ground"].take(index) > 0
    depth = np.where(ground, where.z, table["depth"].take(index))
    light = canvas.light
    rgb = np.stack([table[channel].take(index) for channel in "rgb"])
    paint_facades(canvas, index, rgb, depth)
    gain = _relief(canvas, table, index, where=where, ground=ground, depth=depth)
    gain *= _shadows(canvas, ground)
    mist = 1 / (1 + depth * np.float32(0.5 / light.visibility)) ** 2  # near e^-x, and much faster
    gain *= mist
    clear = 1 - mist
    rgb *= gain
    for channel, haze in enumerate(light.haze):
        rgb[channel] += clear * np.float32(haze)
    paint_sky(canvas, rgb, index == 0, rng)
    if light.wetness > 0:
        _mirror(canvas, rgb, ground, where)
    return np.asarray(np.clip(rgb, 0.0, 1.0, out=rgb))


def _table(canvas: Canvas) -> dict[str, Floats]:
    """The surface table as columns, colours under the scene's light."""
    rows = np.array(canvas.surfaces, np.float32)
    table = {name: np.ascontiguousarray(rows[:, place]) for place, name in enumerate(Surface._fields)}
    for channel, tint in zip("rgb", canvas.light.tint, strict=True):
        table[channel] *= np.where(table["lamp"] > 0, np.float32(1.0), np.float32(tint))
    return table


def _relief(
    canvas: Canvas, table: dict[str, Floats], index: Index, *, where: GroundMap, ground: npt.NDArray[np.bool_],
    depth: Floats,
) -> Floats:  # fmt: skip
    """Brightness from texture and gradient, (H, W)."""
    across, down = canvas.camera.grids()
    texels = table["texels"].take(index)
    near = np.minimum(depth, np.float32(1e3))
    u = np.where(ground, where.s, across * near) * texels
    v = np.where(ground, near, down * near) * texels
    tile = table["texture"].astype(np.intp).take(index) * (SIZE * SIZE)
    tile += (v.astype(np.int32) & (SIZE - 1)) * SIZE
    tile += u.astype(np.int32) & (SIZE - 1)
    pattern = atlas().ravel().take(tile)
    pattern *= table["amplitude"].take(index)
    pattern *= np.minimum(np.float32(1.0), np.where(ground, _FAR_TEXTURE, np.float32(3 * _FAR_TEXTURE)) / near)
    pattern += 1
    height, width = index.shape
    gradient = table["gx"].take(index) * np.arange(width, dtype=np.float32)[None, :]
    gradient += table["gy"].take(index) * np.arange(height, dtype=np.float32)[:, None]
    gradient += table["c"].take(index)
    pattern *= np.clip(gradient, 0.45, 1.6, out=gradient)
    return np.asarray(pattern, np.float32)


def _shadows(canvas: Canvas, ground: npt.NDArray[np.bool_]) -> Floats:
    """Factor of cast and contact shadows, (H, W); they lie on the ground alone."""
    scale = canvas.camera.height / _PLAIN
    factor = 1 - _blurred(canvas.cast, 1.0 * scale) * np.float32(canvas.light.shadow_depth / 255)
    factor *= 1 - _blurred(canvas.contact, 2.4 * scale) * np.float32(0.85 / 255)
    factor[~ground] = 1.0
    return factor


def _blurred(image: Image.Image, radius: float) -> Floats:
    return np.asarray(image.filter(ImageFilter.BoxBlur(radius)), np.float32)


def _mirror(canvas: Canvas, rgb: Floats, ground: npt.NDArray[np.bool_], where: GroundMap) -> None:
    """A wet road shows what stands above it, upside down about the horizon, more so at a distance."""
    camera = canvas.camera
    mirrored = np.clip((2 * camera.horizon - np.arange(camera.height)).round().astype(int), 0, camera.height - 1)
    share = np.float32(canvas.light.wetness) * np.clip(0.35 + where.z / 40, 0.0, 1.0) * ground
    kept = 1 - share * np.float32(1.1)
    reflection = rgb[:, mirrored]
    rgb *= kept
    rgb += reflection * share
