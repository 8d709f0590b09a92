"""A percentile of all activations, from counts alone.

An image has 256 activations at each of up to half a million positions: sorting them, as `abet.metrics.pixel` does to
keep every distinct value apart, would take longer than the network does. They are counted in that module's widest bins
instead, the upper 20 bits of their order-preserving key, which needs no sorting and runs on the device: the threshold
is within one part in 2048. Integers add up to the same in any order.
"""

import math

import numpy as np
import torch
from torch import Tensor

from abet.metrics.keys import to_scores

SHIFT = 12
BINS = 1 << (32 - SHIFT)
BLOCK_ELEMENTS = 1 << 23


class Activations:
    """Counts of float32 values, none of them NaN."""

    def __init__(self, device: torch.device) -> None:
        self._counts = torch.zeros(BINS, dtype=torch.int64, device=device)

    def add(self, values: Tensor) -> None:
        """Count values of any shape, float32 on the device."""
        for part in torch.split(values.flatten(), BLOCK_ELEMENTS):
            bits = (part + 0.0).view(torch.int32)  # -0 becomes 0
            ordered = bits ^ ((bits >> 31) & 0x7FFF_FFFF)  # as `abet.metrics.keys`, but signed
            self._counts += torch.bincount((ordered >> SHIFT) + BINS // 2, minlength=BINS)

    def percentile(self, percent: float) -> float:
        """The upper end of the bin that holds the smallest value with at least so many percent at or below it."""
        counts = self._counts.cpu().numpy()
        rank = max(1, math.ceil(percent / 100 * int(counts.sum())))
        place = int(np.searchsorted(np.cumsum(counts), rank))
        key = np.array([(place << SHIFT) + (1 << SHIFT) - 1], np.uint32)
        return float(to_scores(key)[0])
