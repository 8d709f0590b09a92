"""Joint augmentation of a training image and its label: scale, crop, flip, colours (reference behaviour's order).

Every random number is drawn first, nine of them whatever the configuration, so that switching one step off leaves the
others as they were. The steps after that are pure functions. No torch import.
"""

from collections.abc import Callable
from itertools import permutations
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from abet.config import AugmentationConfig
from abet.data.images import ImageArray, IndexArray
from abet.labels import IGNORE

_BICUBIC_REACH: Final = 2.0
"""Pixels that Pillow's bicubic filter reaches on either side, at the coarser of the two resolutions."""
_HUE_TABLE_SIZE: Final = 17
"""Points per axis of the colour table: within 5 grey levels of the exact shift, where HSV in bytes is within 9."""


class Choices(NamedTuple):
    """What is done to one sample. ``top`` and ``left`` are places in [0, 1) among the crops that are possible."""

    scale: float
    top: float
    left: float
    flip: bool
    colours: tuple[tuple[str, float], ...]
    """Steps of `COLOUR_STEPS` by name in the order of their use, each with its factor or, for the hue, its turns."""


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


def augment(
    image: ImageArray,
    label: IndexArray,
    rng: np.random.Generator,
    config: AugmentationConfig,
    centroid: tuple[int, int] | None = None,
    *,
    centroid_unmoved: bool = False,
) -> tuple[ImageArray, IndexArray]:
    """One random crop, and its label, of (crop_height, crop_width) pixels: new, contiguous arrays.

    Args:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8 train ids and IGNORE.
        rng: advanced by nine numbers.
        config: ranges of the scale, of the colours, and the size of the crop.
        centroid: (x, y) in pixels of the image that the crop shows; None: it may lie anywhere.
        centroid_unmoved: look for it where it was before padding (a slip of the reference).

    Returns:
        (crop_height, crop_width, 3) uint8, black where an image is smaller than the crop, and
        (crop_height, crop_width) uint8, IGNORE there.
    """
    return apply(image, label, choose(rng, config), config, centroid, centroid_unmoved=centroid_unmoved)


def choose(rng: np.random.Generator, config: AugmentationConfig) -> Choices:
    """Draw everything that is random about one sample: nine uniform numbers, always."""
    scale, top, left, flip, order, brightness, contrast, saturation, hue = rng.random(9).tolist()
    amounts = {
        "brightness": 1 + config.brightness * (2 * brightness - 1),
        "contrast": 1 + config.contrast * (2 * contrast - 1),
        "saturation": 1 + config.saturation * (2 * saturation - 1),
        "hue": config.hue * (2 * hue - 1),
    }
    orders = tuple(permutations(amounts.items()))
    return Choices(
        scale=config.scale_min + scale * (config.scale_max - config.scale_min),
        top=top,
        left=left,
        flip=flip < config.flip_probability,
        colours=orders[int(order * len(orders))],
    )


def apply(
    image: ImageArray,
    label: IndexArray,
    choices: Choices,
    config: AugmentationConfig,
    centroid: tuple[int, int] | None = None,
    *,
    centroid_unmoved: bool = False,
) -> tuple[ImageArray, IndexArray]:
    """The crop that ``choices`` describe; see `augment`.

    Colours change before the padding is added: it stays black and takes no part in the mean that contrast refers to.
    """
    assert image.dtype == label.dtype == np.uint8, (image.dtype, label.dtype)
    assert image.shape == (*label.shape, 3), (image.shape, label.shape)
    x, y = centroid or (None, None)
    rows, columns = (
        crop_span(source, choices.scale, crop, place, around, unmoved=centroid_unmoved)
        for source, crop, place, around in (
            (label.shape[0], config.crop_height, choices.top, y),
            (label.shape[1], config.crop_width, choices.left, x),
        )
    )
    shown = jitter_colours(resized_window(image, rows, columns), choices.colours)
    size = (config.crop_height, config.crop_width)
    cropped = pad(np.array(shown), size, rows, columns, fill=0)
    classes = pad(nearest_window(label, rows, columns), size, rows, columns, fill=IGNORE)
    if choices.flip:
        cropped, classes = cropped[:, ::-1], classes[:, ::-1]
    return np.ascontiguousarray(cropped), np.ascontiguousarray(classes)


def crop_span(
    source: int, scale: float, crop: int, place: float, around: int | None = None, *, unmoved: bool = False
) -> Span:
    """Where a crop of ``crop`` pixels lies along an axis of ``source`` pixels; ``place`` is in [0, 1).

    A side that is short after scaling is padded at both ends by half of what is missing plus one, as the reference
    does, so that the crop has a choice there too and never cuts the image. With ``around``, a pixel of the source, the
    crop begins at most its own length before that pixel, and ends within the image. ``unmoved``: see `augment`.
    """
    resized = max(1, int(source * scale))
    padding = (crop - resized) // 2 + 1 if resized < crop else 0
    room = resized + 2 * padding - crop
    if around is None:
        first = int(place * (room + 1))
    else:
        centre = int(around * scale) + (0 if unmoved else padding)
        first = min(max(centre - crop + int(place * (crop + 1)), 0), room)
    first -= padding
    return Span(source, resized, max(0, first), min(resized, first + crop), max(0, -first))


def resized_window(image: ImageArray, rows: Span, columns: Span) -> Image.Image:
    """What the crop shows of the bicubically resized image, without resizing the rest of it.

    Only the source pixels that the filter reaches are looked at. Equal to resizing the whole and cropping up to one
    grey level, since Pillow takes the window's place as float32.
    """
    (top, bottom, first_row, last_row), (left, right, first_column, last_column) = _reach(rows), _reach(columns)
    window = Image.fromarray(np.ascontiguousarray(image[first_row:last_row, first_column:last_column]))
    size = (columns.stop - columns.start, rows.stop - rows.start)
    box = (left - first_column, top - first_row, right - first_column, bottom - first_row)
    return window.resize(size, Image.Resampling.BICUBIC, box=box)


def _reach(span: Span) -> tuple[float, float, int, int]:
    """Where the window begins and ends in the source, and the whole source pixels that the filter needs for it."""
    step = span.source / span.resized
    start, stop = span.start * step, span.stop * step
    margin = _BICUBIC_REACH * max(1.0, step) + 1
    return start, stop, max(0, int(start - margin)), min(span.source, int(stop + margin) + 1)


def nearest_window(label: IndexArray, rows: Span, columns: Span) -> IndexArray:
    """What the crop shows of the label, each pixel from the source pixel that its centre lies in (integers: exact)."""
    return label[_nearest(rows)].take(_nearest(columns), axis=1)


def _nearest(span: Span) -> NDArray[np.int64]:
    places = np.arange(span.start, span.stop, dtype=np.int64)
    return (2 * places + 1) * span.source // (2 * span.resized)


def pad(window: NDArray[np.uint8], size: tuple[int, int], rows: Span, columns: Span, fill: int) -> NDArray[np.uint8]:
    """A crop of ``size`` (height, width) that shows ``window``, and ``fill`` around it."""
    if window.shape[:2] == size:
        return window
    canvas = np.full((*size, *window.shape[2:]), fill, dtype=np.uint8)
    height, width = window.shape[:2]
    canvas[rows.offset : rows.offset + height, columns.offset : columns.offset + width] = window
    return canvas


def jitter_colours(image: Image.Image, steps: tuple[tuple[str, float], ...]) -> Image.Image:
    """Apply steps of `COLOUR_STEPS` one after another, each with its amount."""
    for name, amount in steps:
        image = COLOUR_STEPS[name](image, amount)
    return image


def brightness(image: Image.Image, factor: float) -> Image.Image:
    """Blend with black: factor 1 changes nothing, 0 is black."""
    return image if factor == 1 else ImageEnhance.Brightness(image).enhance(factor)


def contrast(image: Image.Image, factor: float) -> Image.Image:
    """Blend with the image's mean grey: factor 1 changes nothing."""
    return image if factor == 1 else ImageEnhance.Contrast(image).enhance(factor)


def saturation(image: Image.Image, factor: float) -> Image.Image:
    """Blend with the grey image: factor 1 changes nothing, 0 leaves no colour."""
    return image if factor == 1 else ImageEnhance.Color(image).enhance(factor)


def hue(image: Image.Image, turns: float) -> Image.Image:
    """Turn every hue by ``turns`` of HSV's colour circle; 1/3 makes red green. Interpolated in a table of colours."""
    if turns == 0:
        return image
    axis = np.linspace(0, 1, _HUE_TABLE_SIZE)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")  # red runs fastest, as Pillow wants it
    table = turn_hue(np.stack([red, green, blue], axis=-1), turns)
    return image.filter(ImageFilter.Color3DLUT(_HUE_TABLE_SIZE, table.astype(np.float32).ravel()))


def turn_hue(rgb: NDArray[np.float64], turns: float) -> NDArray[np.float64]:
    """(..., 3) colours in [0, 1] with their HSV hue turned, saturation and value kept (Smith, SIGGRAPH 1978)."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    value = rgb.max(axis=-1)
    chroma = value - rgb.min(axis=-1)
    unit = np.where(chroma == 0, 1, chroma)
    sextants = np.where(
        value == red,
        (green - blue) / unit,
        np.where(value == green, (blue - red) / unit + 2, (red - green) / unit + 4),
    )
    # A channel loses nothing within a sextant of its own hue, all chroma beyond two, and falls linearly between
    places = (np.array([5.0, 3.0, 1.0]) + sextants[..., None] + 6 * turns) % 6
    turned: NDArray[np.float64] = value[..., None] - chroma[..., None] * np.clip(np.minimum(places, 4 - places), 0, 1)
    return turned


COLOUR_STEPS: Final[dict[str, Callable[[Image.Image, float], Image.Image]]] = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
}
"""Colour steps by the name that the configuration uses."""
