"""The blur is the Gaussian filter of scipy (and so of scikit-image), but for what no grey level shows."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from abet.data.blur import blurred, kernel

BLOCKS = [1, 2, 7, 1000]
SIGMAS = [0.05, 0.13, 0.15, 0.3, 0.5, 0.7, 0.8, 1.0, 1.3, 4.0]


def scipy_blur(plane, sigma):
    return gaussian_filter(plane.astype(float), sigma, mode="nearest", truncate=4.0)


def in_blocks(planes, sigma, rows):
    """(3, H, W) blurred, which comes in blocks of so many rows."""
    blocks = (planes[:, top : top + rows].copy() for top in range(0, planes.shape[1], rows))
    return np.concatenate(list(blurred(blocks, sigma)), axis=1)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("rows", BLOCKS)
def test_an_image_is_blurred_within_half_a_grey_level_of_scipy(sigma, rows):
    y, x = np.indices((70, 90))
    noise = np.random.default_rng(0).integers(0, 256, (70, 90))
    planes = np.stack([noise, (x + y) % 2 * 255, (x > 40) * 255]).astype(np.float32)  # noise, checkerboard, edge
    expected = [scipy_blur(plane, sigma) for plane in planes]
    np.testing.assert_allclose(in_blocks(planes, sigma, rows), expected, atol=0.5)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (300, 301)])
@pytest.mark.parametrize("rows", BLOCKS)
def test_any_size_is_blurred_and_its_border_goes_on_outside(size, rows):
    planes = np.random.default_rng(1).integers(0, 256, (3, *size)).astype(np.float32)
    expected = [scipy_blur(plane, 1.3) for plane in planes]
    np.testing.assert_allclose(in_blocks(planes, 1.3, rows), expected, atol=0.5)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_flat_image_stays_flat_and_within_range(sigma):
    np.testing.assert_allclose(in_blocks(np.full((3, 20, 30), 255, np.float32), sigma, 6), 255, atol=1e-3)


def test_no_width_is_no_blur():
    blocks = [np.random.default_rng(2).random((3, 5, 6), np.float32)]
    assert next(blurred(blocks, 0.0)) is blocks[0]


@pytest.mark.parametrize("sigma", SIGMAS)
def test_weights_fall_and_sum_to_one(sigma):
    weights = kernel(sigma)
    assert (np.diff(weights) < 0).all()
    assert abs(2 * weights.sum() - weights[0] - 1) < 1e-6
