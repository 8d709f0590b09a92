"""Augmentation keeps image and label together, and its short cuts change nothing."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

from abet.config import AugmentationConfig
from abet.data.colours import NEUTRAL
from abet.data.resize import Span
from abet.data.transforms import apply, augment, choose, crop_span
from abet.labels import IGNORE
from tests.data.test_colours import NAIVE, PILLOW, off

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
    "blur_sigma_min": 0.0,
    "blur_sigma_max": 0.0,
}
LIVELY = STILL | {"scale_min": 0.4, "scale_max": 2.2, "flip_probability": 0.5}
CHOICE_OF = {"scale_min": "scale", "flip_probability": "flip", "blur_sigma_min": "blur_sigma"}
BLUR = {"blur_sigma_min": 0.15, "blur_sigma_max": 1.3}
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
    assert all(sorted(order) == sorted(NEUTRAL) for order in orders)


@pytest.mark.parametrize(
    "off",
    [
        {"scale_min": 1.0, "scale_max": 1.0},
        {"flip_probability": 0.0},
        *({name: 0.0} for name in COLOURS),
        {"blur_sigma_min": 0.0, "blur_sigma_max": 0.0},
    ],
    ids=str,
)
def test_switching_one_step_off_leaves_the_others_as_they_were(off):
    full = config(**(LIVELY | COLOURS | BLUR))
    for seed in range(20):
        with_all, rng_all = choose(rng := np.random.default_rng(seed), full), rng
        without, rng_off = choose(rng := np.random.default_rng(seed), full.model_copy(update=off)), rng
        assert rng_all.random() == rng_off.random()
        changed = CHOICE_OF.get(next(iter(off)), "colours")
        fields = [field for field in with_all._fields if field != changed]
        assert [getattr(with_all, field) for field in fields] == [getattr(without, field) for field in fields]
        kept = [step for step in with_all.colours if step[0] not in off]
        assert [step for step in without.colours if step[0] not in off] == kept


def test_colours_leave_the_padding_black_and_the_label_alone():
    image, label = np.full((20, 20, 3), 200, np.uint8), np.zeros((20, 20), np.uint8)
    for seed in range(10):
        got, classes = augment(image, label, np.random.default_rng(seed), config(**(COLOURS | BLUR | {"hue": 0.0})))
        assert (got[classes == IGNORE] == 0).all()
        assert (got[classes == 0] > 100).all()


def test_the_blur_comes_after_the_colours_and_is_as_wide_as_drawn():
    image, label = scene(40, 56)
    wanted = config(**(COLOURS | BLUR | {"flip_probability": 1.0}))
    for seed in range(5):
        choices = choose(np.random.default_rng(seed), wanted)
        assert 0.15 <= choices.blur_sigma <= 1.3
        sharp, _ = apply(image, label, choices._replace(blur_sigma=0.0), wanted)
        got, _ = apply(image, label, choices, wanted)
        sigma = (choices.blur_sigma, choices.blur_sigma, 0)
        expected = gaussian_filter(sharp.astype(float), sigma, mode="nearest", truncate=4)
        assert np.abs(got - expected).max() <= 0.51


def test_colours_and_blur_together_are_about_a_grey_level_from_doing_one_after_the_other_exactly():
    image, label = scene(40, 56)
    wanted = config(**(COLOURS | BLUR))
    for seed in range(12):
        choices = choose(np.random.default_rng(seed), wanted)
        expected = image.astype(float)
        for name, amount in choices.colours:
            expected = NAIVE[name](expected, amount)
        expected = gaussian_filter(expected, (choices.blur_sigma, choices.blur_sigma, 0), mode="nearest", truncate=4)
        got, _ = apply(image, label, choices, wanted)
        mean, most = off(got, expected)
        assert mean < 1, seed
        assert most < 17, seed  # the bytes of hue


def test_a_crop_is_nearer_to_exact_colours_than_the_plain_chain_and_a_few_grey_levels_from_that():
    """The reference's chain: bytes after every step, which Pillow and its end cut rather than round."""
    colours = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(colours).resize((160, 120), Image.Resampling.BICUBIC))  # smooth, as photographs
    label = scene(120, 160)[1]
    wanted = config(**(LIVELY | COLOURS | BLUR | {"scale_min": 0.5}))
    for seed in range(12):
        choices = choose(np.random.default_rng(seed), wanted)
        cut, _ = naive(image, label, choices, wanted)
        chain, exact = Image.fromarray(np.ascontiguousarray(cut)), cut.astype(float)
        for name, amount in choices.colours:
            chain, exact = PILLOW[name](chain, amount), NAIVE[name](exact, amount)
        sigma = (choices.blur_sigma, choices.blur_sigma, 0)
        exact = gaussian_filter(exact, sigma, mode="nearest", truncate=4)
        plain = np.floor(gaussian_filter(np.asarray(chain) / 255, sigma, mode="nearest", truncate=4) * 255)
        got, _ = apply(image, label, choices, wanted)
        assert off(got, exact)[0] < min(1.6, off(plain, exact)[0]), seed
        mean, most = off(got, plain)
        assert mean < 4.5, seed
        assert most < 26, seed


def test_the_same_bits_come_from_any_number_of_threads():
    image, label = scene(300, 400)
    wanted = config(**(LIVELY | COLOURS | BLUR | {"crop_height": 280, "crop_width": 360}))
    choices = [choose(np.random.default_rng(seed), wanted) for seed in range(6)]
    alone = [apply(image, label, choice, wanted) for choice in choices]
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        together = [apply(image, label, choice, wanted) for choice in choices]
    finally:
        cv2.setNumThreads(before)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_blur_widths_are_spread_over_their_range():
    wanted = config(**BLUR)
    sigmas = [choose(np.random.default_rng(seed), wanted).blur_sigma for seed in range(400)]
    assert 0.15 <= min(sigmas) < 0.17
    assert 1.28 < max(sigmas) <= 1.3
    assert abs(np.mean(sigmas) - 0.725) < 0.05


# --- around a centroid


def starts(source, scale, crop, centroid, **options):
    """First pixel of the crop, in the resized image (negative: padding), for each of many equally spaced places."""
    count = 40 * (crop + 1)
    spans = (crop_span(source, scale, crop, (n + 0.5) / count, centroid, **options) for n in range(count))
    return np.array([span.start - span.offset for span in spans])


def test_a_crop_starts_anywhere_from_one_crop_before_the_centroid_to_the_centroid():
    values, counts = np.unique(starts(200, 1.0, 40, 100), return_counts=True)
    assert values.tolist() == list(range(60, 101))
    assert set(counts) == {40}


def test_the_centroid_is_scaled_and_cut_to_whole_pixels():
    found = starts(200, 1.5, 40, 101)  # 151.5
    assert (found.min(), found.max()) == (111, 151)


@pytest.mark.parametrize(("centroid", "first", "last"), [(0, 0, 0), (15, 0, 15), (199, 159, 160), (190, 150, 160)])
def test_crops_around_a_centroid_near_the_border_are_moved_inside(centroid, first, last):
    found = starts(200, 1.0, 40, centroid)
    assert (found.min(), found.max()) == (first, last)


@settings(max_examples=100)
@given(st.integers(1, 120), st.floats(0.4, 2.2), st.floats(0, 1, exclude_max=True), st.data())
def test_a_centroid_moves_with_the_padding_and_without_it_in_the_quirk(source, scale, place, data):
    centroid, crop = data.draw(st.integers(0, source - 1)), 40
    for quirk in (False, True):
        resized = max(1, int(source * scale))
        padding = (crop - resized) // 2 + 1 if resized < crop else 0
        centre = int(centroid * scale) + (padding if not quirk else 0)
        x1 = range(centre - crop, centre + 1)[int(place * (crop + 1))]
        x1 = max(0, min(x1, resized + 2 * padding - crop))
        span = crop_span(source, scale, crop, place, centroid, quirk_unshifted_centroid=quirk)
        assert span.start - span.offset == x1 - padding
        assert span.stop == min(resized, x1 - padding + crop)


def test_the_quirk_shows_where_padding_is_and_nowhere_else():
    assert (starts(200, 1.0, 40, 50) == starts(200, 1.0, 40, 50, quirk_unshifted_centroid=True)).all()
    # 20 pixels, padded by 11 at both ends; a centroid at 19 stands at 30 of 42, so the crop starts at 0, 1 or 2 of them
    assert set(starts(20, 1.0, 40, 19)) == {-11, -10, -9}
    short, quirk = starts(20, 1.0, 40, 1), starts(20, 1.0, 40, 1, quirk_unshifted_centroid=True)
    assert set(short) == {-11, -10, -9}
    assert set(quirk) == {-11, -10}


def test_a_crop_around_a_centroid_contains_it_and_leaves_the_other_choices_alone():
    image, label = scene(120, 200)
    label[:] = 0
    label[90, 30] = 7
    wanted = config(**(COLOURS | BLUR | {"flip_probability": 0.5}))
    contained = 0
    for seed in range(60):
        rng, plain = np.random.default_rng(seed), np.random.default_rng(seed)
        _, classes = augment(image, label, rng, wanted, (30, 90))
        augment(image, label, plain, wanted)
        assert rng.random() == plain.random()
        contained += 7 in classes
    assert contained >= 54  # but for the starts that end just before it: 1 in 41 rows and 1 in 57 columns
