"""Logits of a whole image from windows of it, at several scales, flipped and not: what the published mIoU is taken by.

    inference = Inference(crop_pixels=1024, scales=(0.5, 1.0, 2.0), flip=True)
    classes = averaged_logits(network, image, inference).argmax(0)

The reference counts how often a pixel was seen in an array (class, row, column) that it indexes [row, column], so its
counts are wrong. All classes of a pixel share the error, which leaves the arg-max at one scale as it is; over several
scales it weighs them wrongly. Here each pixel is divided by the number of windows that hold it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from abet.data.images import ImageArray
from abet.errors import UsageError

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels: columns x1 to x2 - 1 of rows y1 to y2 - 1."""
Network = Callable[[ImageArray], Tensor]
"""(H, W, 3) uint8 RGB -> (C, H, W) float32 logits, on any device."""
LEAST_SCALE: Final = 0.1
LARGEST_SCALE: Final = 8.0
"""At more an image of two megapixels takes more memory than any machine has; at less nothing is left of it."""
OVERLAP: Final = 1 / 3
"""Share of a window that the next one shows again (reference behaviour)."""
CROP_PIXELS: Final = 1024
"""Side of a window (reference behaviour)."""


@dataclass(frozen=True, kw_only=True)
class Inference:
    """How an image is shown to the network. The default is once, whole, as it is."""

    crop_pixels: int | None = None
    """Side of the square windows; at a scale above 1 they grow with it. None: the image whole."""
    overlap: float = OVERLAP
    scales: tuple[float, ...] = (1.0,)
    """Factors that the image is resized by; the logits are averaged over them."""
    flip: bool = False
    """Whether the mirrored image is looked at too."""

    def __post_init__(self) -> None:
        """Raises UsageError for values that cannot be meant."""
        if self.crop_pixels is not None and self.crop_pixels < 1:
            raise UsageError(f"crop {self.crop_pixels}: a window has at least one pixel")
        if not 0 <= self.overlap < 1:
            raise UsageError(f"overlap {self.overlap}: a share of the window's side, from 0 to below 1")
        if not self.scales or not all(LEAST_SCALE <= scale <= LARGEST_SCALE for scale in self.scales):
            raise UsageError(
                f"scales {list(self.scales)}: one or more numbers from {LEAST_SCALE} to {LARGEST_SCALE}, for example "
                "0.5,1,2"
            )
        if len(set(self.scales)) != len(self.scales):
            raise UsageError(f"scales {list(self.scales)}: each one once")

    def boxes(self, height: int, width: int, scale: float) -> list[Box]:
        """The windows of an image that was resized by ``scale`` to (height, width)."""
        if self.crop_pixels is None:
            return [(0, 0, width, height)]
        return windows(height, width, int(self.crop_pixels * max(scale, 1.0)), self.overlap)


def windows(height: int, width: int, crop: int, overlap: float = OVERLAP) -> list[Box]:
    """Square windows that cover an image, column by column (reference behaviour).

    Both axes alike: windows begin every ceil(crop * (1 - overlap)) pixels; the last one ends with the image, so it
    overlaps more; an axis shorter than ``crop`` has one window of its whole length.
    """
    assert crop > 0, crop
    return [
        (left, top, right, bottom)
        for left, right in _intervals(width, crop, overlap)
        for top, bottom in _intervals(height, crop, overlap)
    ]


def _intervals(length: int, crop: int, overlap: float) -> list[tuple[int, int]]:
    stride = math.ceil(crop * (1 - overlap))
    count = max(math.ceil((length - crop) / stride), 0) + 1
    ends = [min(number * stride + crop, length) for number in range(count)]
    return [(max(end - crop, 0), end) for end in ends]


def coverage(height: int, width: int, boxes: Sequence[Box]) -> Tensor:
    """(H, W) float32: how many of the boxes hold each pixel."""
    counts = torch.zeros(height, width)
    for left, top, right, bottom in boxes:
        counts[top:bottom, left:right] += 1
    assert counts.min() >= 1, "the windows leave pixels out"
    return counts


@torch.inference_mode()
def averaged_logits(network: Network, image: ImageArray, inference: Inference) -> Tensor:
    """Mean logits (C, H, W) float32 of an (H, W, 3) uint8 RGB image, on the network's device.

    At each scale the mean over the windows that hold a pixel, then over the image and its mirror image, then, resized
    to the image's own size, over the scales: logits are averaged, not probabilities (reference behaviour). Beside what
    the network itself returns, one sum at the size of the scale and one at that of the image are in memory.
    """
    size = (image.shape[0], image.shape[1])
    total: Tensor | None = None
    for scale in inference.scales:
        logits = _resized(_logits_at(network, image, inference, scale), size)
        if len(inference.scales) == 1:
            return logits
        if total is None:
            total = torch.zeros_like(logits)
        total.add_(logits, alpha=1 / len(inference.scales))
        del logits  # before the next scale, which may be the largest, is looked at
    assert total is not None
    return total


def _logits_at(network: Network, image: ImageArray, inference: Inference, scale: float) -> Tensor:
    """(C, h, w): the mean over windows and mirror images of the image resized by ``scale``."""
    image = scaled(image, scale)
    height, width = image.shape[:2]
    boxes = inference.boxes(height, width, scale)
    if len(boxes) == 1 and not inference.flip:
        return network(image)
    passes = (False, True) if inference.flip else (False,)
    share = 1 / (coverage(height, width, boxes) * len(passes))
    mean: Tensor | None = None
    for mirrored in passes:
        seen = image[:, ::-1] if mirrored else image
        for left, top, right, bottom in boxes:
            logits = network(np.ascontiguousarray(seen[top:bottom, left:right]))
            weight = share[top:bottom, left:right].to(logits.device)
            if mean is None:
                mean = logits.new_zeros(logits.shape[0], height, width)
            if mirrored:
                logits, weight = logits.flip(-1), weight.flip(-1)
                left, right = width - right, width - left  # noqa: PLW2901  # where the window lies in the image itself
            mean[:, top:bottom, left:right].addcmul_(logits, weight)
    assert mean is not None
    return mean


def scaled(image: ImageArray, scale: float) -> ImageArray:
    """The (H, W, 3) image resized to int(H * scale) x int(W * scale), one pixel at least.

    Bilinear as Pillow does it: over every pixel that a smaller image stands for, so that nothing is skipped.
    """
    if scale == 1:
        return image
    height, width = (max(1, int(length * scale)) for length in image.shape[:2])
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, h, w) to (C, *size), bilinear between pixel centres as OpenCV does it (reference behaviour)."""
    if logits.shape[1:] == size:
        return logits
    return F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
