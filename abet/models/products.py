"""What the AbeT head needs of its features: class projections and products of neighbours, at low resolution.

Both are computed in float32 whatever the features' type (half-precision products gave |cosine| = 162), from a few
channels at a time (on a GPU positions): neither pass makes a float32 copy of the features, nor keeps anything for
backward but them (on a GPU: of features in channels_last, as the networks' are).
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from abet.models.kernel_choice import use_kernels
from abet.models.precision import at_least_float32, full_precision

CPU_CHUNK_ELEMENTS = 1 << 22
"""Elements of features per pass on a processor: 16 MiB of float32."""
GPU_CHUNK_ELEMENTS = 1 << 24
"""Elements of features per pass elsewhere: 64 MiB keep a GPU busy."""
GPU_SUM_POSITIONS = 1 << 10
"""Positions that one product adds up on a GPU: over all of them at once it would be the work of a few cores."""

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
        with full_precision(features.device):
            return (_project_positions if features.is_cuda else _project_channels)(features, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        features, weight = ctx.saved_tensors
        backward = _positions_backward if features.is_cuda else _channels_backward
        with full_precision(features.device):
            return backward(features, weight, gradient.flatten(2), *ctx.needs_input_grad)


def _project_channels(features: Tensor, weight: Tensor) -> Tensor:
    """Some channels at a time: what suits a processor."""
    batch, _, height, width = features.shape
    result = weight.new_zeros(batch, len(weight), height * width)
    for channels in _chunks(features):
        part = weight[:, channels].expand(batch, -1, -1)
        result.baddbmm_(part, _chunk(features, channels).flatten(2))
    return result.view(batch, len(weight), height, width)


def _channels_backward(
    features: Tensor, weight: Tensor, gradient: Tensor, for_features: bool, for_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients that are asked for; ``gradient`` is (B, C, h * w)."""
    to_features = torch.empty_like(features) if for_features else None
    to_weight = torch.empty_like(weight) if for_weight else None
    for channels in _chunks(features):
        if to_features is not None:
            product = weight[:, channels].T @ gradient
            to_features[:, channels] = product.view(*product.shape[:2], *features.shape[2:])
        if to_weight is not None:
            to_weight[:, channels] = (gradient @ _chunk(features, channels).flatten(2).mT).sum(0)
    return to_features, to_weight


def _project_positions(features: Tensor, weight: Tensor) -> Tensor:
    """Some positions at a time, which lie together in channels_last: what suits a GPU."""
    batch, _, height, width = features.shape
    result = weight.new_empty(batch, len(weight), height * width)
    for image, positions, part in _positions(features):
        result[image, :, positions] = weight @ part.T
    return result.view(batch, len(weight), height, width)


def _positions(features: Tensor) -> Iterator[tuple[int, slice, Tensor]]:
    """Image, its positions and their features (positions, K) in full precision, some at a time."""
    batch, channels, height, width = features.shape
    rows = features.permute(0, 2, 3, 1).reshape(batch, height * width, channels)  # no copy in channels_last
    step = max(1, GPU_CHUNK_ELEMENTS // channels)
    for image in range(batch):
        for start in range(0, height * width, step):
            positions = slice(start, min(start + step, height * width))
            yield image, positions, rows[image, positions].to(at_least_float32(features))


def _positions_backward(
    features: Tensor, weight: Tensor, gradient: Tensor, for_features: bool, for_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """As `_channels_backward`."""
    batch, channels, height, width = features.shape
    rows = features.new_empty(batch, height * width, channels) if for_features else None
    to_weight = torch.zeros_like(weight) if for_weight else None
    for image, positions, part in _positions(features):
        own = gradient[image, :, positions]
        if rows is not None:
            rows[image, positions] = (own.T @ weight).to(rows.dtype)
        if to_weight is not None:
            to_weight += _sum_of_products(own, part)
    return None if rows is None else rows.view(batch, height, width, channels).permute(0, 3, 1, 2), to_weight


def _sum_of_products(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right`` of (C, P) and (P, K), the sum over P in parts."""
    positions = left.shape[1]
    whole = positions - positions % GPU_SUM_POSITIONS
    total = left[:, whole:] @ right[whole:]
    if whole:
        parts = left[:, :whole].reshape(len(left), -1, GPU_SUM_POSITIONS).transpose(0, 1)
        total += torch.bmm(parts, right[:whole].view(-1, GPU_SUM_POSITIONS, right.shape[1])).sum(0)
    return total


class _NeighbourProducts(torch.autograd.Function):
    """The grid of `neighbour_products`; a product's gradient for one factor is the other."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.kernels = use_kernels(features)
        if ctx.kernels:
            from abet.models import kernels

            features = features.contiguous(memory_format=torch.channels_last)
            ctx.save_for_backward(features)
            return kernels.neighbour_products(features).unsqueeze(1)
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
        if ctx.kernels:
            from abet.models import kernels

            return kernels.neighbour_products_backward(features, gradient.squeeze(1))
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
