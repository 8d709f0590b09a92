"""Colour jitter of a crop. Every step rounds to whole grey levels, as in the reference. No torch import."""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from abet.data.images import ImageArray
from abet.data.opencv import keep_to_one_thread

Step = tuple[str, float]
"""A step of `NEUTRAL` by name, and its factor or, for the hue, its turns."""

NEUTRAL: Final[dict[str, float]] = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
"""Colour steps by the name that the configuration uses, with the amount that changes nothing."""

LUMA: Final = np.array([0.299, 0.587, 0.114])
"""Shares of red, green and blue in a grey level (ITU-R BT.601, as Pillow)."""


def jittered(image: ImageArray, steps: Iterable[Step]) -> ImageArray:
    """Apply ``steps`` one after another to an (H, W, 3) uint8 image, which stays as it is.

    Each is a blend of two images or a turn of the hue, rounded to the nearest grey level and cut to 0 to 255.
    """
    for name, amount in steps:
        if amount != NEUTRAL[name]:
            image = _STEPS[name](image, amount)
    return image


def brightness(image: ImageArray, factor: float) -> ImageArray:
    """Blend with black: factor 1 changes nothing, 0 is black."""
    return _linear(image, factor * np.eye(3), 0.0)


def contrast(image: ImageArray, factor: float) -> ImageArray:
    """Blend with the mean grey level: factor 1 changes nothing, 0 leaves that alone."""
    keep_to_one_thread()
    import cv2

    mean = float(LUMA @ cv2.mean(image)[:3])
    return _linear(image, factor * np.eye(3), (1 - factor) * mean)


def saturation(image: ImageArray, factor: float) -> ImageArray:
    """Blend with the grey image: factor 1 changes nothing, 0 leaves no colour."""
    return _linear(image, factor * np.eye(3) + (1 - factor) * LUMA, 0.0)


def _linear(image: ImageArray, matrix: NDArray[np.float64], offset: float) -> ImageArray:
    """``matrix`` times (red, green, blue) plus ``offset``, within three quarters of a grey level of exact."""
    keep_to_one_thread()
    import cv2

    return cv2.transform(image, np.column_stack([matrix, np.full(3, offset)]))  # type: ignore[return-value]


def hue(image: ImageArray, turns: float) -> ImageArray:
    """Turn every hue by ``turns`` of HSV's colour circle (Smith, SIGGRAPH 1978); 1/3 makes red green.

    In bytes of hue, saturation and value, as in the reference: strong colours stray by up to a dozen grey levels from
    an exact turn, less than one on the average; Pillow, whose circle has 255 steps for 256 values, by somewhat more.
    """
    keep_to_one_thread()
    import cv2

    circle = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    turn = np.zeros((image.shape[1], 3), np.uint8)
    turn[:, 0] = round(turns * 256) % 256
    circle += turn  # a whole row each, which is faster than every third byte; bytes wrap as hues do
    return cv2.cvtColor(circle, cv2.COLOR_HSV2RGB_FULL)  # type: ignore[return-value]


_STEPS: Final[dict[str, Callable[[ImageArray, float], ImageArray]]] = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
}
