"""Boundary label relaxation (Zhu et al., CVPR 2019, arXiv 1812.01593): near a boundary any neighbour's class is right.

In its last epochs training goes on with hard labels, in which pixels on a boundary count twice.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from abet.labels import IGNORE
from abet.losses.class_weights import bounded_weights, class_counts


def relaxed_targets(labels: Tensor, num_classes: int, strict: Sequence[int] = ()) -> Tensor:
    """Which classes occur in the 3x3 window around each pixel; the last channel is "ignored" (reference behaviour).

    Args:
        labels: (B, H, W) uint8 or int64: train ids and IGNORE.
        num_classes: C.
        strict: train ids whose own pixels keep their label alone.

    Returns:
        (B, C + 1, H, W) bool. Beyond the image everything is ignored.
    """
    hard = one_hot(labels, num_classes)
    outside = F.pad(hard, (1, 1, 1, 1))
    ignored = outside[:, -1]
    ignored[:, 0], ignored[:, -1], ignored[:, :, 0], ignored[:, :, -1] = True, True, True, True
    rows = outside[:, :, :-2] | outside[:, :, 1:-1] | outside[:, :, 2:]
    near = rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:]
    if not strict:
        return near
    own = hard[:, strict[0]]
    for train_id in strict[1:]:
        own = own | hard[:, train_id]
    return torch.where(own[:, None], hard, near)


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """(B, C + 1, H, W) bool, the last channel for IGNORE."""
    indices = labels.long().masked_fill(labels == IGNORE, num_classes)
    return indices[:, None] == torch.arange(num_classes + 1, device=labels.device)[:, None, None]


def on_boundary(labels: Tensor) -> Tensor:
    """(B, H, W) bool: whether one of the four neighbours has another label; IGNORE is a label too."""
    result = torch.zeros_like(labels, dtype=torch.bool)
    down, right = labels[:, 1:] != labels[:, :-1], labels[:, :, 1:] != labels[:, :, :-1]
    result[:, 1:] |= down
    result[:, :-1] |= down
    result[:, :, 1:] |= right
    result[:, :, :-1] |= right
    return result


def relaxed_sum(
    logits: Tensor,
    labels: Tensor,
    *,
    bound: float,
    strict: Sequence[int] = (),
    border_weights_of_whole_batch: bool = False,
) -> Tensor:
    """Sum over images of the relaxed negative log likelihood of their pixels (reference behaviour, float32).

    With S the classes that occur around a pixel, K their number and P_S the sum of their probabilities a pixel's loss
    is -(1 / K) * sum_{k in S} w_k * log P_S. An image's is their sum over its valid pixels, divided by one more than
    these. w_k = 1 + bound * (1 - h_k), h_k the share of k among all targets of the image, the ignored ones included.

    An ignored pixel beside a labelled one learns its neighbours' classes, strict ones too.

    Args:
        logits: (B, C, H, W), any floating dtype.
        labels: (B, H, W) uint8 or int64: train ids 0 to C - 1, and IGNORE.
        bound: see above; 0 for weights of 1.
        strict: see `relaxed_targets`.
        border_weights_of_whole_batch: the reference's slip: an image's loss is summed once per image b of the
            micro-batch, with that image's 1 / K_b in place of its own.

    Returns:
        Scalar float32. An image without a valid pixel adds 0, with gradient 0.
    """
    targets = relaxed_targets(labels, logits.shape[1], strict).float()  # whole numbers: its sums are exact
    own = 1 / targets[:, :-1].sum(1).clamp(min=1)
    counts = targets.sum((2, 3))
    weights = bounded_weights(counts[:, :-1], counts.sum(1), bound)
    return _image_losses(logits, targets[:, :-1], weights, own, border_weights_of_whole_batch).sum()


def hard_boundary_sum(
    logits: Tensor, labels: Tensor, *, bound: float, border_weights_of_whole_batch: bool = False
) -> Tensor:
    """What follows `relaxed_sum` in the last epochs: hard labels, pixels on a class boundary twice.

    Arguments and result as there; the doubled pixels count twice in h_k as well (reference behaviour).
    """
    targets = one_hot(labels, logits.shape[1])[:, :-1].float()
    own = 1.0 + on_boundary(labels)
    counts = class_counts(labels, logits.shape[1], times=own)
    weights = bounded_weights(counts[:, :-1], counts.sum(1), bound)
    return _image_losses(logits, targets, weights, own, border_weights_of_whole_batch).sum()


def _image_losses(logits: Tensor, targets: Tensor, weights: Tensor, border: Tensor, whole_batch: bool) -> Tensor:
    """(B,) float32 from targets (B, C, H, W) of 0 and 1, class weights (B, C) and the pixels' weights (B, H, W)."""
    right = targets > 0
    valid = right.any(1)
    if whole_batch:
        border = torch.where(valid, border, 1.0).sum(0, keepdim=True)
    with torch.autocast(device_type=logits.device.type, enabled=False):
        logits = logits.float()
        # Where nothing is right, everything is: log 1, with gradient 0
        right = right | ~valid[:, None]
        log_right = logits.masked_fill(~right, -torch.inf).logsumexp(1) - logits.logsumexp(1)
        class_weights = torch.einsum("bchw,bc->bhw", targets, weights)
        losses = -log_right * class_weights * border * valid
        return losses.flatten(1).sum(1) / (valid.flatten(1).sum(1) + 1)
