"""Colour steps against their definitions in floating point, pixel by pixel: what rounding and bytes of hue cost."""

import colorsys
from itertools import permutations

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from abet.data.colours import jittered

LUMA = np.array([0.299, 0.587, 0.114])
ROUNDED = 0.75
"""Grey levels from an exact linear step at most."""


def scene(height=30, width=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def off(got, expected):
    """Grey levels between the two: their mean and their maximum."""
    difference = np.abs(got.astype(float) - expected)
    return difference.mean(), difference.max()


def blend(image, other, factor):
    return np.clip(other + (image - other) * factor, 0, 255)


def turned(image, turns):
    """Every hue turned by the standard library."""
    result = np.empty(image.shape)
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


def shift_hue(image, turns):
    """The reference's way: bytes of hue, of which 255 are a circle, that wrap at 256."""
    planes = np.array(image.convert("HSV"))
    planes[..., 0] += np.uint8(int(turns * 255) % 256)
    return Image.frombytes("HSV", image.size, planes.tobytes()).convert("RGB")


PILLOW = {
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "saturation": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "hue": shift_hue,
}


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.0, 0.75, 0.99, 1.0, 1.25, 2.0])
def test_a_step_blends_with_what_it_is_named_after(name, factor):
    image = scene()
    before = image.copy()
    np.testing.assert_allclose(jittered(image, [(name, factor)]), NAIVE[name](image, factor), atol=ROUNDED)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("turns", [*np.linspace(-0.5, 0.5, 23), 1 / 6, 1 / 3, -1 / 3, 0.01, -0.01])
def test_hues_turn_as_in_the_standard_library_but_for_the_bytes_of_hsv(turns):
    image = scene()
    mean, most = off(jittered(image, [("hue", turns)]), turned(image, turns))
    assert mean < 1
    assert most < 13


@pytest.mark.parametrize("turns", [0.25, -0.2, 0.4, 0.05, -0.1])
def test_hues_are_about_as_exact_as_those_of_pillow(turns):
    image = scene(60, 80)
    exact = turned(image, turns)
    mean, most = off(jittered(image, [("hue", turns)]), exact)
    pillow_mean, pillow_most = off(np.asarray(shift_hue(Image.fromarray(image), turns)), exact)
    assert mean < pillow_mean + 0.15
    assert most < pillow_most + 4


@pytest.mark.parametrize(
    ("turns", "red", "blue"), [(1 / 3, [0, 255, 0], [255, 0, 0]), (-1 / 3, [0, 0, 255], [0, 255, 0])]
)
def test_a_third_of_a_turn_exchanges_the_primary_colours_both_ways(turns, red, blue):
    got = jittered(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8), [("hue", turns)])
    np.testing.assert_allclose(got, [[red, blue]], atol=6)  # a step of the circle's 256


@pytest.mark.parametrize("step", [("hue", -0.2), ("saturation", 1.25), ("saturation", 0.0)])
def test_grey_pixels_have_no_colour_to_change(step):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    np.testing.assert_array_equal(jittered(grey, [step]), grey)


@pytest.mark.parametrize("order", list(permutations(NAIVE)), ids="-".join)
def test_steps_follow_one_another_in_the_order_given(order):
    amounts = {"brightness": 1.25, "contrast": 1.2, "saturation": 0.8, "hue": -0.2}
    image = scene(20, 30)
    expected = image.astype(float)
    for name in order:
        expected = NAIVE[name](expected, amounts[name])
    mean, most = off(jittered(image, [(name, amounts[name]) for name in order]), expected)
    assert mean < 1.3
    assert most < 17


def test_amounts_that_change_nothing_leave_the_image_as_it_is():
    image = scene()
    assert jittered(image, [("brightness", 1.0), ("hue", 0.0), ("contrast", 1.0), ("saturation", 1.0)]) is image


def test_contrast_refers_to_the_mean_grey_level_after_the_steps_before_it():
    image = np.full((2, 2, 3), 100, np.uint8)
    image[0] = 50
    got = jittered(image, [("brightness", 1.2), ("contrast", 0.5)])
    np.testing.assert_array_equal(got[:, 0, 0], [(60 + 90) / 2, (120 + 90) / 2])
