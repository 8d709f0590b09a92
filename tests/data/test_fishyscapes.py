"""Labels that are published without their images, and the copies that hold both."""

import re

import numpy as np
import pytest

from abet.data.index import open_dataset
from abet.errors import DataError
from tests.trees import make_fishyscapes, make_sample, save

NAME = "fishyscapes_lost_and_found"


def test_each_label_finds_its_image_among_all_of_lost_and_found(tmp_path):
    samples = make_fishyscapes(tmp_path)
    dataset = open_dataset(NAME, tmp_path)
    assert [pair.name for pair in dataset.pairs] == sorted(samples)
    for pair in dataset.pairs:
        image, label = dataset.read(pair)
        np.testing.assert_array_equal(image, samples[pair.name].image)
        np.testing.assert_array_equal(label, samples[pair.name].label)


def test_the_published_number_of_images_is_compared(tmp_path):
    make_fishyscapes(tmp_path)
    assert "3 images, the published validation split has 100" in open_dataset(NAME, tmp_path).notes


def test_a_label_whose_image_is_missing_is_reported_with_the_name_of_the_image(tmp_path):
    first = min(make_fishyscapes(tmp_path))
    (tmp_path / first).unlink()
    expected = "label without image: fishyscapes_lostandfound/0000_04_Maurener_Weg_8_000000_000030_labels.png"
    with pytest.raises(DataError, match=re.escape(expected) + ".*expected 04_Maurener_Weg_8_000000_000030_leftImg8bit"):
        open_dataset(NAME, tmp_path)


def test_two_labels_of_one_image_are_refused(tmp_path):
    make_fishyscapes(tmp_path)
    label = tmp_path / "fishyscapes_lostandfound/0000_04_Maurener_Weg_8_000000_000030_labels.png"
    label.with_name(label.name.replace("0000_", "0007_", 1)).write_bytes(label.read_bytes())
    with pytest.raises(DataError, match="two labels for one image"):
        open_dataset(NAME, tmp_path)


def test_a_label_named_otherwise_is_reported(tmp_path):
    make_fishyscapes(tmp_path)
    save(tmp_path / "fishyscapes_lostandfound/mask.png", make_sample().label)
    with pytest.raises(DataError, match=r"unexpected name: fishyscapes_lostandfound/mask\.png"):
        open_dataset(NAME, tmp_path)


@pytest.mark.parametrize(("image", "label"), [("7.jpg", "7.png"), ("7_rgb.jpg", "7_labels.png"), ("7.png", "7.png")])
def test_copies_pair_by_what_their_names_share(tmp_path, image, label):
    save(tmp_path / "images" / image, make_sample().image)
    save(tmp_path / "labels_masks" / label, np.zeros((48, 64), dtype=np.uint8))
    assert [pair.label.name for pair in open_dataset("fishyscapes_static", tmp_path).pairs] == [label]
