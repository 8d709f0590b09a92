"""SegmentMeIfYouCan's sets: public labels for the validation images alone."""

import pytest

from abet.data.index import open_dataset
from abet.errors import DataError, UsageError
from tests.trees import SEGMENT_ME, make_sample, make_segment_me, save


@pytest.mark.parametrize("name", SEGMENT_ME)
def test_the_validation_images_are_read_and_the_hidden_ones_passed_over(tmp_path, name):
    samples = make_segment_me(tmp_path, name, hidden=4)
    dataset = open_dataset(name, tmp_path)
    assert (dataset.split, [pair.name for pair in dataset.pairs]) == ("validation", sorted(samples))


@pytest.mark.parametrize("name", SEGMENT_ME)
def test_the_test_split_is_refused_with_what_to_do_instead(tmp_path, name):
    make_segment_me(tmp_path, name)
    with pytest.raises(UsageError, match=f"labels of its .* images are hidden.*`abet submission --dataset {name}`"):
        open_dataset(name, tmp_path, "test")


def test_what_the_toolkit_leaves_out_of_its_validation_split_is_left_out(tmp_path):
    make_segment_me(tmp_path, "road_obstacle_21", count=31)
    kept = [pair.image.stem for pair in open_dataset("road_obstacle_21", tmp_path).pairs]
    assert set(kept) == {f"validation_{number}" for number in range(31)} - {
        "validation_19",
        *(f"validation_{number}" for number in range(21, 30)),
    }
    assert "10 images that the toolkit leaves out are not read" in open_dataset("road_obstacle_21", tmp_path).notes


def test_a_label_without_image_is_reported_among_validation_names_alone(tmp_path):
    make_segment_me(tmp_path)
    save(tmp_path / "labels_masks/street0000_labels_semantic.png", make_sample().label)
    open_dataset("road_anomaly_21", tmp_path)
    save(tmp_path / "labels_masks/validation0099_labels_semantic.png", make_sample().label)
    with pytest.raises(DataError, match=r"label without image: labels_masks/validation0099_labels_semantic\.png"):
        open_dataset("road_anomaly_21", tmp_path)
