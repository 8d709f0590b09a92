"""Bilinear resampling (align_corners=True) along one axis after the other, from one source of coordinates.

An output position between the samples low and low + 1, at the fraction a, takes
    linear:     (1-a) x[low] + a x[low+1]
    quadratic:  (1-a)^2 q[2 low] + 2a(1-a) q[2 low + 1] + a^2 q[2 low + 2]
The quadratic form resamples a squared norm: if u = (1-a) x[low] + a x[low+1], then ||u||^2 is the second line with
q[2i] = <x[i], x[i]> and q[2i+1] = <x[i], x[i+1]>. A numerator and a norm that come from the same fractions stay
consistent where the norm is small; the fractions are exact quotients of integers, rounded once. On a processor both
are banded matrix products, on a GPU kernels that look at an output's two or three inputs.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from abet.models.compiling import uncompiled
from abet.models.kernel_choice import use_kernels
from abet.models.precision import full_precision

BAND_ROWS = 64
"""Output positions per matrix product: a band touches only the inputs that it needs, so that cost stays linear."""


class Band(NamedTuple):
    """``outputs = weights @ inputs`` for a run of neighbouring output positions of one axis."""

    outputs: slice
    inputs: slice
    weights: Tensor


def coordinates(inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower neighbour (int64) and fraction (float64, in [0, 1]) of every output position of an axis.

    The first and last positions of both grids coincide; a single output position is the first input.
    """
    numerator = np.arange(outputs) * (inputs - 1)
    denominator = max(outputs - 1, 1)
    low = np.minimum(numerator // denominator, max(inputs - 2, 0))
    return low, (numerator - low * denominator) / denominator


def _weights(inputs: int, outputs: int, quadratic: bool) -> tuple[np.ndarray, np.ndarray]:
    """Per output position the first input (int64) that it takes, and the weights (outputs, 1 to 3) from that on."""
    low, a = coordinates(inputs, outputs)
    taps = np.stack([(1 - a) ** 2, 2 * a * (1 - a), a**2] if quadratic else [1 - a, a], axis=1)
    first = low * (taps.shape[1] - 1)
    return first, taps if inputs > 1 else taps[:, :1]  # the neighbour may be absent: it has no weight


class Taps(NamedTuple):
    """An axis for `abet.models.kernels.apply_taps`."""

    first: Tensor
    weights: Tensor


@lru_cache(maxsize=64)  # pure functions of small arguments: data sets repeat a few image sizes
def _taps(inputs: int, outputs: int, quadratic: bool, dtype: torch.dtype, device: torch.device) -> tuple[Taps, Taps]:
    """From inputs to outputs, and the transpose of it from outputs to inputs."""
    first, weights = _weights(inputs, outputs, quadratic)
    samples = 2 * inputs - 1 if quadratic else inputs
    taken = first[:, None] + np.arange(weights.shape[1])
    order = np.argsort(taken.ravel(), kind="stable")
    takers = np.repeat(np.arange(outputs), weights.shape[1])[order]
    counts = np.bincount(taken.ravel(), minlength=samples)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    back = np.zeros((samples, max(1, counts.max())))
    places = takers - np.repeat(takers[np.minimum(starts, len(takers) - 1)], counts)
    np.add.at(back, (np.repeat(np.arange(samples), counts), places), weights.ravel()[order])
    to = takers[np.minimum(starts, len(takers) - 1)]
    return _on(first, weights, dtype, device), _on(to, back, dtype, device)


def _on(first: np.ndarray, weights: np.ndarray, dtype: torch.dtype, device: torch.device) -> Taps:
    ordered = torch.from_numpy(np.ascontiguousarray(weights))
    return Taps(torch.from_numpy(first.astype(np.int32)).to(device), ordered.to(device, dtype))


def _by_taps(maps: Tensor, rows: Taps, columns: Taps) -> Tensor:
    from abet.models.kernels import apply_taps

    maps = maps.contiguous()
    tall = apply_taps(maps.flatten(0, -3), *rows)
    wide = apply_taps(tall.view(-1, tall.shape[-1], 1), *columns)
    return wide.view(*maps.shape[:-2], len(rows.first), len(columns.first))


@lru_cache(maxsize=64)
def _axis(inputs: int, outputs: int, quadratic: bool, dtype: torch.dtype, device: torch.device) -> tuple[Band, ...]:
    first, taps = _weights(inputs, outputs, quadratic)
    bands = []
    for start in range(0, outputs, BAND_ROWS):
        rows = slice(start, min(start + BAND_ROWS, outputs))
        offset = first[rows] - first[start]
        weights = np.zeros((len(offset), offset[-1] + taps.shape[1]))
        weights[np.arange(len(offset))[:, None], offset[:, None] + np.arange(taps.shape[1])] = taps[rows]
        band = torch.from_numpy(weights).to(device=device, dtype=dtype)
        bands.append(Band(rows, slice(int(first[start]), int(first[start]) + weights.shape[1]), band))
    return tuple(bands)


def _product(maps: Tensor, rows: Sequence[Band], columns: Sequence[Band]) -> Tensor:
    tall = maps.new_empty(*maps.shape[:-2], rows[-1].outputs.stop, maps.shape[-1])
    for band in rows:
        tall[..., band.outputs, :] = band.weights @ maps[..., band.inputs, :]
    result = maps.new_empty(*tall.shape[:-1], columns[-1].outputs.stop)
    for band in columns:
        result[..., band.outputs] = tall[..., band.inputs] @ band.weights.T
    return result


def _local_product(maps: Tensor, rows: Sequence[Band], columns: Sequence[Band]) -> Tensor:
    """`_product`, but where an input is not finite exactly the outputs that it has a weight in are NaN.

    In the product itself it would reach its whole band, by 0 * inf.
    """
    finite = maps.isfinite()
    if maps.is_meta or finite.all():
        return _product(maps, rows, columns)
    result = _product(maps.where(finite, 0), rows, columns)
    return result.masked_fill_(_product((~finite).to(maps.dtype), rows, columns) > 0, torch.nan)


class _Resample(torch.autograd.Function):
    """rows @ maps @ columns^T; its gradient is rows^T @ grad @ columns, by the same bands."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, height: int, width: int, quadratic: bool) -> Tensor:
        sides = zip(_samples(maps, quadratic), (height, width), strict=True)
        ctx.kernels = use_kernels(maps)
        if ctx.kernels:
            (rows, ctx.rows), (columns, ctx.columns) = (
                _taps(*side, quadratic, maps.dtype, maps.device) for side in sides
            )
            return _by_taps(maps, rows, columns)
        ctx.rows, ctx.columns = (_axis(*side, quadratic, maps.dtype, maps.device) for side in sides)
        ctx.shape = maps.shape
        with full_precision(maps.device):
            return _local_product(maps, ctx.rows, ctx.columns)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        if ctx.kernels:
            return _by_taps(gradient, ctx.rows, ctx.columns), None, None, None
        with full_precision(gradient.device):
            tall = gradient.new_zeros(*gradient.shape[:-1], ctx.shape[-1])
            for band in ctx.columns:
                tall[..., band.inputs] += gradient[..., band.outputs] @ band.weights
            result = gradient.new_zeros(ctx.shape)
            for band in ctx.rows:
                result[..., band.inputs, :] += band.weights.T @ tall[..., band.outputs, :]
        return result, None, None, None


def _samples(maps: Tensor, quadratic: bool) -> tuple[int, int]:
    height, width = maps.shape[-2:]
    return ((height + 1) // 2, (width + 1) // 2) if quadratic else (height, width)


@uncompiled
def resample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation, align_corners=True, of (B, C, h, w) float32 or float64 maps to (B, C, *size).

    Positions that mix in a value that is not finite are NaN, and no others.
    """
    result: Tensor = _Resample.apply(maps, *size, False)  # type: ignore[no-untyped-call]
    return result


def resample_squared_norm(products: Tensor, size: tuple[int, int]) -> Tensor:
    """||u||^2 of shape (B, 1, *size), u being the resampled features, from `neighbour_products` of the features."""
    result: Tensor = _Resample.apply(products, *size, True)  # type: ignore[no-untyped-call]
    return result
