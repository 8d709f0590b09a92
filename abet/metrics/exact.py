"""Sums and quotients of 64-bit counts without overflow and without unknown rounding.

Sums are split into digits small enough for uint64 and put together in Python's integers, so a product of two counts of
9e18 is as safe as one of two counts of ten; the usual sizes need one to three passes over the arrays.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

Unsigned = npt.NDArray[np.uint64]

FRACTION_BITS: Final = 96
"""Binary places of `ratio_sum`: an error of 2**-96 is below half a unit in the last place of a float64 over 2**-43."""
_WORD_BITS: Final = 64


def weighted_sum(weights: Unsigned, values: Unsigned) -> int:
    """Sum of weights * values, exactly; weights and values (n,) uint64, the weights together below 2**63."""
    width = _WORD_BITS - int(weights.sum()).bit_length()  # sum of weights * digits < 2**(64 - width) * 2**width
    mask = np.uint64(2**width - 1)
    total = 0
    for offset in range(0, int(values.max(initial=0)).bit_length(), width):
        digits = (values >> np.uint64(offset)) & mask
        total += int((weights * digits).sum()) << offset
    return total


def ratio_sum(weights: Unsigned, numerators: Unsigned, denominators: Unsigned) -> tuple[int, int]:
    """Bounds (low, high) of 2**96 * sum of weights * numerators / denominators, as integers.

    All (n,) uint64; 0 <= numerators <= denominators < 2**63, denominators > 0, the weights together below 2**63.
    Long division in base 2**width: each quotient is cut off after 96 binary places, which loses less than one unit of
    the last place where a remainder is left and nothing where none is. So low <= exact <= high, equal if all divide.
    """
    largest = max(int(denominators.max(initial=0)), int(weights.sum()))
    # A remainder is below its denominator and a digit at most 2**width, so with this width the shifted remainder and
    # the sum of weights * digits both fit in 64 bits.
    width = _WORD_BITS - largest.bit_length()
    remainders, total, places = numerators, 0, 0
    while places < FRACTION_BITS:
        step = min(width, FRACTION_BITS - places)
        digits, remainders = np.divmod(remainders << np.uint64(step), denominators)
        total = (total << step) + int((weights * digits).sum())
        places += step
    return total, total + int(weights[remainders > 0].sum())


def nearest(numerator: int, denominator: int) -> float:
    """The float64 nearest to a fraction: Python divides integers of any size with a single rounding."""
    return numerator / denominator


def below(numerator: int, denominator: int) -> float:
    """The largest float64 not above a fraction."""
    quotient = numerator / denominator
    return math.nextafter(quotient, -math.inf) if _compare(quotient, numerator, denominator) > 0 else quotient


def above(numerator: int, denominator: int) -> float:
    """The smallest float64 not below a fraction."""
    quotient = numerator / denominator
    return math.nextafter(quotient, math.inf) if _compare(quotient, numerator, denominator) < 0 else quotient


def _compare(quotient: float, numerator: int, denominator: int) -> int:
    """The sign of quotient - numerator / denominator, in integers."""
    top, bottom = quotient.as_integer_ratio()
    return top * denominator - numerator * bottom
