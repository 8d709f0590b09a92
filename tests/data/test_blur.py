"""The blur is the Gaussian filter of scipy (and so of scikit-image), rounded."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from abet.data.blur import blurred

SIGMAS = [0.05, 0.13, 0.15, 0.3, 0.5, 0.7, 0.8, 1.0, 1.3, 4.0]


def scipy_blur(image, sigma):
    return gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="nearest", truncate=4.0)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_an_image_is_blurred_as_by_scipy_but_for_rounding(sigma):
    y, x = np.indices((70, 90))
    noise = np.random.default_rng(0).integers(0, 256, (70, 90))
    image = np.stack([noise, (x + y) % 2 * 255, (x > 40) * 255], axis=-1).astype(np.uint8)  # noise, checkerboard, edge
    before = image.copy()
    np.testing.assert_allclose(blurred(image, sigma), scipy_blur(image, sigma), atol=0.51)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (300, 301)])
def test_any_size_is_blurred_and_its_border_goes_on_outside(size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    np.testing.assert_allclose(blurred(image, 1.3), scipy_blur(image, 1.3), atol=0.51)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_flat_image_stays_flat(sigma):
    image = np.full((20, 30, 3), 255, np.uint8)
    np.testing.assert_array_equal(blurred(image, sigma), image)


def test_no_width_is_no_blur():
    image = np.random.default_rng(2).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert blurred(image, 0.0) is image
