"""The sky: gradient, glow around the sun, clouds."""

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from abet.data.synthetic.camera import Floats
from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.light import Light
from abet.data.synthetic.textures import fractal


def paint_sky(canvas: Canvas, rgb: Floats, seen: npt.NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Paint the sky into (3, H, W) ``rgb`` where it is seen (H, W)."""
    light, camera = canvas.light, canvas.camera
    start = rng.random(2)  # drawn whether the sky is seen or not, so that nothing after it depends on that
    rows = np.flatnonzero(seen.any(axis=1))
    if not rows.size:
        return
    height = int(rows[-1]) + 1
    mask = seen[:height]
    across, down = (grid[:height][mask] for grid in camera.grids())
    climb = np.clip(-down * np.float32(2.2), 0.0, 1.0) ** np.float32(0.7)
    glow = np.zeros_like(climb)
    if light.sun.z > 0.1:
        dx, dy = across - light.sun.x / light.sun.z, -down - light.sun.y / light.sun.z
        glow = np.exp(-(dx * dx + dy * dy) * np.float32(2.5)) * np.float32(0.5 * light.direct)
    cover = _clouds(start, camera.width, height, light)[mask]
    level = 1.08 * (0.6 + 0.4 * min(1.0, light.tint[1]))
    for plane, zenith, haze, warm in zip(rgb, light.zenith, light.haze, (1.0, 0.93, 0.75), strict=True):
        colour = np.float32(haze) + (np.float32(zenith) - np.float32(haze)) * climb + glow * np.float32(warm)
        colour += (np.float32(min(1.0, haze * level)) - colour) * cover
        plane[:height][mask] = colour


@cache
def _cloud_field() -> Floats:
    """(512, 512) float32 of zero mean and unit spread."""
    field = fractal(np.random.default_rng(11), 512)
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _clouds(start: npt.NDArray[np.float64], width: int, height: int, light: Light) -> Floats:
    """Cover per pixel in 0..0.9: a window of fractal noise, drawn out sideways."""
    field = _cloud_field()
    top, left = (start * [field.shape[0] - 96, field.shape[1] - 128]).astype(int).tolist()
    window = Image.fromarray(np.ascontiguousarray(field[top : top + 96, left : left + 128]))
    wide = np.asarray(window.resize((width, height), Image.Resampling.BILINEAR), np.float32)
    return np.asarray(np.clip((wide - np.float32(1.5 - 2.4 * light.clouds)) * np.float32(0.6), 0.0, 0.9))
