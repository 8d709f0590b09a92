"""Windows cover an image, and their logits are averaged as a loop over pixels would."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from abet.detector import load_detector
from abet.errors import UsageError
from abet.windows import Inference, averaged_logits, coverage, scaled, windows

SIDES = st.integers(1, 60)


def picture(height=30, width=50, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_pixel(pixels):
    """A network that looks at one pixel at a time."""
    values = torch.from_numpy(pixels).float().permute(2, 0, 1) / 255
    return torch.stack([values[0] - values[1], values[2] * 3, values.sum(0)])


def by_place(pixels):
    """A network whose logits depend on where in the window a pixel is, left and right unlike."""
    height, width = pixels.shape[:2]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return by_pixel(pixels) + torch.stack([columns * 0.1, rows * 0.2 - columns * 0.03, rows * columns * 0.01])


def bilinear(values, length, axis):
    """Interpolated along one axis between the centres of pixels; beyond the outermost centres constant."""
    before = values.shape[axis]
    places = (np.arange(length) + 0.5) * before / length - 0.5
    return np.apply_along_axis(lambda line: np.interp(places, np.arange(before), line), axis, values)


def naive(network, image, crop, overlap, scales, flip):
    """(H, W, C) by lists of what each pixel was given, in float64; windows from `windows`."""
    height, width = image.shape[:2]
    by_scale = []
    for scale in scales:
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        small = image if scale == 1 else np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        side = max(*size) if crop is None else int(crop * max(scale, 1))
        by_flip = []
        for mirrored in (False, True)[: 1 + flip]:
            seen = small[:, ::-1].copy() if mirrored else small
            given_to = {place: [] for place in np.ndindex(*seen.shape[:2])}
            for left, top, right, bottom in windows(*seen.shape[:2], side, overlap):
                logits = network(seen[top:bottom, left:right].copy()).double().numpy()
                for y, x in np.ndindex(bottom - top, right - left):
                    given_to[top + y, left + x].append(logits[:, y, x])
            mean = np.array([np.mean(values, axis=0) for values in given_to.values()]).reshape(*seen.shape[:2], -1)
            mean = mean[:, ::-1].copy() if mirrored else mean
            by_flip.append(bilinear(bilinear(mean, height, axis=0), width, axis=1))
        by_scale.append(np.mean(by_flip, axis=0))
    return np.mean(by_scale, axis=0)


# --- where the windows are


@given(SIDES, SIDES, st.integers(1, 40), st.sampled_from([0, 0.25, 1 / 3, 0.5, 0.9]))
def test_windows_lie_inside_have_the_size_asked_for_and_leave_no_pixel_out(height, width, crop, overlap):
    seen = np.zeros((height, width), int)
    for left, top, right, bottom in windows(height, width, crop, overlap):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert (right - left, bottom - top) == (min(crop, width), min(crop, height))
        seen[top:bottom, left:right] += 1
    assert seen.min() >= 1
    np.testing.assert_array_equal(coverage(height, width, windows(height, width, crop, overlap)).numpy(), seen)


@given(SIDES, st.integers(1, 40), st.sampled_from([0, 0.25, 1 / 3, 0.5]))
def test_neighbours_share_at_least_nearly_the_overlap_and_none_is_given_twice(length, crop, overlap):
    lefts = [left for left, _, _, _ in windows(1, length, crop, overlap)]
    assert lefts == sorted(set(lefts))
    assert all(after - before <= int(np.ceil(crop * (1 - overlap))) for before, after in pairwise(lefts))


def test_windows_are_those_of_the_reference(golden_dir):
    golden = json.loads((golden_dir / "train_golden.json").read_text())
    cases = {name: boxes for name, boxes in golden.items() if name.startswith("sliding/")}
    assert len(cases) == 5
    for name, boxes in cases.items():
        size, scale = name.removeprefix("sliding/").split("@")
        height, width = map(int, size.split("x"))
        assert Inference(crop_pixels=1024).boxes(height, width, float(scale)) == [tuple(box) for box in boxes], name


def test_an_image_far_smaller_than_the_window_has_one_window():
    """The reference's count is zero there."""
    assert windows(100, 90, 1024) == [(0, 0, 90, 100)]


# --- what comes of them


@pytest.mark.parametrize("crop", [None, 12, 31, 64])
@pytest.mark.parametrize(
    ("scales", "flip"), [((1.0,), False), ((1.0,), True), ((0.5, 1.0, 1.7), True), ((2.0,), False)]
)
def test_logits_are_the_means_of_what_each_pixel_was_given(crop, scales, flip):
    image = picture(23, 34)
    got = averaged_logits(by_place, image, Inference(crop_pixels=crop, scales=scales, flip=flip))
    assert got.dtype == torch.float32
    expected = naive(by_place, image, crop, 1 / 3, scales, flip)
    np.testing.assert_allclose(got.permute(1, 2, 0).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_network_that_sees_pixels_alone_does_not_notice_windows_or_mirrors():
    image = picture()
    got = averaged_logits(by_pixel, image, Inference(crop_pixels=16, overlap=0.5, flip=True))
    torch.testing.assert_close(got, by_pixel(image), rtol=1e-5, atol=1e-6)


def test_the_default_is_one_look_at_the_whole_image():
    seen = []

    def network(pixels):
        seen.append(pixels)
        return by_pixel(pixels)

    image = picture()
    assert torch.equal(averaged_logits(network, image, Inference()), by_pixel(image))
    assert len(seen) == 1
    assert seen[0] is image


def test_an_image_smaller_than_the_window_is_looked_at_whole_and_not_padded():
    sizes = []

    def network(pixels):
        sizes.append(pixels.shape[:2])
        return by_pixel(pixels)

    averaged_logits(network, picture(20, 30), Inference(crop_pixels=1024, scales=(0.5, 1.0, 2.0)))
    assert sizes == [(10, 15), (20, 30), (40, 60)]


def test_what_the_network_returned_is_left_alone():
    image, kept = picture(), []

    def network(pixels):
        kept.append((by_pixel(pixels), pixels))
        return kept[-1][0]

    averaged_logits(network, image, Inference(crop_pixels=20, scales=(1.0, 0.5), flip=True))
    for logits, pixels in kept:
        assert torch.equal(logits, by_pixel(pixels))


def test_a_tiny_image_keeps_a_pixel_at_every_scale():
    assert scaled(picture(1, 3), 0.25).shape == (1, 1, 3)
    assert averaged_logits(by_pixel, picture(1, 3), Inference(scales=(0.25, 1.0))).shape == (3, 1, 3)


def test_a_real_network_agrees_with_itself_where_one_window_is_the_image(learned_checkpoint):
    detector = load_detector(learned_checkpoint, device="cpu")
    image = picture(40, 40)

    def network(pixels):
        return detector.output(pixels).logits[0]

    whole, windowed = (averaged_logits(network, image, Inference(crop_pixels=crop, flip=True)) for crop in (None, 40))
    assert torch.equal(whole, windowed)
    mirrored = averaged_logits(network, image[:, ::-1].copy(), Inference(flip=True))
    torch.testing.assert_close(mirrored.flip(-1), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"crop_pixels": 0}, "at least one pixel"),
        ({"overlap": 1.0}, "from 0 to below 1"),
        ({"overlap": float("nan")}, "from 0 to below 1"),
        ({"scales": ()}, "numbers from 0.1 to 8.0"),
        ({"scales": (1.0, 0.0)}, "numbers from 0.1 to 8.0"),
        ({"scales": (float("inf"),)}, "numbers from 0.1 to 8.0"),
        ({"scales": (1000.0,)}, "numbers from 0.1 to 8.0"),
        ({"scales": (1.0, 1.0)}, "each one once"),
    ],
)
def test_what_cannot_be_meant_is_refused(values, said):
    with pytest.raises(UsageError, match=said):
        Inference(**values)
