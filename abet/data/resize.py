"""Resizing the part of an image that a crop shows, and its label: only the source pixels under it are looked at.

No torch import.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from abet.data.images import ImageArray, IndexArray

_REACH: Final = 2
"""Pixels that the bicubic filter reaches on either side, at the coarser of the two resolutions."""


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


def bicubic_window(image: ImageArray, rows: Span, columns: Span) -> ImageArray:
    """What ``rows`` and ``columns`` show of an (H, W, 3) uint8 image that is resized as Pillow does it; read-only.

    That is Keys' cubic (IEEE Trans. ASSP 29, 1981) with a = -1/2, widened where the image shrinks. Equal to cutting it
    from the whole resized image, but for a grey level or two in a few pixels: Pillow takes places in single precision.
    """
    (down, top, bottom), (across, left, right) = _looked_at(rows), _looked_at(columns)
    window = Image.fromarray(image[down, across])
    size = (columns.stop - columns.start, rows.stop - rows.start)
    return np.asarray(window.resize(size, Image.Resampling.BICUBIC, box=(left, top, right, bottom)))


def _looked_at(span: Span) -> tuple[slice, float, float]:
    """The source pixels that the filter reaches, and where among them what is shown begins and ends."""
    first, end = (place * span.source / span.resized for place in (span.start, span.stop))
    reach = _REACH * max(1, span.source / span.resized)
    seen = slice(max(0, math.floor(first - reach)), min(span.source, math.ceil(end + reach)))
    return seen, first - seen.start, end - seen.start


def nearest_window(label: IndexArray, rows: Span, columns: Span) -> IndexArray:
    """What the crop shows of the label, each pixel from the source pixel that its centre lies in (integers: exact)."""
    return label[_nearest(rows)].take(_nearest(columns), axis=1)


def _nearest(span: Span) -> NDArray[np.int64]:
    places = np.arange(span.start, span.stop, dtype=np.int64)
    return (2 * places + 1) * span.source // (2 * span.resized)
