"""What `abet predict` found, drawn on the photograph: flagged pixels tinted, each region framed and named.

    write_png(path, draw_regions(photograph, score >= threshold, find_regions(...)))

Lines and letters grow with the picture, but never below what can be read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from abet.data.opencv import keep_to_one_thread
from abet.errors import DataError
from abet.report.render import Mask, Picture

TINT: Final = (213, 94, 0)
"""Of flagged pixels; the vermillion of false alarms in the report's viewer."""
TINT_OPACITY: Final = 0.45
FRAME_OUTSIDE, FRAME_INSIDE = (0, 0, 0), (86, 180, 233)
"""Dark beside light: one of them is seen on any ground."""
PLATE, INK = (0, 0, 0), (255, 255, 255)
SMALLEST_LETTERS: Final = 0.38
"""OpenCV's font scale; digits are 8 pixels high."""


@dataclass(frozen=True, kw_only=True)
class Plate:
    """A dark rectangle with light text, in whole pixels from the upper left corner of the picture."""

    text: str
    left: int
    top: int
    width: int
    height: int

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def draw_regions(picture: Picture, mask: Mask, regions: Sequence[Mapping[str, Any]]) -> Picture:
    """A copy of the picture with the mask tinted, and a frame and a text per region.

    The text is the region's place in the list (1 the first) and its mean score: ``2: -7.34``; the larger region lies
    on top. All of it is within the picture: where both do not fit, the number stands alone, and where that does not
    fit either (a picture of few pixels), nothing.

    Args:
        picture: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, the flagged pixels.
        regions: from `abet.regions.find_regions`, the largest first.

    Raises:
        DataError: picture and mask differ in size.
    """
    if picture.shape[:2] != mask.shape:
        raise DataError(f"picture and mask differ in size: {picture.shape[:2]} and {mask.shape} (rows, columns)")
    drawn = picture.copy()
    tinted = (1 - TINT_OPACITY) * picture[mask] + TINT_OPACITY * np.array(TINT, np.float32)
    drawn[mask] = np.rint(tinted).astype(np.uint8)
    for region in reversed(regions):
        _frame(drawn, region["box"])
    for plate in reversed(plates(mask.shape[0], mask.shape[1], regions)):
        _write(drawn, plate)
    return drawn


def plates(height: int, width: int, regions: Sequence[Mapping[str, Any]]) -> list[Plate]:
    """Where each region's text stands in a picture of this size, the largest region's first.

    Beside its box, where no earlier plate is: above, below, right, left, some lines further off or within. Where each
    place is taken, the number alone is tried, and at last stands under the others.
    """
    placed: list[Plate] = []
    taken = np.zeros((height, width), np.bool_)
    for number, region in enumerate(regions, start=1):
        mean = region["mean_score"]
        texts = (f"{number}: {'not finite' if mean is None else f'{mean:#.3g}'.rstrip('.')}", str(number))
        tried = [plate for text in texts for plate in _places(text, region["box"], height, width)]
        if tried:
            placed.append(next((plate for plate in tried if not taken[plate.pixels].any()), tried[-1]))
            taken[placed[-1].pixels] = True
    return placed


def _places(text: str, box: Sequence[int], height: int, width: int) -> Iterator[Plate]:
    """The places of a text beside a box, moved into the picture; none if the picture is smaller than the text."""
    x0, y0, x1, y1 = box
    wide, high = _extent(text, *_letters(height, width))
    if wide > width or high > height:
        return
    beside = ((x0, y0 - high), (x0, y1), (x1 - wide, y0 - high), (x1 - wide, y1), (x1, y0), (x0 - wide, y0))
    further = [(x0, y) for lines in (1, 2, 3) for y in (y0 - (lines + 1) * high, y1 + lines * high)]
    for x, y in (*beside, *further, (x0, y0)):
        left, top = min(max(x, 0), width - wide), min(max(y, 0), height - high)
        yield Plate(text=text, left=left, top=top, width=wide, height=high)


def _letters(height: int, width: int) -> tuple[float, int]:
    """OpenCV's font scale and the strokes' pixels: at 2048x1024 digits of 22 pixels."""
    scale = max(SMALLEST_LETTERS, min(height, width) / 1024)
    return scale, max(1, round(1.8 * scale))


def _extent(text: str, scale: float, thickness: int) -> tuple[int, int]:
    """Width and height of a text's plate in pixels: the letters and a rim of two strokes."""
    keep_to_one_thread()
    import cv2

    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    return width + 4 * thickness, height + 4 * thickness


def _write(drawn: Picture, plate: Plate) -> None:
    keep_to_one_thread()
    import cv2

    scale, thickness = _letters(*drawn.shape[:2])
    drawn[plate.pixels] = PLATE
    start = (plate.left + 2 * thickness, plate.top + plate.height - 2 * thickness)
    cv2.putText(drawn, plate.text, start, cv2.FONT_HERSHEY_SIMPLEX, scale, INK, thickness, cv2.LINE_AA)


def _frame(drawn: Picture, box: Sequence[int]) -> None:
    """Two lines within the box, the dark one outside."""
    x0, y0, x1, y1 = box
    line = max(1, round(min(drawn.shape[:2]) / 400))
    for colour in (FRAME_OUTSIDE, FRAME_INSIDE):
        inside = drawn[y0:y1, x0:x1]
        for edge in (inside[:line], inside[-line:], inside[:, :line], inside[:, -line:]):
            edge[:] = colour
        x0, y0, x1, y1 = x0 + line, y0 + line, x1 - line, y1 - line
        if x0 >= x1 or y0 >= y1:
            return
