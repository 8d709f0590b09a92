"""Draws from a generator that are quicker than its own for single values."""

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def pick(rng: np.random.Generator, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
    """One of ``options``, in proportion to ``weights`` (alike without); several times as fast as rng.choice."""
    if weights is None:
        return options[int(rng.random() * len(options))]
    sums = list(accumulate(weights))
    return options[min(bisect(sums, rng.random() * sums[-1]), len(options) - 1)]
