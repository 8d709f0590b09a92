"""Resizing the part of an image that a crop shows, and its label.

Bicubic, as Pillow does it: first the columns, then the rows. Each is a product with a band matrix. Neighbouring outputs
look at nearly the same inputs, so a few of them at a time are one dense product, which BLAS does faster than a loop
over taps, although a third or more of its weights are zero. No torch import.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from abet.data.images import ImageArray, IndexArray

Planes = NDArray[np.float32]
"""(3, H, W) red, green and blue from 0 to 255, which is what colours are changed in: rounded at the very end."""

_REACH: Final = 2.0
"""Pixels that the bicubic filter reaches on either side, at the coarser of the two resolutions."""
_TILE: Final = 24
"""Outputs of one product, at most: with fewer the calls weigh more, with more the zeros."""
_PRODUCT_LIMIT: Final = 2**18
"""Multiplications of one product, at most: for larger ones OpenBLAS starts threads, and cores run loaders already."""

_SAMPLE_PIXELS: Final = 2**16
"""Pixels of a sample, at least, where there are as many."""


class Span(NamedTuple):
    """What a crop shows along one axis: pixels ``start`` to ``stop`` of the resized image, from ``offset`` on."""

    source: int
    """Pixels of the original image."""
    resized: int
    """Pixels of the image after scaling."""
    start: int
    stop: int
    offset: int
    """First pixel of the crop that shows the image; those before and after are padding."""

    @property
    def place(self) -> slice:
        """Where in the crop the image shows."""
        return slice(self.offset, self.offset + self.stop - self.start)


class Band(NamedTuple):
    """A filter along one axis: outputs ``at[t]`` to ``at[t + 1]`` are ``weights[t]`` times inputs from ``first[t]``."""

    at: list[int]
    first: list[int]
    weights: list[NDArray[np.float32]]
    """Per tile (outputs, inputs)."""

    @property
    def inputs(self) -> slice:
        """All that are looked at."""
        ends = (first + weights.shape[1] for first, weights in zip(self.first, self.weights, strict=True))
        return slice(min(self.first), max(ends))

    def moved(self, places: int) -> Self:
        """The same filter of inputs that begin ``places`` later."""
        return self._replace(first=[first - places for first in self.first])

    def tiles(self) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
        """Per tile its outputs, its inputs and the weights."""
        for start, stop, first, weights in zip(self.at, self.at[1:], self.first, self.weights, strict=False):
            yield slice(start, stop), slice(first, first + weights.shape[1]), weights


def bicubic(span: Span) -> Band:
    """The filter from the source to what ``span`` shows.

    Keys' cubic (IEEE Trans. ASSP 29, 1981) with a = -1/2, widened where the image shrinks. Inputs outside the image are
    left out, and the weights of an output sum to 1 (as in Pillow).
    """
    step = span.source / span.resized
    width = max(1.0, step)
    centres = (np.arange(span.start, span.stop) + 0.5) * step
    taps = np.arange(int(2 * _REACH * width) + 2)
    inputs = np.floor(centres - _REACH * width + 0.5).astype(np.int64)[:, None] + taps
    weights = _cubic(np.abs(inputs + 0.5 - centres[:, None]) / width)
    weights[(inputs < 0) | (inputs >= span.source)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return _tiled(inputs.clip(0, span.source - 1), weights)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _tiled(inputs: NDArray[np.int64], weights: NDArray[np.float64]) -> Band:
    """From (outputs, taps) inputs and their weights; tiles differ by one output at most, so that none is a sliver."""
    tiles = -(-len(inputs) // _TILE)
    at = [len(inputs) * tile // tiles for tile in range(tiles + 1)]
    first, dense = [], []
    for start, stop in pairwise(at):
        part = inputs[start:stop]
        lowest = int(part.min())
        block = np.zeros((stop - start, int(part.max()) - lowest + 1))
        np.add.at(block, (np.arange(stop - start)[:, None], part - lowest), weights[start:stop])
        first.append(lowest)
        dense.append(block.astype(np.float32))
    return Band(at, first, dense)


def resized_blocks(image: ImageArray, rows: Span, columns: Span) -> Iterator[Planes]:
    """Resize what ``rows`` and ``columns`` show of an (H, W, 3) image: (3, h, W) blocks of its rows, from the top.

    Clipped to 0 to 255 after columns and after rows. Within a grey level of Pillow, which also rounds at both places;
    the last bits depend on the processor. A block is new, and still in the processor's cache.
    """
    down, across = bicubic(rows), bicubic(columns)
    narrow = _narrowed(image[down.inputs, across.inputs], across.moved(across.inputs.start))
    for outputs, inputs, weights in down.moved(down.inputs.start).tiles():
        block = np.empty((3, outputs.stop - outputs.start, narrow.shape[2]), np.float32)
        step = max(1, _PRODUCT_LIMIT // weights.size)
        for left in range(0, narrow.shape[2], step):
            shown = slice(left, left + step)
            np.matmul(weights, narrow[:, inputs, shown], out=block[:, :, shown])
        yield np.clip(block, 0, 255, out=block)


def sampled_window(image: ImageArray, rows: Span, columns: Span) -> Planes:
    """Pixels of what ``rows`` and ``columns`` show, evenly spread, before resizing: at most some 100,000."""
    down, across = _covered(rows), _covered(columns)
    pixels = (down.stop - down.start) * (across.stop - across.start)
    step = max(1, math.isqrt(pixels // _SAMPLE_PIXELS))
    shown = image[down.start : down.stop : step, across.start : across.stop : step]
    return np.ascontiguousarray(shown.transpose(2, 0, 1), dtype=np.float32)


def _covered(span: Span) -> slice:
    """The source pixels under what is shown, from the first to the last."""
    return slice(span.start * span.source // span.resized, -(-span.stop * span.source // span.resized))


def _narrowed(image: ImageArray, across: Band) -> Planes:
    """The columns' half: (H, W, 3) uint8 to (3, H, outputs), some rows at a time."""
    height, width = image.shape[:2]
    narrow = np.empty((3, height, across.at[-1]), np.float32)
    step = max(1, _PRODUCT_LIMIT // max(weights.size for weights in across.weights))
    planes = np.empty((3, min(step, height), width), np.float32)
    for top in range(0, height, step):
        part, target = image[top : top + step], narrow[:, top : top + step]
        filled = planes[:, : len(part)]
        np.copyto(filled, part.transpose(2, 0, 1))
        for outputs, inputs, weights in across.tiles():
            np.matmul(filled[:, :, inputs], weights.T, out=target[:, :, outputs])
        np.clip(target, 0, 255, out=target)
    return narrow


def nearest_window(label: IndexArray, rows: Span, columns: Span) -> IndexArray:
    """What the crop shows of the label, each pixel from the source pixel that its centre lies in (integers: exact)."""
    return label[_nearest(rows)].take(_nearest(columns), axis=1)


def _nearest(span: Span) -> NDArray[np.int64]:
    places = np.arange(span.start, span.stop, dtype=np.int64)
    return (2 * places + 1) * span.source // (2 * span.resized)
