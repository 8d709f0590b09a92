"""Mapillary Vistas: v1.1, v1.2 inside the newer archive, a class table that is verified, and v2.0 refused."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from abet.data.check import check
from abet.data.index import open_dataset
from abet.errors import DataError, UsageError
from abet.labels import IGNORE, MAPILLARY
from tests.trees import make_mapillary, mapillary_config, save_palette

NAMES = [row.name for row in MAPILLARY]
CONFIGS = {"v1.1": "config.json", "v1.2": "config_v1.2.json"}


def refusal(root, split=None):
    with pytest.raises(DataError) as caught:
        open_dataset("mapillary", root, split)
    return str(caught.value)


# --- trees


@pytest.mark.parametrize(("version", "labels"), [("v1.1", "training/labels"), ("v1.2", "training/v1.2/labels")])
def test_both_archives_are_read_from_the_labels_of_v1(tmp_path, version, labels):
    samples = make_mapillary(tmp_path, version=version)
    dataset = open_dataset("mapillary", tmp_path)
    assert (dataset.split, dataset.layout) == ("training", version)
    assert [pair.name for pair in dataset.pairs] == sorted(samples)
    assert {pair.label.parent for pair in dataset.pairs} == {tmp_path / labels}
    for pair in dataset.pairs:
        np.testing.assert_array_equal(dataset.read(pair)[1], samples[pair.name].label)
    assert f"labels read from {labels}, their classes compared with {CONFIGS[version]}" in dataset.notes


def test_the_classes_are_the_65_by_train_id(tmp_path):
    make_mapillary(tmp_path)
    assert open_dataset("mapillary", tmp_path).classes == MAPILLARY


def test_palette_labels_are_read_as_indices_whatever_their_colours(tmp_path):
    make_mapillary(tmp_path, count=1)
    dataset = open_dataset("mapillary", tmp_path)
    path = dataset.pairs[0].label
    assert Image.open(path).mode == "P"
    row = np.arange(66, dtype=np.uint8)
    save_palette(path, np.resize(row, (48, 64)), [(9, 9, 9)] * 66)
    expected = np.resize([*range(65), IGNORE], (48, 64))
    np.testing.assert_array_equal(dataset.read(dataset.pairs[0])[1], expected)


@pytest.mark.parametrize("value", [66, 123, 255])
def test_a_value_beyond_the_66_rows_names_itself_and_its_pixels(tmp_path, value):
    make_mapillary(tmp_path, count=1)
    dataset = open_dataset("mapillary", tmp_path)
    numbers = np.zeros((48, 64), dtype=np.uint8)
    numbers[0, :5] = value
    save_palette(dataset.pairs[0].label, numbers, [(0, 0, 0)] * 66)
    with pytest.raises(DataError, match=f"label value {value} in 5 pixels outside the table of Mapillary"):
        dataset.read(dataset.pairs[0])


# --- splits


def test_validation_is_a_split_of_its_own(tmp_path):
    make_mapillary(tmp_path, count=2)
    make_mapillary(tmp_path, count=4, split="validation")
    assert len(open_dataset("mapillary", tmp_path).pairs) == 2
    validation = open_dataset("mapillary", tmp_path, "validation")
    assert len(validation.pairs) == 4
    assert "4 images, the published validation split has 2000" in validation.notes


@pytest.mark.parametrize("split", ["testing", "test"])
def test_the_test_split_is_refused_because_it_has_no_labels(tmp_path, split):
    make_mapillary(tmp_path, split="testing")
    with pytest.raises(UsageError, match=r"labels are not published.*choices are: training, validation"):
        open_dataset("mapillary", tmp_path, split)


def test_an_unknown_split_lists_the_choices(tmp_path):
    with pytest.raises(UsageError, match=r"'train': did you mean 'training'\? The choices are: training, validation"):
        open_dataset("mapillary", tmp_path, "train")


# --- the class table


@pytest.mark.parametrize("version", ["v1.1", "v1.2"])
@pytest.mark.parametrize("rows", [NAMES, [*NAMES, "Unlabeled"], [name.upper() for name in NAMES]])
def test_65_names_will_do_with_and_without_the_66th(tmp_path, version, rows):
    make_mapillary(tmp_path, version=version)
    (tmp_path / CONFIGS[version]).write_text(mapillary_config(rows))
    assert len(open_dataset("mapillary", tmp_path).pairs) == 3


def test_either_name_of_the_class_table_will_do_in_either_tree(tmp_path):
    for version, other in (("v1.1", "config_v1.2.json"), ("v1.2", "config.json")):
        root = tmp_path / version
        make_mapillary(root, version=version)
        (root / CONFIGS[version]).rename(root / other)
        assert f"compared with {other}" in " ".join(open_dataset("mapillary", root).notes)


@pytest.mark.parametrize("version", ["v1.1", "v1.2"])
def test_a_class_table_of_v2_is_refused_with_the_reason(tmp_path, version):
    make_mapillary(tmp_path, version=version)
    (tmp_path / CONFIGS[version]).write_text(mapillary_config([f"Class {number}" for number in range(124)]))
    message = refusal(tmp_path)
    assert f"{CONFIGS[version]}: a table of 124 classes. v2.0 has 124 classes of its own" in message
    assert "the reference and its checkpoints use the 65" in message
    assert "SPLIT/v1.2/labels" in message


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (NAMES[:19], "a table of 19 classes; v1.1 and v1.2 have 65 and 'Unlabeled'"),
        ([], "a table of 0 classes"),
        ([*NAMES[:7], "Bus Lane", *NAMES[8:]], "class 7 is 'Bus Lane', in v1.1 and v1.2 it is 'Bike Lane' (1 of 65 "),
        ([NAMES[1], NAMES[0], *NAMES[2:]], "class 0 is 'Ground Animal', in v1.1 and v1.2 it is 'Bird' (2 of 65 "),
        ([*NAMES, "Pothole"], "class 65 is 'Pothole', in v1.1 and v1.2 it is 'Unlabeled' (1 of 66 "),
    ],
)
def test_other_classes_or_another_order_are_refused(tmp_path, rows, words):
    make_mapillary(tmp_path)
    (tmp_path / "config.json").write_text(mapillary_config(rows))
    assert words in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "missing"),
        (b"", "not readable as JSON"),
        (b'{"labels": [', "not readable as JSON"),
        (b"\xff\xfe", "not readable as JSON"),
        (b"[" * 100_000, "not readable as JSON"),
        (b"[1]", "holds no list of labels"),
        (b'{"labels": {"Bird": 0}}', "holds no list of labels"),
        (json.dumps({"labels": [{"readable": "Bird"}, {"name": "x"}]}).encode(), "label 1 has no readable name"),
        (json.dumps({"labels": ["Bird"]}).encode(), "label 0 has no readable name"),
    ],
)
def test_a_class_table_that_is_missing_or_damaged_leaves_the_root_unverified(tmp_path, content, words):
    make_mapillary(tmp_path)
    (tmp_path / "config.json").unlink()
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    message = refusal(tmp_path)
    assert f"1 x class table: config.json ({words}" in message
    assert "nothing tells which classes the labels have" in message
    report = check("mapillary", tmp_path)
    assert [(fault.kind, fault.file) for fault in report.faults] == [("class table", "config.json")]
    assert report.images == 3, "the pairs are verified all the same"


# --- v2.0 and mixtures


@pytest.mark.parametrize("inside", ["", "mapillary-vistas"])
def test_a_root_that_has_labels_of_v2_alone_is_refused_with_the_reason(tmp_path, inside):
    make_mapillary(tmp_path / inside, version="v2.0")
    message = refusal(tmp_path)
    assert f"{tmp_path / inside} holds labels of v2.0 alone. v2.0 has 124 classes of its own" in message
    assert "config_v1.2.json" in message


def test_labels_of_v1_and_v1_2_side_by_side_ask_for_one(tmp_path):
    make_mapillary(tmp_path, version="v1.1")
    make_mapillary(tmp_path, version="v1.2")
    assert "(training/images, training/labels) and v1.2 in the archive of v2.0" in refusal(tmp_path)


def test_a_root_without_labels_says_what_is_missing(tmp_path):
    make_mapillary(tmp_path)
    shutil.rmtree(tmp_path / "training/labels")
    message = refusal(tmp_path)
    assert "the archive of v1.1: lacks training/labels (half unpacked?)" in message
    assert "lacks training/v1.2/labels (half unpacked?)" in message
