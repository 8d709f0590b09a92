"""Cityscapes: two trees, label ids or train ids but never a mixture, folds, coarse labels, and no test split."""

import shutil

import numpy as np
import pytest

from abet.data.cityscapes import fold_cities
from abet.data.index import open_dataset
from abet.errors import DataError, UsageError
from abet.labels import CITYSCAPES, IGNORE
from tests.trees import make_cityscapes, make_training_sample, save


def refusal(root, split=None):
    with pytest.raises(DataError) as caught:
        open_dataset("cityscapes", root, split)
    return str(caught.value)


# --- trees


@pytest.mark.parametrize(
    ("tree", "images", "labels"),
    [
        ("usual", "leftImg8bit/train", "gtFine/train"),
        ("nvidia", "leftImg8bit_trainvaltest/leftImg8bit/train", "gtFine_trainvaltest/gtFine/train"),
    ],
)
def test_both_trees_are_read(tmp_path, tree, images, labels):
    samples = make_cityscapes(tmp_path, tree=tree)
    dataset = open_dataset("cityscapes", tmp_path)
    assert (dataset.split, dataset.layout) == ("train", tree)
    assert [pair.name for pair in dataset.pairs] == sorted(samples)
    for pair in dataset.pairs:
        city = pair.image.parent.name
        assert (pair.image.parent, pair.label.parent) == (tmp_path / images / city, tmp_path / labels / city)
        np.testing.assert_array_equal(dataset.read(pair)[1], samples[pair.name].label)
    assert dataset.classes == CITYSCAPES


def test_a_root_with_both_trees_asks_for_one(tmp_path):
    make_cityscapes(tmp_path, tree="usual")
    make_cityscapes(tmp_path, tree="nvidia")
    assert "keep one there" in refusal(tmp_path)


def test_one_archive_alone_says_which_is_missing(tmp_path):
    make_cityscapes(tmp_path, tree="nvidia")
    (tmp_path / "gtFine_trainvaltest").rename(tmp_path / "elsewhere")
    assert "lacks gtFine_trainvaltest/gtFine/train (half unpacked?)" in refusal(tmp_path)


def test_the_same_stem_in_two_cities_is_two_images(tmp_path):
    for city in ("aachen", "bochum"):
        sample = make_training_sample(19)
        save(tmp_path / f"leftImg8bit/train/{city}/x_leftImg8bit.png", sample.image)
        save(tmp_path / f"gtFine/train/{city}/x_gtFine_labelTrainIds.png", sample.label)
    assert len(open_dataset("cityscapes", tmp_path).pairs) == 2


# --- splits


def test_val_is_a_split_of_its_own(tmp_path):
    make_cityscapes(tmp_path, count=2)
    make_cityscapes(tmp_path, count=4, split="val")
    assert len(open_dataset("cityscapes", tmp_path, "train").pairs) == 2
    val = open_dataset("cityscapes", tmp_path, "val")
    assert len(val.pairs) == 4
    assert "4 images, the published val split has 500" in val.notes


def test_the_test_split_is_refused_with_the_reason(tmp_path):
    make_cityscapes(tmp_path, split="test")
    with pytest.raises(UsageError, match=r"dummies.*choices are: train, val, trainval"):
        open_dataset("cityscapes", tmp_path, "test")


def test_trainval_is_both_folders_in_the_order_of_names(tmp_path):
    train, val = make_cityscapes(tmp_path, count=3), make_cityscapes(tmp_path, count=2, split="val", cities=("lindau",))
    assert [pair.name for pair in open_dataset("cityscapes", tmp_path, "trainval").pairs] == sorted({**train, **val})


VAL_CITIES = ("frankfurt", "lindau", "munster")
TRAIN_CITIES = (
    *("aachen", "bochum", "bremen", "cologne", "darmstadt", "dusseldorf", "erfurt", "hamburg", "hanover", "jena"),
    *("krefeld", "monchengladbach", "strasbourg", "stuttgart", "tubingen", "ulm", "weimar", "zurich"),
)
HELD_OUT = {
    "cv1": {"darmstadt", "dusseldorf", "erfurt"},
    "cv2": {"monchengladbach", "strasbourg", "stuttgart"},
}


@pytest.mark.parametrize("fold", HELD_OUT)
@pytest.mark.parametrize("tree", ["usual", "nvidia"])
def test_a_fold_holds_three_cities_out_of_both_folders(tmp_path, fold, tree):
    make_cityscapes(tmp_path, count=18, size=(8, 8), cities=TRAIN_CITIES, tree=tree)
    make_cityscapes(tmp_path, count=3, size=(8, 8), cities=VAL_CITIES, split="val", tree=tree)
    train, val = (open_dataset("cityscapes", tmp_path, f"{fold}_{part}") for part in ("train", "val"))
    assert {pair.image.parent.name for pair in val.pairs} == HELD_OUT[fold]
    assert {pair.image.parent.name for pair in train.pairs} == {*VAL_CITIES, *TRAIN_CITIES} - HELD_OUT[fold]
    assert f"fold {fold[2]} validates on {', '.join(sorted(HELD_OUT[fold]))}" in val.notes
    assert not any("other folds" in note for note in val.notes)


def test_fold_0_is_the_official_split():
    assert fold_cities(VAL_CITIES, TRAIN_CITIES, 0) == VAL_CITIES


def test_folds_of_other_cities_are_pointed_out(tmp_path):
    make_cityscapes(tmp_path, count=4, size=(8, 8), cities=("a", "b", "c", "d"))
    make_cityscapes(tmp_path, count=2, size=(8, 8), cities=("e", "f"), split="val")
    notes = open_dataset("cityscapes", tmp_path, "cv1_val").notes
    assert "6 cities, the published folders have 21: other folds" in notes


@pytest.mark.parametrize("tree", ["usual", "nvidia"])
def test_coarse_labels_are_a_split_of_their_own(tmp_path, tree):
    samples = make_cityscapes(tmp_path, tree=tree, split="train_extra")
    extra = open_dataset("cityscapes", tmp_path, "train_extra")
    assert "labels read from *_gtCoarse_labelIds.png" in extra.notes
    for pair in extra.pairs:
        np.testing.assert_array_equal(extra.read(pair)[1], samples[pair.name].label)


def test_a_missing_coarse_set_names_its_folders(tmp_path):
    make_cityscapes(tmp_path)
    message = refusal(tmp_path, "train_extra")
    assert "lacks leftImg8bit/train_extra, gtCoarse/train_extra" in message
    assert "split train is there" in message


def test_a_folder_without_images_is_no_other_kind(tmp_path):
    make_cityscapes(tmp_path, split="val", kinds=("labelTrainIds",))
    for name in ("leftImg8bit", "gtFine"):
        (tmp_path / name / "train" / "aachen").mkdir(parents=True)
    whole = open_dataset("cityscapes", tmp_path, "trainval")
    assert len(whole.pairs) == 3
    assert "labels read from *_gtFine_labelTrainIds.png" in whole.notes


def test_two_folders_with_labels_of_two_kinds_are_refused(tmp_path):
    make_cityscapes(tmp_path)
    make_cityscapes(tmp_path, split="val", kinds=("labelTrainIds",))
    assert "use one kind for both" in refusal(tmp_path, "trainval")


# --- kinds of label


def test_label_ids_win_where_both_kinds_are_there(tmp_path):
    make_cityscapes(tmp_path, kinds=("labelIds", "labelTrainIds"))
    for path in tmp_path.rglob("*_labelTrainIds.png"):
        path.write_bytes(b"never opened")
    dataset = open_dataset("cityscapes", tmp_path)
    dataset.read(dataset.pairs[0])
    assert "labels read from *_gtFine_labelIds.png" in dataset.notes


def test_each_split_has_its_own_kind(tmp_path):
    make_cityscapes(tmp_path, kinds=("labelIds",), split="train")
    samples = make_cityscapes(tmp_path, kinds=("labelTrainIds",), split="val")
    val = open_dataset("cityscapes", tmp_path, "val")
    assert "labels read from *_gtFine_labelTrainIds.png" in val.notes
    np.testing.assert_array_equal(val.read(val.pairs[0])[1], samples[val.pairs[0].name].label)


def test_a_mixture_of_kinds_is_refused(tmp_path):
    make_cityscapes(tmp_path, kinds=("labelIds", "labelTrainIds"))
    next(tmp_path.rglob("*_labelIds.png")).unlink()
    message = refusal(tmp_path)
    assert "1 x mixed label kinds" in message
    assert "has labelTrainIds only, others have labelIds" in message


def test_a_split_without_any_label_asks_for_the_published_kind(tmp_path):
    make_cityscapes(tmp_path, count=1, kinds=())
    (tmp_path / "gtFine/train").mkdir(parents=True)
    assert "expected gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png" in refusal(tmp_path)


def test_colours_instances_and_polygons_are_passed_over(tmp_path):
    samples = make_cityscapes(tmp_path, count=1)
    city = tmp_path / "gtFine/train/aachen"
    for kind in ("color", "instanceIds", "instanceTrainIds"):
        save(city / f"aachen_000000_000019_gtFine_{kind}.png", np.zeros((48, 64), np.uint8))
    (city / "aachen_000000_000019_gtFine_polygons.json").write_text("{}")
    assert len(open_dataset("cityscapes", tmp_path).pairs) == len(samples)


# --- values


@pytest.mark.parametrize("value", [34, 255])
def test_a_label_id_above_33_is_a_fault(tmp_path, value):
    make_cityscapes(tmp_path, count=1)
    dataset = open_dataset("cityscapes", tmp_path)
    save(dataset.pairs[0].label, np.full((48, 64), value, dtype=np.uint8))
    with pytest.raises(
        DataError, match=f"label value {value} in 3072 pixels outside the table of Cityscapes label ids"
    ):
        dataset.read(dataset.pairs[0])


def test_ids_outside_the_evaluated_classes_are_ignored(tmp_path):
    make_cityscapes(tmp_path, count=1)
    dataset = open_dataset("cityscapes", tmp_path)
    save(dataset.pairs[0].label, np.resize(np.array([0, 6, 9, 29, 30], dtype=np.uint8), (48, 64)))
    assert (dataset.read(dataset.pairs[0])[1] == IGNORE).all()


def test_the_same_files_read_by_another_table_have_another_fingerprint(tmp_path):
    make_cityscapes(tmp_path / "ids", kinds=("labelIds",))
    shutil.copytree(tmp_path / "ids", tmp_path / "train ids")
    for path in (tmp_path / "train ids").rglob("*_labelIds.png"):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    ids, train_ids = (open_dataset("cityscapes", tmp_path / folder) for folder in ("ids", "train ids"))
    assert [pair.name for pair in ids.pairs] == [pair.name for pair in train_ids.pairs]
    assert ids.list_sha256() != train_ids.list_sha256()
