"""Small tileable patterns of zero mean that stand for brick, leaves, asphalt: the same ones for known and unseen."""

from enum import IntEnum
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SIZE: Final = 128
"""Texels per side; a power of two, so that wrapping is a bit mask."""


class Texture(IntEnum):
    """Row of the atlas."""

    PLAIN = 0
    GRAIN = 1
    BLOTCH = 2
    LEAVES = 3
    BRICK = 4
    PAVING = 5
    PLANKS = 6
    COBBLES = 7
    GRASS = 8
    CHECK = 9


@cache
def atlas() -> Floats:
    """(textures, SIZE, SIZE) float32 of zero mean and unit spread; read-only."""
    rng = np.random.default_rng(7)
    rows = {
        Texture.PLAIN: np.zeros((SIZE, SIZE)),
        Texture.GRAIN: smooth(rng.normal(size=(SIZE, SIZE)), 0.7) + 0.02 * fractal(rng),
        Texture.BLOTCH: fractal(rng),
        Texture.LEAVES: _leaves(rng),
        Texture.BRICK: _masonry(rng, high=8, wide=16, joint=1, shift=True),
        Texture.PAVING: _masonry(rng, high=16, wide=16, joint=1, shift=False),
        Texture.PLANKS: _planks(rng),
        Texture.COBBLES: _masonry(rng, high=8, wide=8, joint=2, shift=True),
        Texture.GRASS: smooth(rng.normal(size=(SIZE, SIZE)), (1.5, 0.5)),
        Texture.CHECK: _check(),
    }
    result = np.stack([_standard(rows[texture]) for texture in Texture]).astype(np.float32)
    result.setflags(write=False)
    return result


def smooth(field: npt.NDArray[np.float64], sigma: float | tuple[float, float]) -> npt.NDArray[np.float64]:
    """Gaussian smoothing of a tileable (h, w) field, by its Fourier transform (Gaussian of sigma texels)."""
    down, across = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    rows = np.fft.fftfreq(field.shape[0])[:, None]
    columns = np.fft.rfftfreq(field.shape[1])[None, :]
    gain = np.exp(-2 * np.pi**2 * ((down * rows) ** 2 + (across * columns) ** 2))
    return np.asarray(np.fft.irfft2(np.fft.rfft2(field) * gain, s=field.shape))


def fractal(rng: np.random.Generator, size: int = SIZE, octaves: int = 6) -> npt.NDArray[np.float64]:
    """Cloud-like noise: the amplitude of each octave is that of the next coarser one times 0.6."""
    total = np.zeros((size, size))
    for octave in range(octaves):
        layer = smooth(rng.normal(size=(size, size)), size / 6 / 2**octave)
        total += 0.6**octave * layer / layer.std()
    return total


def _standard(field: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    field = field - field.mean()
    return np.asarray(field / max(float(field.std()), 1e-6))


def _leaves(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Tufts with dark gaps between them."""
    coarse, fine = (smooth(rng.normal(size=(SIZE, SIZE)), sigma) for sigma in (5.0, 1.6))
    return np.tanh(1.3 * _standard(coarse)) + 0.9 * np.tanh(1.5 * _standard(fine))


def _masonry(rng: np.random.Generator, *, high: int, wide: int, joint: int, shift: bool) -> npt.NDArray[np.float64]:
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    course = rows // high
    columns = (columns + (course % 2) * (wide // 2) * int(shift)) % SIZE
    tone = rng.normal(size=(SIZE // high, SIZE // wide))[course, columns // wide]
    joints = (rows % high < joint) | (columns % wide < joint)
    return np.where(joints, -2.2, 0.55 * tone)


def _planks(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    columns = np.arange(SIZE)
    tone = 0.7 * rng.normal(size=SIZE // 8)[columns // 8] - 1.6 * (columns % 8 == 0)
    return np.asarray(tone[None, :] + 0.5 * _standard(smooth(rng.normal(size=(SIZE, SIZE)), (8.0, 0.6))))


def _check() -> npt.NDArray[np.float64]:
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    return np.asarray((rows // 8 % 2) + (columns // 8 % 2), np.float64)
