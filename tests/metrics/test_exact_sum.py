"""Sums of floats without rounding."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abet.metrics.exact_sum import ExactSum

FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


def sum_of(values):
    total = ExactSum((1,))
    for value in values:
        total.add(np.array([value]))
    return float(total.value()[0])


@given(st.lists(FINITE, max_size=20))
def test_is_the_rounded_sum_of_the_exact_values(values):
    assert sum_of(values) == float(sum(map(Fraction, values), Fraction(0)))


@given(st.lists(FINITE, max_size=10), st.randoms())
def test_the_order_leaves_no_trace(values, random):
    shuffled = random.sample(values, len(values))
    assert math.copysign(1, sum_of(values)) == math.copysign(1, sum_of(shuffled))
    assert sum_of(values) == sum_of(shuffled)


@pytest.mark.parametrize("values", [[1e16, 1.0, -1e16], [5e-324, 5e-324], [1.0, 2.0**-60, -1.0], [], [0.0, -0.0]])
def test_nothing_is_lost(values):
    assert sum_of(values) == math.fsum(values)


def test_arrays_are_added_element_by_element():
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((50, 3, 4)) * 10.0 ** rng.integers(-8, 8, (50, 3, 4))
    total = ExactSum((3, 4))
    for part in parts:
        total.add(part)
    expected = [[math.fsum(parts[:, row, column]) for column in range(4)] for row in range(3)]
    np.testing.assert_array_equal(total.value(), expected)
