"""Random logits and labels, and a loss with its gradient."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from abet.labels import IGNORE


def crops(num_classes: int = 5, size: tuple[int, int, int] = (2, 6, 7), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (B, C, H, W) that differ widely, and labels (B, H, W) of which about a third is ignored."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 20, (size[0], num_classes, *size[1:])).astype(np.float32)
    labels = rng.integers(0, num_classes, size, dtype=np.uint8)
    labels[rng.random(size) < 0.3] = IGNORE
    return torch.from_numpy(logits), torch.from_numpy(labels)


def gradient_of(loss: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[float, Tensor]:
    """The loss of ``logits``, and its gradient."""
    inputs = logits.clone().requires_grad_()
    value = loss(inputs)
    torch.autograd.backward(value)
    assert inputs.grad is not None
    return value.item(), inputs.grad
