"""Keys order float32 scores as integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abet.metrics.keys import NAN, NEGATIVE_INFINITY, POSITIVE_INFINITY, is_valid, to_keys, to_scores
from tests.metrics.oracle import place

FLOATS = st.floats(width=32)


def key(score) -> int:
    return int(to_keys(np.array([score], np.float32))[0])


@given(FLOATS, FLOATS)
def test_keys_compare_as_scores_do(a, b):
    assert (key(a) < key(b)) == (place(a) < place(b))
    assert (key(a) == key(b)) == (place(a) == place(b))


def test_landmarks():
    assert key(-np.inf) == NEGATIVE_INFINITY
    assert key(np.inf) == POSITIVE_INFINITY
    assert key(0.0) == key(-0.0) == 0x80000000
    assert key(np.finfo(np.float32).max) == POSITIVE_INFINITY - 1
    assert key(np.finfo(np.float32).min) == NEGATIVE_INFINITY + 1


@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF])
def test_every_nan_is_the_same_and_above_infinity(bits):
    assert int(to_keys(np.array([bits], np.uint32).view(np.float32))[0]) == NAN > POSITIVE_INFINITY


@given(FLOATS)
def test_the_inverse_returns_the_score(score):
    returned = to_scores(to_keys(np.array([score], np.float32)))
    np.testing.assert_array_equal(returned, np.array([score], np.float32))
    assert returned.dtype == np.float32


@given(st.integers(0, 2**32 - 1))
def test_a_key_is_valid_if_some_score_has_it(number):
    keys = np.array([number], np.uint32)
    assert bool(is_valid(keys)[0]) == (key(to_scores(keys)[0]) == number)


def test_shape_is_kept():
    image = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
    assert to_keys(image).shape == to_scores(to_keys(image)).shape == (2, 3)
