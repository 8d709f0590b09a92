"""Plain cross-entropy, as a sum over pixels: the loop divides by the valid pixels of the whole global batch."""

import torch
import torch.nn.functional as F

from abet.labels import IGNORE


def cross_entropy_sum(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum over the valid pixels of -log softmax(logits) at the label, in float32 whatever autocast says.

    Args:
        logits: (B, C, H, W), any floating dtype.
        labels: (B, H, W) uint8 or int64: train ids 0 to C - 1, and IGNORE.

    Returns:
        Scalar float32. Without a valid pixel: 0, with gradient 0. Divided by `count_valid` it is the reference's plain
        cross-entropy.
    """
    with torch.autocast(device_type=logits.device.type, enabled=False):
        return F.cross_entropy(logits.float(), labels.long(), ignore_index=IGNORE, reduction="sum")


def count_valid(labels: torch.Tensor) -> int:
    """How many pixels of ``labels`` (any shape, uint8 or int64) are not IGNORE."""
    return int((labels != IGNORE).sum())
