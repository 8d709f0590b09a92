"""Colour steps against their definitions in floating point, pixel by pixel."""

import colorsys
from itertools import permutations

import numpy as np
import pytest

from abet.data.colours import jittered

LUMA = np.array([0.299, 0.587, 0.114])


def scene(height=30, width=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.float64)


def changed(image, *steps, rows=7):
    """What becomes of an (H, W, 3) image that comes in blocks of so many rows."""
    planes = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    blocks = (planes[:, top : top + rows] for top in range(0, planes.shape[1], rows))
    done = list(jittered(blocks, steps, sample=planes.copy()))
    return np.concatenate(done, axis=1).transpose(1, 2, 0)


def blend(image, other, factor):
    return np.clip(other + (image - other) * factor, 0, 255)


def turned(image, turns):
    """Every hue turned by the standard library."""
    result = np.empty_like(image)
    for place in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[place] / 255)
        result[place] = colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)
    return result * 255


NAIVE = {
    "brightness": lambda image, factor: blend(image, 0, factor),
    "contrast": lambda image, factor: blend(image, (image @ LUMA).mean(), factor),
    "saturation": lambda image, factor: blend(image, (image @ LUMA)[..., None], factor),
    "hue": turned,
}


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.0, 0.75, 0.99, 1.0, 1.25, 2.0])
def test_a_step_blends_with_what_it_is_named_after(name, factor):
    image = scene()
    np.testing.assert_allclose(changed(image, (name, factor)), NAIVE[name](image, factor), atol=1e-3)


@pytest.mark.parametrize("turns", [*np.linspace(-0.5, 0.5, 23), 1 / 6, 1 / 3, -1 / 3, 0.01, -0.01, 1e-9])
def test_hues_turn_as_in_the_standard_library(turns):
    np.testing.assert_allclose(changed(scene(), ("hue", turns)), turned(scene(), turns), atol=0.1)


@pytest.mark.parametrize("turns", [0.25, -0.2, 0.4])
def test_hues_of_colours_with_equal_channels_turn_too(turns):
    levels = np.array([0.0, 1.0, 100.0, 254.0, 255.0])
    image = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(25, 5, 3)
    np.testing.assert_allclose(changed(image, ("hue", turns)), turned(image, turns), atol=0.1)


@pytest.mark.parametrize(
    ("turns", "red", "blue"), [(1 / 3, [0, 255, 0], [255, 0, 0]), (-1 / 3, [0, 0, 255], [0, 255, 0])]
)
def test_a_third_of_a_turn_exchanges_the_primary_colours_both_ways(turns, red, blue):
    got = changed(np.array([[[255.0, 0, 0], [0, 0, 255]]]), ("hue", turns))
    np.testing.assert_allclose(got, [[red, blue]], atol=1e-2)


def test_hue_leaves_grey_pixels_as_they_are():
    grey = np.arange(256.0).reshape(16, 16, 1).repeat(3, axis=2)
    np.testing.assert_array_equal(changed(grey, ("hue", -0.2)), grey)


@pytest.mark.parametrize("order", list(permutations(NAIVE)), ids="-".join)
def test_steps_follow_one_another_in_the_order_given(order):
    amounts = {"brightness": 1.25, "contrast": 1.2, "saturation": 0.8, "hue": -0.2}
    expected = scene(8, 9)
    for name in order:
        expected = NAIVE[name](expected, amounts[name])
    got = changed(scene(8, 9), *((name, amounts[name]) for name in order), rows=3)
    np.testing.assert_allclose(got, expected, atol=0.2)


def test_amounts_that_change_nothing_leave_every_bit():
    image = scene()
    steps = (("brightness", 1.0), ("hue", 0.0), ("contrast", 1.0), ("saturation", 1.0))
    np.testing.assert_array_equal(changed(image, *steps), image)


def test_contrast_refers_to_the_mean_grey_level_of_the_sample_after_the_steps_before_it():
    sample = np.full((3, 2, 2), 100, np.float32)
    planes = np.full((3, 1, 1), 50, np.float32)
    (got,) = jittered([planes], (("brightness", 1.2), ("contrast", 0.5), ("saturation", 1.2)), sample)
    np.testing.assert_allclose(got, (50 * 1.2 + 100 * 1.2) / 2, rtol=1e-6)
