"""Validation images go through every rank's share once; and a set must hold something to learn."""

import numpy as np
import pytest

from abet.data.index import Dataset
from abet.data.loader import ValidationImages, require_valid_pixels
from abet.errors import DataError
from abet.labels import IGNORE
from tests.data.scenes import COUNT, until_error
from tests.trees import save


@pytest.mark.parametrize("processes", [1, 2, 3, 12])
def test_validation_images_go_to_exactly_one_rank_in_order(dataset, processes):
    found = []
    for rank in range(processes):
        with ValidationImages(dataset, rank, processes) as images:
            share = list(images)
        assert [loaded.place for loaded in share] == list(range(rank, COUNT, processes))
        found += share
    assert sorted(loaded.place for loaded in found) == list(range(COUNT))
    for place, pair, image, label in found:
        assert pair is dataset.pairs[place]
        for got, expected in zip((image, label), dataset.read(pair), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_validation_can_be_left_early_and_names_a_corrupt_image_in_its_turn(dataset):
    dataset.pairs[4].image.write_bytes(b"no image")
    with ValidationImages(dataset, 0, 2) as images:
        assert next(iter(images)).place == 0
    with ValidationImages(dataset, 0, 2) as images:
        seen, caught = until_error(DataError, iter(images).__next__)
    assert [loaded.place for loaded in seen] == [0, 2]
    assert str(dataset.pairs[4].image) in str(caught)


def test_validation_decodes_only_a_few_images_ahead(dataset, monkeypatch):
    read, seen = Dataset.read, []

    def counted(dataset, pair):
        seen.append(pair.name)
        return read(dataset, pair)

    monkeypatch.setattr(Dataset, "read", counted)
    with ValidationImages(dataset, 0, 1, threads=2) as images:
        for number, _ in enumerate(images, start=1):
            assert len(seen) <= number + 3


def test_one_valid_pixel_anywhere_is_enough_and_the_search_ends_there(dataset, monkeypatch):
    for pair in dataset.pairs:
        save(pair.label, np.full((48, 64), IGNORE, np.uint8))
    with pytest.raises(DataError) as caught:
        require_valid_pixels(dataset)
    for part in ("scenes", "split train", "all 10 labels", "three classes", "data.train_split", "abet data check"):
        assert part in str(caught.value)
    one = np.full((48, 64), IGNORE, np.uint8)
    one[7, 9] = 2
    save(dataset.pairs[6].label, one)
    dataset.pairs[5].label.write_bytes(b"damaged")  # training names it when its turn comes
    require_valid_pixels(dataset)


def test_the_check_of_valid_pixels_reads_no_image_and_stops_at_the_first_hit(dataset):
    for pair in dataset.pairs:
        pair.image.unlink()
    for pair in dataset.pairs[1:]:
        pair.label.unlink()
    require_valid_pixels(dataset)


def test_labels_that_cannot_be_read_are_counted_when_no_other_holds_a_valid_pixel(dataset):
    for pair in dataset.pairs:
        pair.label.unlink()
    with pytest.raises(DataError, match=r"or cannot be read \(10 of them\)"):
        require_valid_pixels(dataset)
