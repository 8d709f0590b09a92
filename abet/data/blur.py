"""A Gaussian blur of an image. No torch import."""

from typing import Final

from abet.data.images import ImageArray
from abet.data.opencv import keep_to_one_thread

_REACH: Final = 4.0
"""Standard deviations at which the Gaussian is cut, as scipy and scikit-image do by default."""


def blurred(image: ImageArray, sigma: float) -> ImageArray:
    """Blur (H, W, 3) uint8 by ``sigma`` pixels in both directions; 0 changes nothing.

    The outermost pixels go on outside. It is `skimage.filters.gaussian`, rounded to whole grey levels. A filter of any
    weights, because OpenCV's own GaussianBlur takes them in steps of 1/256, and strays by a level and a half.
    """
    radius = int(_REACH * sigma + 0.5)
    if radius == 0:
        return image
    keep_to_one_thread()
    import cv2

    weights = cv2.getGaussianKernel(2 * radius + 1, sigma)
    return cv2.sepFilter2D(image, cv2.CV_8U, weights, weights, borderType=cv2.BORDER_REPLICATE)  # type: ignore[return-value]
