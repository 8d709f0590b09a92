"""The images whose maps are kept for the report."""

import numpy as np
import pytest

from abet.data.index import Dataset
from abet.samples import MAX_PIXELS, make_sample, sample_names, shrink


def test_samples_are_spread_over_the_set_and_independent_of_sharding(mixed_sizes: Dataset) -> None:
    names = [pair.name for pair in mixed_sizes.pairs]
    assert sample_names(mixed_sizes.pairs, 0) == set()
    assert sample_names(mixed_sizes.pairs, 2) == {names[0], names[-1]}
    assert sample_names(mixed_sizes.pairs, 99) == set(names)


def test_a_sample_keeps_every_nth_pixel_and_its_maps_agree() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, (30, 2100)).astype(np.uint8)
    score = label.astype(np.float32)
    whole = make_sample("a/b.png", np.zeros((30, 2100, 3), np.uint8), label, label, {"abet": score})
    sample = shrink(whole, max_pixels=7000)
    assert sample["label"].shape == sample["prediction"].shape == sample["score_abet"].shape == (10, 700)
    assert sample["image"].shape == (10, 700, 3)
    assert np.array_equal(sample["label"], sample["score_abet"])


@pytest.mark.parametrize("size", [(1, 2100), (2, 300_000), (1, 1), (1025, 1024)])
def test_a_sample_of_any_shape_keeps_at_least_a_pixel(size: tuple[int, int]) -> None:
    label = np.zeros(size, np.uint8)
    sample = shrink(make_sample("a", np.zeros((*size, 3), np.uint8), label, label, {}))
    height, width = sample["label"].shape
    assert 1 <= height <= size[0]
    assert width >= 1
    assert height * width <= MAX_PIXELS
    assert tuple(sample["full_size"]) == size
    assert sample["image"].shape == (height, width, 3)
