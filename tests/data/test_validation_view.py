"""A square from the middle of each validation image: nothing shifted, and nothing of it labelled that is not there."""

import numpy as np
import pytest
from PIL import Image

from abet.data.loader import ValidationImages
from abet.data.validation_view import validation_view
from abet.labels import IGNORE

LANDSCAPE, PORTRAIT = (30, 52), (52, 30)
SIZES = [LANDSCAPE, PORTRAIT, (40, 40), (64, 100), (100, 64), (31, 47), (47, 31), (20, 200), (200, 20), (24, 24)]


def sample(size, seed=0):
    rng = np.random.default_rng(seed)
    # smooth, so that one grey level is a small difference
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    image = np.array(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))
    return image, rng.integers(0, 9, size, dtype=np.uint8)


def naive(image, label, height):
    """Resize the whole, then look up every pixel of the square: outside is black and ignored."""
    rows, columns = label.shape
    width = columns * height // rows
    resized = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    seen, classes = np.zeros((height, height, 3), np.uint8), np.full((height, height), IGNORE, np.uint8)
    left = round((width - height) / 2) if width >= height else -((height - width) // 2)
    for y, x in np.ndindex(height, height):
        if 0 <= x + left < width:
            seen[y, x] = resized[y, x + left]
            source = (int((y + 0.5) * rows / height), int((x + left + 0.5) * columns / width))
            classes[y, x] = label[source]
    return seen, classes


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("height", [24, 37, 60])
def test_it_is_the_middle_of_the_resized_image_in_either_orientation(size, height):
    image, label = sample(size)
    before = image.copy(), label.copy()
    seen, classes = validation_view(image, label, height)
    wanted, wanted_classes = naive(image, label, height)
    assert seen.dtype == classes.dtype == np.uint8
    assert np.abs(seen.astype(int) - wanted).max() <= 1
    np.testing.assert_array_equal(classes, wanted_classes)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(label, before[1])


@pytest.mark.parametrize(("height", "left", "right"), [(52, 11, 11), (53, 11, 12)])
def test_a_portrait_image_stays_in_the_middle_between_ignored_columns(height, left, right):
    image, label = np.full((*PORTRAIT, 3), 200, np.uint8), np.full(PORTRAIT, 3, np.uint8)
    seen, classes = validation_view(image, label, height)
    valid = classes != IGNORE
    np.testing.assert_array_equal(valid, (seen == 200).all(axis=2))
    np.testing.assert_array_equal((seen == 0).all(axis=2), ~valid)
    assert valid.all(axis=0).tolist() == [False] * left + [True] * (height - left - right) + [False] * right
    assert set(np.unique(classes)) == {3, IGNORE}


def test_a_landscape_image_has_no_ignored_pixel():
    _, classes = validation_view(*sample(LANDSCAPE), 36)
    assert (classes != IGNORE).all()


def test_a_square_of_the_height_is_left_as_it_is():
    image, label = sample((24, 24))
    seen, classes = validation_view(image, label, 24)
    np.testing.assert_array_equal(seen, image)
    np.testing.assert_array_equal(classes, label)


def test_validation_images_come_as_squares_when_asked_for(dataset):
    with ValidationImages(dataset, 1, 3, height=20) as images:
        assert len(images) == 3
        for place, pair, image, label in images:
            assert pair is dataset.pairs[place]
            for got, wanted in zip((image, label), validation_view(*dataset.read(pair), 20), strict=True):
                np.testing.assert_array_equal(got, wanted)
