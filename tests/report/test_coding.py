"""Sample files in fewer bytes: 16 bits keep the order, and what an evaluation packs the report unpacks."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from abet.report.coding import STEPS, decode, encode, pack, unpack

FLOATS = arrays.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(width=32))


@given(FLOATS)
def test_codes_keep_the_order_and_what_is_not_finite(score: np.ndarray) -> None:
    back = decode(*encode(score))
    assert back.dtype == np.float32
    assert np.array_equal(np.isnan(back), np.isnan(score))
    assert np.array_equal(np.isinf(back), np.isinf(score))
    ranked = back.ravel()[np.argsort(score, axis=None)]
    ranked = ranked[~np.isnan(ranked)]
    assert (ranked[1:] >= ranked[:-1]).all()


def test_an_error_is_at_most_a_512th_of_the_distance_of_two_knots() -> None:
    score = np.random.default_rng(0).normal(-8, 2, (120, 200)).astype(np.float32)
    codes, knots = encode(score)
    error = np.abs(decode(codes, knots).astype(np.float64) - score)
    segment = np.clip(np.searchsorted(knots, score, side="right") - 1, 0, knots.size - 2)
    assert (error <= np.diff(knots)[segment] / (2 * STEPS) + 1e-6).all()
    assert error[score == score.max()].max() == error[score == score.min()].max() == 0


def test_hardly_a_pixel_changes_sides_of_a_threshold() -> None:
    score = np.random.default_rng(1).normal(0, 1, (300, 400)).astype(np.float32)
    score[:4, :30] += 3  # one pixel in a thousand
    back = decode(*encode(score))
    for share, most in ((0.5, 20), (0.95, 3), (0.99, 3), (0.999, 3)):
        threshold = np.quantile(score, share)
        assert np.count_nonzero((back >= threshold) != (score >= threshold)) <= most


def test_a_sample_survives_packing() -> None:
    rng = np.random.default_rng(2)
    sample = {
        "name": np.array("a/b.png"),
        "image": np.full((20, 30, 3), 90, np.uint8),
        "label": rng.integers(0, 2, (20, 30)).astype(np.uint8),
        "prediction": rng.integers(0, 19, (20, 30)).astype(np.uint8),
        "score_max_logit": rng.normal(0, 1, (20, 30)).astype(np.float32),
        "full_size": np.array([40, 60]),
    }
    file = io.BytesIO()
    np.savez_compressed(file, **pack(sample))
    file.seek(0)
    with np.load(file, allow_pickle=False) as packed:
        back = unpack(dict(packed))
    assert back.keys() == sample.keys()
    for key in ("name", "label", "prediction", "full_size"):
        assert np.array_equal(back[key], sample[key])
    assert np.abs(back["image"].astype(int) - 90).max() <= 2
    assert back["score_max_logit"] == pytest.approx(sample["score_max_logit"], abs=3e-3)


def test_a_sample_that_was_never_packed_stays_as_it_is() -> None:
    old = {"name": np.array("a"), "image": np.zeros((2, 2, 3), np.uint8), "score_abet": np.zeros((2, 2), np.float32)}
    assert unpack(old) == old
