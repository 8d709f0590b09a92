"""Joint augmentation of a training image and its label: scale, crop, flip, colours, blur (reference behaviour's order).

Every random number is drawn first, ten of them whatever the configuration, so that switching one step off leaves the
others as they were. The steps after that are pure functions. No torch import.
"""

from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from abet.config import AugmentationConfig
from abet.data.blur import blurred
from abet.data.colours import Step, jittered
from abet.data.images import ImageArray, IndexArray
from abet.data.opencv import keep_to_one_thread
from abet.data.resize import Span, bicubic_window, nearest_window
from abet.labels import IGNORE


class Choices(NamedTuple):
    """What is done to one sample. ``top`` and ``left`` are places in [0, 1) among the crops that are possible."""

    scale: float
    top: float
    left: float
    flip: bool
    colours: tuple[Step, ...]
    """In the order of their use."""
    blur_sigma: float
    """Standard deviation, in pixels of the crop."""


def augment(
    image: ImageArray,
    label: IndexArray,
    rng: np.random.Generator,
    config: AugmentationConfig,
    centroid: tuple[int, int] | None = None,
    *,
    quirk_unshifted_centroid: bool = False,
) -> tuple[ImageArray, IndexArray]:
    """One random crop, and its label, of (crop_height, crop_width) pixels: new, contiguous arrays.

    Args:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8 train ids and IGNORE.
        rng: advanced by ten numbers.
        config: ranges of the scale, of the colours and of the blur, and the size of the crop.
        centroid: (x, y) in pixels of ``image`` that the crop shall contain; None: it may lie anywhere.
        quirk_unshifted_centroid: see `crop_span`.

    Returns:
        (crop_height, crop_width, 3) uint8, black where an image is smaller than the crop, and
        (crop_height, crop_width) uint8, IGNORE there.
    """
    choices = choose(rng, config)
    return apply(image, label, choices, config, centroid, quirk_unshifted_centroid=quirk_unshifted_centroid)


def choose(rng: np.random.Generator, config: AugmentationConfig) -> Choices:
    """Draw everything that is random about one sample: ten uniform numbers, always."""
    scale, top, left, flip, order, brightness, contrast, saturation, hue, blur = rng.random(10).tolist()
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
        blur_sigma=config.blur_sigma_min + blur * (config.blur_sigma_max - config.blur_sigma_min),
    )


def apply(
    image: ImageArray,
    label: IndexArray,
    choices: Choices,
    config: AugmentationConfig,
    centroid: tuple[int, int] | None = None,
    *,
    quirk_unshifted_centroid: bool = False,
) -> tuple[ImageArray, IndexArray]:
    """The crop that ``choices`` describe; see `augment`.

    What differs from the reference: it pads first, so that padding has a part in the mean that contrast refers to,
    takes its contrast and is blurred into the picture. Here padding comes last and stays black. And it cuts to whole
    grey levels after every step, which darkens by half of one each time; here they are rounded.
    """
    assert image.dtype == label.dtype == np.uint8, (image.dtype, label.dtype)
    assert image.shape == (*label.shape, 3), (image.shape, label.shape)
    (height, width), (x, y) = label.shape, centroid or (None, None)
    quirk = {"quirk_unshifted_centroid": quirk_unshifted_centroid}
    rows = crop_span(height, choices.scale, config.crop_height, choices.top, y, **quirk)
    columns = crop_span(width, choices.scale, config.crop_width, choices.left, x, **quirk)
    shown = bicubic_window(image, rows, columns)
    shown = blurred(jittered(shown, choices.colours), choices.blur_sigma)
    cropped = np.zeros((config.crop_height, config.crop_width, 3), np.uint8)
    classes = np.full(cropped.shape[:2], IGNORE, np.uint8)
    cropped[rows.place, columns.place] = shown
    classes[rows.place, columns.place] = nearest_window(label, rows, columns)
    return (mirrored(cropped), mirrored(classes)) if choices.flip else (cropped, classes)


def mirrored(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Left and right exchanged: a new, contiguous array. (numpy takes 30 times as long for (H, W, 3).)"""
    keep_to_one_thread()
    import cv2

    return cv2.flip(pixels, 1)  # type: ignore[return-value]


def crop_span(
    source: int,
    scale: float,
    crop: int,
    place: float,
    centroid: int | None = None,
    *,
    quirk_unshifted_centroid: bool = False,
) -> Span:
    """Where a crop of ``crop`` pixels lies along an axis of ``source`` pixels; ``place`` is in [0, 1).

    A side that is short after scaling is padded at both ends by half of what is missing plus one, as the reference
    does, so that the crop has a choice there too and never cuts the image.

    Without a centroid every start is equally likely. With one, at pixel c of the source, the start is a whole number
    between c * scale - crop and c * scale, ends included, moved into the image where it lies outside. So the crop
    contains it, but for one start in ``crop`` + 1 that lets it end just before. The reference forgets that padding
    moves the centroid (``quirk_unshifted_centroid`` does too).
    """
    resized = max(1, int(source * scale))
    padding = (crop - resized) // 2 + 1 if resized < crop else 0
    last = resized + 2 * padding - crop
    if centroid is None:
        first = int(place * (last + 1))
    else:
        assert 0 <= centroid < source, (centroid, source)
        centre = int(centroid * scale) + (0 if quirk_unshifted_centroid else padding)
        first = min(max(centre - crop + int(place * (crop + 1)), 0), last)
    first -= padding
    return Span(source, resized, max(0, first), min(resized, first + crop), max(0, -first))
