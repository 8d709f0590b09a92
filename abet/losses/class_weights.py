"""Class weights from how often classes occur in a crop: rare ones weigh more (Zhu et al., CVPR 2019)."""

import torch
from torch import Tensor

from abet.labels import IGNORE


def class_counts(labels: Tensor, num_classes: int, *, times: Tensor | None = None) -> Tensor:
    """(B, C + 1) int64: pixels of each class in each image, the ignored ones last. Exact on any device.

    ``times`` (B, H, W), whole numbers, is how often each pixel counts; None: once.
    """
    indices = labels.long().masked_fill(labels == IGNORE, num_classes).flatten(1)
    counts = torch.zeros(len(labels), num_classes + 1, dtype=torch.int64, device=labels.device)
    ones = torch.ones_like(indices) if times is None else times.to(torch.int64).flatten(1)
    return counts.scatter_add_(1, indices, ones)


def bounded_weights(counts: Tensor, total: Tensor, bound: float) -> Tensor:
    """w_c = 1 + bound * (1 - h_c) for classes that occur, else 1 (reference behaviour); h_c = counts_c / total.

    Args:
        counts: (B, C), what each class has of each image.
        total: (B,), what all have together; 0 gives weights of 1.
        bound: weights lie in [1, 1 + bound].

    Returns:
        (B, C) float32.
    """
    shares = counts.double() / total.clamp(min=1)[:, None]
    return torch.where(counts > 0, 1 + bound * (1 - shares), 1.0).float()
