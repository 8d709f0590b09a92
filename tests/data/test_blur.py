"""The blur is the Gaussian filter of scipy (and so of scikit-image), but for what no grey level shows."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from abet.data.blur import blurred, kernel

SIGMAS = [0.05, 0.13, 0.15, 0.3, 0.5, 0.7, 0.8, 1.0, 1.3, 4.0]


def scipy_blur(plane, sigma):
    return gaussian_filter(plane.astype(float), sigma, mode="nearest", truncate=4.0)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("kind", ["noise", "checkerboard", "edge"])
def test_a_plane_is_blurred_within_half_a_grey_level_of_scipy(sigma, kind):
    rows, columns = np.indices((70, 90))
    plane = {
        "noise": np.random.default_rng(0).integers(0, 256, (70, 90)),
        "checkerboard": (rows + columns) % 2 * 255,
        "edge": (columns > 40) * 255,
    }[kind].astype(np.float32)
    np.testing.assert_allclose(blurred(plane.copy(), sigma), scipy_blur(plane, sigma), atol=0.5)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (300, 301)])
def test_any_size_is_blurred_and_its_border_goes_on_outside(size):
    plane = np.random.default_rng(1).integers(0, 256, size).astype(np.float32)
    np.testing.assert_allclose(blurred(plane.copy(), 1.3), scipy_blur(plane, 1.3), atol=0.5)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_flat_plane_stays_flat_and_within_range(sigma):
    np.testing.assert_allclose(blurred(np.full((20, 30), 255, np.float32), sigma), 255, atol=1e-3)


def test_no_width_is_no_blur():
    plane = np.random.default_rng(2).random((5, 6), np.float32)
    assert blurred(plane, 0.0) is plane


@pytest.mark.parametrize("sigma", SIGMAS)
def test_weights_fall_and_sum_to_one(sigma):
    weights = kernel(sigma)
    assert (np.diff(weights) < 0).all()
    assert abs(2 * weights.sum() - weights[0] - 1) < 1e-6
