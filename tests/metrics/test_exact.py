"""Sums of products and quotients of counts: exact, whatever their size."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from abet.metrics.exact import FRACTION_BITS, above, below, nearest, ratio_sum, weighted_sum

COUNTS = st.one_of(st.integers(1, 20), st.integers(1, 2**40), st.integers(2**59, 2**60))


def unsigned(values) -> np.ndarray:
    return np.array(values, np.uint64)


@given(st.lists(st.tuples(COUNTS, st.integers(0, 2**64 - 1)), max_size=7))
def test_weighted_sum_never_overflows(rows):
    weights, values = ([row[i] for row in rows] for i in (0, 1))
    assert weighted_sum(unsigned(weights), unsigned(values)) == sum(w * v for w, v in rows)


@given(st.lists(st.tuples(COUNTS, COUNTS, st.integers(0, 2**60)), max_size=7))
def test_ratio_sum_brackets_the_exact_sum_within_one_unit_per_weight(rows):
    weights, tp, fp = ([row[i] for row in rows] for i in (0, 1, 2))
    low, high = ratio_sum(unsigned(weights), unsigned(tp), unsigned(tp) + unsigned(fp))
    exact = sum((w * Fraction(t, t + f) for w, t, f in rows), Fraction(0)) * 2**FRACTION_BITS
    assert low <= exact <= high
    assert high - low <= sum(weights)


def test_ratio_sum_has_no_width_where_every_quotient_ends():
    low, high = ratio_sum(unsigned([3, 5, 7]), unsigned([1, 3, 9]), unsigned([2, 4, 9]))
    assert low == high == (Fraction(3, 2) + Fraction(15, 4) + 7) * 2**FRACTION_BITS


@given(st.integers(0, 2**200), st.integers(1, 2**200))
def test_directed_rounding_is_the_tightest(numerator, denominator):
    exact = Fraction(numerator, denominator)
    low, value, high = (direction(numerator, denominator) for direction in (below, nearest, above))
    assert Fraction(low) <= exact <= Fraction(high)
    assert low <= value <= high
    assert high in (low, np.nextafter(low, np.inf))
    assert (low == high) == (Fraction(value) == exact)
