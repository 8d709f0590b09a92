"""What the head does to its features, as Triton kernels for NVIDIA's GPUs: each reads its input once.

    if use_kernels(features):
        from abet.models.kernels import neighbour_products
        grid = neighbour_products(features)

Import it where `abet.models.kernel_choice` says that they work. No atomic sums: the same bits every time. Triton
launches on the current device, whatever a tensor lies on: so each launch is within `torch.cuda.device_of`.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from abet.models.precision import at_least_float32

TAPS_BLOCK = 512
"""Outputs of a program of `apply_taps`."""
PIXELS, CHANNELS = 16, 64
"""Positions of one row, and channels, that a program of the products looks at."""
_TYPES = {torch.float32: tl.float32, torch.float64: tl.float64}


@triton.jit
def _taps(x, out, first, weights, inputs, outputs, inner, blocks, TAPS: tl.constexpr, BLOCK: tl.constexpr):
    outer = (tl.program_id(0) // blocks).to(tl.int64)
    place = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = place < outputs * inner
    output = place // inner
    source = tl.load(first + output, mask=inside, other=0) * inner + place % inner
    x += outer * inputs * inner
    total = tl.zeros([BLOCK], dtype=x.dtype.element_ty)
    for tap in range(TAPS):
        weight = tl.load(weights + output * TAPS + tap, mask=inside, other=0)
        value = tl.load(x + source + tap * inner, mask=inside & (weight != 0), other=0)
        total += weight * (value + (value - value))  # what is not finite becomes NaN
    tl.store(out + outer * outputs * inner + place, total, mask=inside)


def apply_taps(x: Tensor, first: Tensor, weights: Tensor) -> Tensor:
    """``out[m, o, n] = sum_t weights[o, t] * x[m, first[o] + t, n]``.

    Inputs of weight 0 are not looked at, and may lie beyond the end. Where one that has a weight is not finite, the
    output is NaN.

    Args:
        x: (M, inputs, N), contiguous, float32 or float64.
        first: (outputs,) int32.
        weights: (outputs, T) in the type of ``x``.

    Returns:
        (M, outputs, N), contiguous.
    """
    outer, inputs, inner = x.shape
    outputs, taps = weights.shape
    assert x.is_contiguous(), x.stride()
    assert max(inputs, outputs) * inner < 2**30, (x.shape, outputs)  # 32-bit places
    assert outer * triton.cdiv(outputs * inner, TAPS_BLOCK) < 2**31, (x.shape, outputs)  # programs along an axis
    out = x.new_empty(outer, outputs, inner)
    blocks = triton.cdiv(outputs * inner, TAPS_BLOCK)
    if out.numel():
        with torch.cuda.device_of(x):
            _taps[outer * blocks,](x, out, first, weights, inputs, outputs, inner, blocks, TAPS=taps, BLOCK=TAPS_BLOCK)
    return out


@triton.jit
def _products(x, grid, height, width, channels, PIXELS: tl.constexpr, CHANNELS: tl.constexpr, SUM: tl.constexpr):
    line = tl.program_id(0)
    row, image = line % height, line // height
    column = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    here, right, below = column < width, column + 1 < width, row + 1 < height
    source = x + (line.to(tl.int64) * width + column)[:, None] * channels + channel[None, :]
    square = tl.zeros([PIXELS], dtype=SUM)
    across = tl.zeros([PIXELS], dtype=SUM)
    down = tl.zeros([PIXELS], dtype=SUM)
    diagonal = tl.zeros([PIXELS], dtype=SUM)
    for start in range(0, channels, CHANNELS):
        known = (start + channel < channels)[None, :]
        a = tl.load(source, mask=here[:, None] & known, other=0).to(SUM)
        b = tl.load(source + channels, mask=right[:, None] & known, other=0).to(SUM)
        c = tl.load(source + width * channels, mask=(here & below)[:, None] & known, other=0).to(SUM)
        d = tl.load(source + (width + 1) * channels, mask=(right & below)[:, None] & known, other=0).to(SUM)
        square += tl.sum(a * a, 1)
        across += tl.sum(a * b, 1)
        down += tl.sum(a * c, 1)
        diagonal += tl.sum(a * d + b * c, 1)
        source += CHANNELS
    tall, wide = 2 * height - 1, 2 * width - 1
    target = grid + (image.to(tl.int64) * tall + 2 * row) * wide + 2 * column
    tl.store(target, square, mask=here)
    tl.store(target + 1, across, mask=right)
    tl.store(target + wide, down, mask=here & below)
    tl.store(target + wide + 1, 0.5 * diagonal, mask=right & below)


@triton.jit
def _products_backward(
    x, gradient, out, height, width, channels, PIXELS: tl.constexpr, CHANNELS: tl.constexpr, SUM: tl.constexpr
):
    line = tl.program_id(0)
    row, image = line % height, line // height
    column = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    known = (column < width)[:, None] & (channel < channels)[None, :]
    place = (line.to(tl.int64) * width + column)[:, None] * channels + channel[None, :]
    tall, wide = 2 * height - 1, 2 * width - 1
    centre = gradient + (image.to(tl.int64) * tall + 2 * row) * wide + 2 * column
    total = tl.zeros([PIXELS, CHANNELS], dtype=SUM)
    # The product of two neighbours lies half-way between them
    for down in tl.static_range(-1, 2):
        for across in tl.static_range(-1, 2):
            inside = (row + down >= 0) & (row + down < height) & (column + across >= 0) & (column + across < width)
            factor = tl.load(centre + down * wide + across, mask=inside, other=0)
            neighbour = x + place + (down * width + across) * channels
            value = tl.load(neighbour, mask=known & inside[:, None], other=0).to(SUM)
            if down * across != 0:
                factor = 0.5 * factor
            elif down == across:
                factor = 2 * factor
            total += factor[:, None] * value
    tl.store(out + place, total.to(out.dtype.element_ty), mask=known)


def neighbour_products(features: Tensor) -> Tensor:
    """(B, K, h, w) in channels_last to the (B, 2h-1, 2w-1) grid of `abet.models.products.neighbour_products`."""
    batch, channels, height, width = features.shape
    assert features.is_contiguous(memory_format=torch.channels_last), features.stride()
    dtype = at_least_float32(features)
    grid = features.new_empty(batch, 2 * height - 1, 2 * width - 1, dtype=dtype)
    blocks = (batch * height, triton.cdiv(width, PIXELS))
    sizes = {"PIXELS": PIXELS, "CHANNELS": CHANNELS, "SUM": _TYPES[dtype]}
    if batch:
        with torch.cuda.device_of(features):
            _products[blocks](features, grid, height, width, channels, **sizes)
    return grid


def neighbour_products_backward(features: Tensor, gradient: Tensor) -> Tensor:
    """The gradient for ``features``, from that of the grid: (B, 2h-1, 2w-1), at least float32."""
    batch, channels, height, width = features.shape
    assert features.is_contiguous(memory_format=torch.channels_last), features.stride()
    out = torch.empty_like(features)
    blocks = (batch * height, triton.cdiv(width, PIXELS), triton.cdiv(channels, CHANNELS))
    sizes = {"PIXELS": PIXELS, "CHANNELS": CHANNELS, "SUM": _TYPES[at_least_float32(features)]}
    if batch:
        with torch.cuda.device_of(features):
            _products_backward[blocks](features, gradient.contiguous(), out, height, width, channels, **sizes)
    return out
