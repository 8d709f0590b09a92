"""A Gaussian blur of one colour plane at a time: shifted sums over flat arrays, some of which stay in the cache.

No torch import.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
"""(H, W) of one colour, 0 to 255."""

_REACH: Final = 4.0
"""Standard deviations at which the Gaussian is cut, as scipy and scikit-image do by default."""
_LEAST_WEIGHT: Final = 2e-4
"""Weights below it are left out: together less than a quarter of a grey level."""
_CHUNK: Final = 2**16
"""Pixels that are summed at a time."""


def kernel(sigma: float) -> NDArray[np.float32]:
    """Weights at distances 0, 1, ... of a Gaussian of ``sigma`` pixels; on both sides together they sum to 1."""
    radius = int(_REACH * sigma + 0.5)
    if radius == 0:
        return np.ones(1, np.float32)
    weights: NDArray[np.float64] = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    weights /= 2 * weights.sum() - weights[0]
    weights = weights[weights >= _LEAST_WEIGHT]
    weights /= 2 * weights.sum() - weights[0]
    return weights.astype(np.float32)


def blurred(plane: Plane, sigma: float) -> Plane:
    """``plane`` after a blur of ``sigma`` pixels in both directions, (H, W); 0: the plane itself.

    Its outermost pixels go on outside. Within half a grey level of `skimage.filters.gaussian`.
    """
    weights = kernel(sigma)
    reach = len(weights) - 1
    if reach == 0:
        return plane
    padded = _padded(plane, reach)
    height, stride = plane.shape[0], padded.shape[1]
    # Flat, rows run on into each other: what mixes two rows lies in the padding's columns, and is left there
    narrow = _summed(padded.ravel(), weights, 1)
    done = np.empty(height * stride, np.float32)
    valid = len(narrow) - 2 * reach * stride
    _summed(narrow, weights, stride, out=done[:valid])
    return done.reshape(height, stride)[:, : plane.shape[1]]


def _padded(plane: Plane, reach: int) -> Plane:
    height, width = plane.shape
    padded = np.empty((height + 2 * reach, width + 2 * reach), np.float32)
    inner = padded[reach : reach + height]
    inner[:, reach : reach + width] = plane
    inner[:, :reach], inner[:, reach + width :] = plane[:, :1], plane[:, -1:]
    padded[:reach], padded[reach + height :] = inner[0], inner[-1]
    return padded


def _summed(
    line: NDArray[np.float32], weights: NDArray[np.float32], stride: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Weighted sums of (n,) over neighbours ``stride`` apart, (n - 2 * taps * stride,)."""
    margin = (len(weights) - 1) * stride
    size = len(line) - 2 * margin
    out = np.empty(size, np.float32) if out is None else out
    pairs = np.empty(min(_CHUNK, size), np.float32)
    for start in range(0, size, _CHUNK):
        total = out[start : start + _CHUNK]
        part, pair = line[start : start + len(total) + 2 * margin], pairs[: len(total)]
        np.multiply(part[margin : margin + len(total)], weights[0], out=total)
        for away in range(1, len(weights)):
            before, after = margin - away * stride, margin + away * stride
            np.add(part[before : before + len(total)], part[after : after + len(total)], out=pair)
            pair *= weights[away]
            total += pair
    return out
