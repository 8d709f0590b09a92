"""Scores by what was seen in training: how far logits and features are from those of in-distribution images.

Features have a half or a quarter of the image's size, and enlarging 256 channels would take gigabytes. So the distances
are computed at their own resolution, and the map of distances is enlarged as the logits are (`abet.models.resample`:
bilinear, align_corners=True).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from abet.scores.score import Observation

if TYPE_CHECKING:
    from torch import Tensor

    from abet.scores.fitted import Fitted

CPU_BLOCK_ELEMENTS: Final = 1 << 20
"""Of the largest matrix that is made for some positions at a time: 4 MiB of float32 stay in a processor's cache."""
GPU_BLOCK_ELEMENTS: Final = 1 << 24
"""The same elsewhere: 64 MiB keep a GPU busy."""
ROUNDED_VARIANCE: Final = 1e-12
"""Of mean^2, a variance that may be nothing but rounding. `abet fit` takes it as E[l^2] - mean^2; either is within 610
units of 2^-53 of its value (`abet.fit.moments`), so that of equal logits is below 1.4e-13 mean^2. A deviation of so
little, a millionth of the mean, is also of the size of the logits' own rounding in float32, 1.2e-7."""


def _fitted(seen: Observation) -> Fitted:
    assert seen.fitted is not None, "the detector tells what is not fitted"
    return seen.fitted


def sml(seen: Observation) -> Tensor:
    """-(max_k l_k - mu) / sigma by the mean and deviation of the predicted class, in (-inf, inf).

    NaN where that class was predicted nowhere in the fit, or always with one logit (a variance that is not above
    `ROUNDED_VARIANCE`): nothing is known of it.
    """
    import torch

    fitted = _fitted(seen)
    top, winner = seen.logits.float().max(dim=1)
    mean, variance = fitted["sml.mean"], fitted["sml.variance"]
    deviation = variance.where(variance > ROUNDED_VARIANCE * mean.square(), torch.nan).sqrt().float()
    return (mean.float()[winner] - top) / deviation[winner]


def by_position(seen: Observation, score: Callable[[Tensor], Tensor], *, width: int) -> Tensor:
    """(B, H, W): a score of features (N, K) float32 -> (N,), some positions at a time, then enlarged.

    width: elements of the widest matrix that ``score`` makes, per position.
    """
    import torch

    from abet.models.precision import full_precision
    from abet.models.resample import resample

    assert seen.features is not None, "the detector brings the features that a score needs"
    batch, channels, height, wide = seen.features.shape
    rows = seen.features.permute(0, 2, 3, 1).reshape(-1, channels)  # no copy in channels_last
    elements = CPU_BLOCK_ELEMENTS if rows.device.type == "cpu" else GPU_BLOCK_ELEMENTS
    with full_precision(rows.device):
        parts = [score(part.float()) for part in torch.split(rows, max(1, elements // width))]
        return resample(torch.cat(parts).view(batch, 1, height, wide), seen.size)[:, 0]


def mahalanobis(seen: Observation) -> Tensor:
    """min over the classes of the squared Mahalanobis distance (x - mu_k)^T S^-1 (x - mu_k), in [0, inf).

    At the features' resolution, then enlarged. S is the covariance within the classes, shared by all; its
    pseudo-inverse leaves out directions in which no in-distribution feature varies.
    """
    fitted = _fitted(seen)
    centre, matrix, means = (fitted[f"mahalanobis.{name}"] for name in ("centre", "whitening", "white_mean"))
    squares = means.square().sum(1)

    def distance(x: Tensor) -> Tensor:
        white = (x - centre) @ matrix
        return (white.square().sum(1) + (squares - 2 * white @ means.T).amin(1)).clamp_(min=0)

    return by_position(seen, distance, width=max(matrix.shape))


def knn(seen: Observation) -> Tensor:
    """Distance of x / ||x|| to the k-th nearest of the bank's unit vectors, in [0, 2]; a zero feature is at 1 from all.

    At the features' resolution, then enlarged. From float32 products: distances below 1e-3 are rounding.
    """
    fitted = _fitted(seen)
    bank, neighbours = fitted["knn.bank"], fitted.header.settings.neighbours

    def distance(x: Tensor) -> Tensor:
        norm = x.norm(dim=1, keepdim=True)
        unit = x / norm.where(norm > 0, 1)
        near = (unit @ bank.T).topk(neighbours, dim=1).values[:, -1]
        squared: Tensor = unit.square().sum(1) + 1 - 2 * near
        return squared.clamp_(min=0).sqrt_()

    return by_position(seen, distance, width=len(bank))
