"""Lens and sensor: what a camera adds to a scene."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from abet.data.synthetic.camera import Floats


def develop(rgb: Floats, factor: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """(3, H, W) in 0..1 to (h, w, 3) uint8: area average by ``factor``, exposure, blur, vignette, contrast, noise."""
    levels = (rgb * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    small: Floats = np.stack(
        [np.asarray(Image.fromarray(plane).reduce(factor), np.float32) for plane in levels]
    ) / np.float32(255)
    # automatic exposure, which no camera gets quite right
    small *= np.float32(np.clip((rng.uniform(0.38, 0.5) / max(float(small.mean()), 0.05)) ** 0.75, 0.7, 2.2))
    height, width = small.shape[1:]
    blur = np.float32(rng.uniform(0.0, 0.22))
    small = _soften(_soften(small, blur, 1), blur, 2)
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    small *= (1 - rng.uniform(0.0, 0.16) * (rows**2 + columns**2)).astype(np.float32)
    contrast, level = rng.uniform(0.88, 1.15), rng.uniform(-0.03, 0.03)
    small = (small - np.float32(0.45)) * np.float32(contrast) + np.float32(0.45 + level)
    small += _noise(rng, small.shape) * np.float32(rng.uniform(0.008, 0.025))
    for plane, gain in zip(small, (1 + rng.normal(0, 0.03, 3)).tolist(), strict=True):
        np.multiply(plane, np.float32(255 * gain), out=plane)
    finished = np.clip(small + np.float32(0.5), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(finished.transpose(1, 2, 0))


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Unit variance, the sum of two uniform variables: nearly a bell, at a tenth of the time."""
    first, second = rng.integers(0, 256, (2, *shape), dtype=np.uint8).astype(np.float32)
    return np.asarray((first + second - 255) * np.float32(np.sqrt(6) / 256))


def _soften(image: Floats, weight: np.float32, axis: int) -> Floats:
    """Mix each pixel with its two neighbours along an axis; edge pixels with themselves."""
    view = image.swapaxes(0, axis)
    result = view * (1 - weight)
    result[1:] += view[:-1] * (weight / 2)
    result[:-1] += view[1:] * (weight / 2)
    result[[0, -1]] += view[[0, -1]] * (weight / 2)
    return np.asarray(result.swapaxes(0, axis))
