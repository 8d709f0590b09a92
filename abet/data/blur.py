"""A Gaussian blur of an image that comes block by block: shifted sums over arrays that stay in the cache.

No torch import.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from abet.data.resize import Planes

_REACH: Final = 4.0
"""Standard deviations at which the Gaussian is cut, as scipy and scikit-image do by default."""
_LEAST_WEIGHT: Final = 2e-4
"""Weights below it are left out: together less than a quarter of a grey level."""


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


def blurred(blocks: Iterable[Planes], sigma: float) -> Iterator[Planes]:
    """Blur an image by ``sigma`` pixels in both directions; 0 changes nothing.

    Blocks (3, h, W) of its rows come and go in their order, but not with the same number of rows. The outermost pixels
    go on outside. Within half a grey level of `skimage.filters.gaussian`.
    """
    weights = kernel(sigma)
    reach = len(weights) - 1
    if reach == 0:
        yield from blocks
        return
    held: Planes | None = None
    width = 0
    for block in blocks:
        width = block.shape[2]
        rows = _along_rows(block, weights)
        held = np.concatenate([rows[:, :1]] * reach + [rows] if held is None else [held, rows], axis=1)
        if held.shape[1] > 2 * reach:
            yield _down_columns(held, weights)[:, :, :width]
            held = held[:, -2 * reach :]
    if held is not None:
        yield _down_columns(np.concatenate([held] + [held[:, -1:]] * reach, axis=1), weights)[:, :, :width]


def _along_rows(block: Planes, weights: NDArray[np.float32]) -> Planes:
    """Every row blurred: (3, h, W + 2 * taps), of which the last columns mean nothing."""
    height, width = block.shape[1:]
    reach = len(weights) - 1
    padded = np.empty((3, height, width + 2 * reach), np.float32)
    padded[:, :, reach : reach + width] = block
    padded[:, :, :reach], padded[:, :, reach + width :] = block[:, :, :1], block[:, :, -1:]
    # Flat, rows run on into each other: sums that mix two of them are those of the last columns
    line = padded.ravel()
    done = np.empty_like(padded)
    total = done.ravel()[: line.size - 2 * reach]
    _sum(line, total, weights)
    done.ravel()[total.size :] = 0
    return done


def _down_columns(rows: Planes, weights: NDArray[np.float32]) -> Planes:
    """Every column blurred: (3, h - 2 * taps, W)."""
    reach = len(weights) - 1
    total = np.empty((3, rows.shape[1] - 2 * reach, rows.shape[2]), np.float32)
    _sum(rows.swapaxes(0, 1), total.swapaxes(0, 1), weights)
    return total


def _sum(values: NDArray[np.float32], total: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
    """Into ``total``, along the first axis, the weighted sums of what lies up to so many places before and after."""
    reach, size = len(weights) - 1, len(total)
    np.multiply(values[reach : reach + size], weights[0], out=total)
    pairs = np.empty_like(total)
    for away in range(1, reach + 1):
        before, after = reach - away, reach + away
        np.add(values[before : before + size], values[after : after + size], out=pairs)
        pairs *= weights[away]
        total += pairs
