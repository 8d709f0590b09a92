"""Lens and sensor: what a camera adds to a scene."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from abet.data.synthetic.camera import Floats


def develop(rgb: Floats, factor: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """(3, H, W) in 0..1 to (h, w, 3) uint8: area average by ``factor``, exposure, blur, vignette, contrast, noise."""
    levels = (rgb * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    planes = [Image.fromarray(plane) for plane in levels]
    small: Floats = np.asarray(Image.merge("RGB", [plane.reduce(factor) for plane in planes]), np.float32) / np.float32(
        255
    )
    # automatic exposure, which no camera gets quite right
    small *= np.float32(np.clip((rng.uniform(0.38, 0.5) / max(float(small.mean()), 0.05)) ** 0.75, 0.7, 2.2))
    height, width = small.shape[:2]
    blur = np.float32(rng.uniform(0.0, 0.22))
    small = _soften(_soften(small, blur, 0), blur, 1)
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    small *= (1 - rng.uniform(0.0, 0.16) * (rows**2 + columns**2))[..., None].astype(np.float32)
    contrast, level = rng.uniform(0.88, 1.15), rng.uniform(-0.03, 0.03)
    balance = 1 + rng.normal(0, 0.025, 3)
    small = ((small - 0.45) * np.float32(contrast) + np.float32(0.45 + level)) * balance.astype(np.float32)
    sigma = rng.uniform(0.008, 0.025)
    small += rng.standard_normal(small.shape, dtype=np.float32) * np.float32(sigma)
    return np.asarray(np.clip(small * 255 + 0.5, 0, 255), np.uint8)


def _soften(image: Floats, weight: np.float32, axis: int) -> Floats:
    """Mix each pixel with its two neighbours along an axis."""
    view = image.swapaxes(0, axis)
    result = view * (1 - weight)
    result[1:] += view[:-1] * (weight / 2)
    result[:-1] += view[1:] * (weight / 2)
    result[[0, -1]] += view[[0, -1]] * (weight / 2)
    return result.swapaxes(0, axis)
