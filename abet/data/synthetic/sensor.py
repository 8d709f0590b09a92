"""Lens and sensor: what a camera adds to a scene."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from abet.data.synthetic.camera import Floats


def develop(rgb: Floats, factor: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Area average by ``factor``, slight blur, vignette, contrast, noise: (3, H, W) in 0..1 to (h, w, 3) uint8."""
    fine = np.ascontiguousarray((rgb * np.float32(255) + np.float32(0.5)).astype(np.uint8).transpose(1, 2, 0))
    small = np.asarray(Image.fromarray(fine).reduce(factor), np.float32) / 255
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
    padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
    count = image.shape[axis]
    before, after = (np.take(padded, np.arange(start, start + count), axis=axis) for start in (0, 2))
    return np.asarray(image * (1 - weight) + (before + after) * (weight / 2), np.float32)
