"""Augmentation keeps image and label together, and its short cuts change nothing."""

import colorsys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from abet.config import AugmentationConfig
from abet.data.transforms import COLOUR_STEPS, Span, apply, augment, choose, crop_span, turn_hue
from abet.labels import IGNORE

STILL = {
    "scale_min": 1.0,
    "scale_max": 1.0,
    "crop_height": 40,
    "crop_width": 56,
    "flip_probability": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
}
LIVELY = STILL | {"scale_min": 0.4, "scale_max": 2.2, "flip_probability": 0.5}
COLOURS = {"brightness": 0.25, "contrast": 0.25, "saturation": 0.25, "hue": 0.25}


def config(**changes):
    return AugmentationConfig(**{**STILL, **changes})


def scene(height=48, width=64, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image, rng.integers(0, 19, (height, width), dtype=np.uint8)


def naive(image, label, choices, wanted):
    """The same crop by way of the whole image: resize all of it, pad all of it, cut, turn. Colours are left alone."""
    height, width = label.shape
    new_height, new_width = (max(1, int(size * choices.scale)) for size in label.shape)
    whole = np.asarray(Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BICUBIC))
    classes = label[np.ix_(nearest(height, new_height), nearest(width, new_width))]
    crop = (wanted.crop_height, wanted.crop_width)
    short = [size < part for size, part in zip(classes.shape, crop, strict=True)]
    padding = [(part - size) // 2 + 1 if few else 0 for size, part, few in zip(classes.shape, crop, short, strict=True)]
    ends = [(pad, pad) for pad in padding]
    whole, classes = np.pad(whole, [*ends, (0, 0)]), np.pad(classes, ends, constant_values=IGNORE)
    offsets = [size - part + 1 for size, part in zip(classes.shape, crop, strict=True)]
    y, x = int(choices.top * offsets[0]), int(choices.left * offsets[1])
    whole, classes = whole[y : y + crop[0], x : x + crop[1]], classes[y : y + crop[0], x : x + crop[1]]
    return (whole[:, ::-1], classes[:, ::-1]) if choices.flip else (whole, classes)


def nearest(size, new_size):
    """For each pixel after resizing the one that its centre lies in before."""
    return [int((place + Fraction(1, 2)) * size / new_size) for place in range(new_size)]


@pytest.mark.parametrize("size", [(48, 64), (20, 150), (37, 41), (7, 5), (1, 1)])
def test_a_crop_equals_the_same_part_of_the_whole_resized_image(size):
    image, label = scene(*size)
    wanted = config(**LIVELY)
    for seed in range(12):
        choices = choose(np.random.default_rng(seed), wanted)
        got, got_label = apply(image, label, choices, wanted)
        expected, expected_label = naive(image, label, choices, wanted)
        assert np.abs(got.astype(int) - expected).max() <= 1, seed
        np.testing.assert_array_equal(got_label, expected_label, err_msg=str(seed))


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_labels_are_resized_as_pillow_does_it(scale):
    image, label = scene()
    wanted = config(crop_height=int(48 * scale), crop_width=int(64 * scale))
    _, got = apply(image, label, choose(np.random.default_rng(0), wanted)._replace(scale=scale), wanted)
    nearest = Image.fromarray(label).resize((wanted.crop_width, wanted.crop_height), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(got, np.asarray(nearest))


def around(plane, extreme):
    """The smallest or greatest value of the 11 x 11 neighbourhood: further than the filter reaches at 2.2 x."""
    return np.asarray(Image.fromarray(plane).filter(extreme(11)))


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 90), st.integers(1, 120))
def test_image_and_label_stay_together(seed, height, width):
    """Each class is a flat colour in blocks: wherever the crop is flat, its colour tells its class."""
    rng = np.random.default_rng(seed)
    palette = rng.permutation(np.arange(8, dtype=np.uint8) * 30 + 20)
    blocks = rng.integers(0, 8, (height // 12 + 1, width // 12 + 1), dtype=np.uint8)
    label = np.kron(blocks, np.ones((12, 12), np.uint8))[:height, :width]
    image = np.repeat(palette[label][..., None], 3, axis=2)
    got, classes = augment(image, label, rng, config(**LIVELY))
    assert got.shape == (40, 56, 3)
    assert classes.shape == (40, 56)
    valid = classes != IGNORE
    assert valid.any()
    assert (got[~valid] == 0).all()
    expected = palette[np.where(valid, classes, 0)]
    flat = valid & (around(valid * np.uint8(1), ImageFilter.MinFilter) == 1)
    inside = np.zeros_like(flat)
    inside[5:-5, 5:-5] = True  # what lies beyond the crop's edge has its part in the resized pixels
    flat &= inside
    flat &= around(expected, ImageFilter.MinFilter) == around(expected, ImageFilter.MaxFilter)
    np.testing.assert_array_equal(got[flat], np.repeat(expected[flat][:, None], 3, axis=1))


def test_nothing_switched_on_is_the_image_itself():
    image, label = scene(40, 56)
    got, classes = augment(image, label, np.random.default_rng(1), config())
    np.testing.assert_array_equal(got, image)
    np.testing.assert_array_equal(classes, label)
    assert not np.shares_memory(got, image)
    got[:], classes[:] = 0, 0  # writable, whatever the way they came


@pytest.mark.parametrize("size", [(40, 55), (39, 56), (1, 1), (40, 20), (38, 300)])
def test_a_small_image_is_padded_and_never_cut_along_its_short_side(size):
    image, label = scene(*size)
    tops = set()
    for seed in range(30):
        _, classes = augment(image, label, np.random.default_rng(seed), config())
        rows, columns = np.nonzero(classes != IGNORE)
        tops.add((int(rows.min()), int(columns.min())))
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (min(size[0], 40), min(size[1], 56))
    assert len(tops) > 1


def test_a_short_side_is_padded_at_both_ends_by_half_and_one_more():
    # 7 rows missing: 4 at each end, 41 in all, two places; 6 missing: 4 at each end, 42 in all, three places
    assert [crop_span(33, 1.0, 40, place).offset for place in (0.0, 0.49, 0.5, 0.99)] == [4, 4, 3, 3]
    assert [crop_span(34, 1.0, 40, place).offset for place in (0.0, 0.34, 0.99)] == [4, 3, 2]


def test_every_place_of_a_large_image_is_equally_likely():
    starts = [crop_span(50, 1.0, 40, (n + 0.5) / 1100).start for n in range(1100)]
    assert np.bincount(starts).tolist() == [100] * 11


def test_the_new_size_is_cut_to_whole_pixels_and_never_empty():
    assert crop_span(101, 0.5, 10, 0.0) == Span(source=101, resized=50, start=0, stop=10, offset=0)
    assert crop_span(3, 0.1, 10, 0.0).resized == 1


def test_scales_are_spread_over_the_whole_range():
    wanted = config(scale_min=0.5, scale_max=2.0)
    scales = [choose(np.random.default_rng(seed), wanted).scale for seed in range(400)]
    assert 0.5 <= min(scales) < 0.52
    assert 1.98 < max(scales) <= 2.0
    assert abs(np.mean(scales) - 1.25) < 0.07


def test_orders_of_the_colour_steps_are_all_taken():
    orders = {tuple(name for name, _ in choose(np.random.default_rng(seed), config()).colours) for seed in range(400)}
    assert len(orders) == 24
    assert all(sorted(order) == sorted(COLOUR_STEPS) for order in orders)


@pytest.mark.parametrize(
    "off",
    [
        {"scale_min": 1.0, "scale_max": 1.0},
        {"flip_probability": 0.0},
        *({name: 0.0} for name in COLOURS),
    ],
    ids=str,
)
def test_switching_one_step_off_leaves_the_others_as_they_were(off):
    full = config(**(LIVELY | COLOURS))
    for seed in range(20):
        with_all, rng_all = choose(rng := np.random.default_rng(seed), full), rng
        without, rng_off = choose(rng := np.random.default_rng(seed), full.model_copy(update=off)), rng
        assert rng_all.random() == rng_off.random()
        changed = {"scale_min": "scale", "flip_probability": "flip"}.get(next(iter(off)), "colours")
        fields = [field for field in with_all._fields if field != changed]
        assert [getattr(with_all, field) for field in fields] == [getattr(without, field) for field in fields]
        kept = [step for step in with_all.colours if step[0] not in off]
        assert [step for step in without.colours if step[0] not in off] == kept


def test_colours_leave_the_padding_black_and_the_label_alone():
    image, label = np.full((20, 20, 3), 200, np.uint8), np.zeros((20, 20), np.uint8)
    for seed in range(10):
        got, classes = augment(image, label, np.random.default_rng(seed), config(**(COLOURS | {"hue": 0.0})))
        assert (got[classes == IGNORE] == 0).all()
        assert (got[classes == 0] > 100).all()


def test_brightness_multiplies():
    image = np.arange(0, 250, 10, dtype=np.uint8).reshape(5, 5, 1).repeat(3, axis=2)
    got = step("brightness", image, 1.25)
    np.testing.assert_allclose(got, np.minimum(255, image * 1.25), atol=1)


def test_contrast_spreads_around_the_mean_grey():
    image = np.array([[60, 100], [110, 130]], np.uint8)[..., None].repeat(3, axis=2)  # mean 100
    np.testing.assert_allclose(step("contrast", image, 0.5), 100 + (image - 100.0) * 0.5, atol=1)


def test_saturation_zero_is_grey_by_the_luma_of_rec_601():
    image, _ = scene()
    got = step("saturation", image, 0.0)
    np.testing.assert_allclose(got, (image @ [0.299, 0.587, 0.114])[..., None].repeat(3, axis=2), atol=1)


@pytest.mark.parametrize(
    ("turns", "red", "blue"), [(1 / 3, [0, 255, 0], [255, 0, 0]), (-1 / 3, [0, 0, 255], [0, 255, 0])]
)
def test_a_third_of_a_turn_exchanges_the_primary_colours_both_ways(turns, red, blue):
    image = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(step("hue", image, turns).astype(int), [[red, blue]], atol=6)


@pytest.mark.parametrize("turns", [0.25, -0.25, 0.02, -0.11])
def test_hues_turn_as_in_the_standard_library(turns):
    colours = np.random.default_rng(0).integers(0, 256, (600, 3), dtype=np.uint8)
    expected = []
    for colour in colours / 255:
        h, s, v = colorsys.rgb_to_hsv(*colour)
        expected.append(colorsys.hsv_to_rgb((h + turns) % 1, s, v))
    np.testing.assert_allclose(turn_hue(colours / 255, turns), expected, atol=1e-12)
    shown = step("hue", colours[None], turns)[0]
    difference = np.abs(shown - np.array(expected) * 255)
    assert difference.max() < 5.5
    assert difference.mean() < 0.6


def test_hue_leaves_grey_pixels_and_a_shift_of_nothing_as_they_are():
    image, _ = scene()
    np.testing.assert_array_equal(step("hue", image, 0.0), image)
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.ptp(step("hue", grey, -0.2).astype(int), axis=2).max() <= 1
    np.testing.assert_allclose(step("hue", grey, -0.2).astype(int), grey, atol=4)


def step(name, image, amount):
    return np.asarray(COLOUR_STEPS[name](Image.fromarray(image), amount))
