"""Image-weighted cross-entropy: classes that are rare in a crop weigh more (pre-training on Mapillary)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from abet.labels import IGNORE
from abet.losses.class_weights import bounded_weights, class_counts


def image_weighted_sum(
    logits: Tensor,
    labels: Tensor,
    *,
    bound: float,
    batch_statistics: bool = False,
    ignored_count_as_last: bool = False,
) -> Tensor:
    """Sum over images of sum_p w_p * nll_p / sum_p w_p, p over valid pixels (reference behaviour, float32).

    Args:
        logits: (B, C, H, W), any floating dtype.
        labels: (B, H, W) uint8 or int64: train ids 0 to C - 1, and IGNORE.
        bound: the weight of a class that occurs is 1 + bound * (1 - its share of the image's valid pixels).
        batch_statistics: shares are of the valid pixels of the whole micro-batch.
        ignored_count_as_last: count ignored pixels as the last class, as the reference does on Mapillary, where the
            number of "ignore" is one above the last class and falls into its histogram's closed last bin.

    Returns:
        Scalar float32. An image without a valid pixel adds 0, with gradient 0.
    """
    counts = class_counts(labels, logits.shape[1])
    if ignored_count_as_last:
        counts[:, -2] += counts[:, -1]
    counts = counts[:, :-1]
    if batch_statistics:
        counts = counts.sum(0, keepdim=True).expand_as(counts)
    weights = bounded_weights(counts, counts.sum(1), bound)
    with torch.autocast(device_type=logits.device.type, enabled=False):
        valid = labels != IGNORE
        targets = labels.long().masked_fill(~valid, 0)
        pixel_weights = weights.gather(1, targets.flatten(1)).view(targets.shape) * valid
        nll = F.cross_entropy(logits.float(), targets, reduction="none")
        sums = (pixel_weights * nll).flatten(1).sum(1)
        return (sums / pixel_weights.flatten(1).sum(1).clamp(min=1)).sum()
