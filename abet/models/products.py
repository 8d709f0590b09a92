"""What the AbeT head needs of its features: class projections and products of neighbours, at low resolution.

Both are computed in float32 whatever the features' type (half-precision products gave |cosine| = 162), from a few
channels at a time: neither pass makes a float32 copy of the features, nor keeps anything for backward but them.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from abet.models.precision import at_least_float32, full_precision

CPU_CHUNK_ELEMENTS = 1 << 22
"""Elements of features per pass on a processor: 16 MiB of float32."""
GPU_CHUNK_ELEMENTS = 1 << 24
"""Elements of features per pass elsewhere: 64 MiB keep a GPU busy."""

# Each kind of product, as the sub-grid that holds it and the two neighbours' places: the first and the second factor.
_ALL, _TO_LAST, _FROM_FIRST = slice(None), slice(None, -1), slice(1, None)
_EVEN, _ODD = slice(0, None, 2), slice(1, None, 2)
_PAIRS = (
    ((_EVEN, _EVEN), 1.0, (_ALL, _ALL), (_ALL, _ALL)),
    ((_EVEN, _ODD), 1.0, (_ALL, _TO_LAST), (_ALL, _FROM_FIRST)),
    ((_ODD, _EVEN), 1.0, (_TO_LAST, _ALL), (_FROM_FIRST, _ALL)),
    ((_ODD, _ODD), 0.5, (_TO_LAST, _TO_LAST), (_FROM_FIRST, _FROM_FIRST)),
    ((_ODD, _ODD), 0.5, (_FROM_FIRST, _TO_LAST), (_TO_LAST, _FROM_FIRST)),
)


def _chunks(features: Tensor) -> Iterator[slice]:
    elements = CPU_CHUNK_ELEMENTS if features.device.type == "cpu" else GPU_CHUNK_ELEMENTS
    batch, channels, height, width = features.shape
    step = max(1, min(channels, elements // max(1, batch * height * width)))
    for start in range(0, channels, step):
        yield slice(start, min(start + step, channels))


def _chunk(features: Tensor, channels: slice) -> Tensor:
    return features[:, channels].to(at_least_float32(features), memory_format=torch.contiguous_format)


class _Project(torch.autograd.Function):
    """A bias-free 1x1 convolution in full precision."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(features, weight)
        batch, _, height, width = features.shape
        result = weight.new_zeros(batch, len(weight), height * width)
        with full_precision(features.device):
            for channels in _chunks(features):
                part = weight[:, channels].expand(batch, -1, -1)
                result.baddbmm_(part, _chunk(features, channels).flatten(2))
        return result.view(batch, len(weight), height, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        features, weight = ctx.saved_tensors
        flat = gradient.flatten(2)
        to_features, to_weight = (
            torch.empty_like(wanted) if needed else None
            for wanted, needed in zip((features, weight), ctx.needs_input_grad, strict=True)
        )
        with full_precision(features.device):
            for channels in _chunks(features):
                if to_features is not None:
                    product = weight[:, channels].T @ flat
                    to_features[:, channels] = product.unflatten(2, features.shape[2:])
                if to_weight is not None:
                    to_weight[:, channels] = (flat @ _chunk(features, channels).flatten(2).mT).sum(0)
        return to_features, to_weight


class _NeighbourProducts(torch.autograd.Function):
    """The grid of `neighbour_products`; a product's gradient for one factor is the other."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        batch, _, height, width = features.shape
        grid = features.new_zeros(batch, 2 * height - 1, 2 * width - 1, dtype=at_least_float32(features))
        with full_precision(features.device):
            for channels in _chunks(features):
                chunk = _chunk(features, channels)
                for place, scale, first, second in _PAIRS:
                    products = (chunk[(..., *first)] * chunk[(..., *second)]).sum(1)
                    grid[(..., *place)].add_(products, alpha=scale)
        return grid.unsqueeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        result = torch.empty_like(features)
        parts = [gradient[(..., *place)].contiguous() for place, *_ in _PAIRS]
        with full_precision(features.device):
            for channels in _chunks(features):
                chunk = _chunk(features, channels)
                total = torch.zeros_like(chunk)
                for part, (_, scale, first, second) in zip(parts, _PAIRS, strict=True):
                    total[(..., *first)].addcmul_(part, chunk[(..., *second)], value=scale)
                    total[(..., *second)].addcmul_(part, chunk[(..., *first)], value=scale)
                result[:, channels] = total
        return result


def project(features: Tensor, weight: Tensor) -> Tensor:
    """<weight_c, x> at every position.

    Args:
        features: (B, K, h, w), any floating type.
        weight: (C, K); taken to float32 (float64 for float64 features).

    Returns:
        (B, C, h, w), float32 (float64 for float64 features). Gradients reach both arguments.
    """
    result: Tensor = _Project.apply(features, weight.to(at_least_float32(features)))  # type: ignore[no-untyped-call]
    return result


def neighbour_products(features: Tensor) -> Tensor:
    """Inner products over the channels of every position with itself and its neighbours, on the grid of half steps.

    With x the (B, K, h, w) features, the result has shape (B, 1, 2h-1, 2w-1), float32 (float64 for float64
    features): [2i, 2j] holds <x_ij, x_ij>, [2i, 2j+1] the product with the right neighbour, [2i+1, 2j] with the one
    below, and [2i+1, 2j+1] the mean of the square's two diagonal products: in the squared norm of a bilinear mixture
    both carry the weight 2a(1-a) b(1-b). A side of one position has no neighbours, and no odd rows or columns.
    """
    result: Tensor = _NeighbourProducts.apply(features)  # type: ignore[no-untyped-call]
    return result
