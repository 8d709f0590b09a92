"""From bytes to the network's input, alike in training and evaluation."""

from collections.abc import Sequence

import torch


def normalise(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(RGB / 255 - mean) / std, per channel, computed on the images' device.

    Args:
        images: (B, H, W, 3) uint8 RGB.
        mean: three numbers, R, G, B, for values in [0, 1].
        std: three numbers alike.

    Returns:
        (B, 3, H, W) float32 in channels_last memory: the bytes' own order, so nothing is moved.
    """
    assert images.dtype == torch.uint8, images.dtype
    assert images.ndim == 4, images.shape
    assert images.shape[3] == len(mean) == len(std) == 3, (images.shape, mean, std)
    values = images.float()
    # In place: three passes over one buffer, and the bits of (x / 255 - mean) / std
    values.div_(255.0).sub_(values.new_tensor(mean)).div_(values.new_tensor(std))
    return values.permute(0, 3, 1, 2)
