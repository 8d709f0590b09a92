"""From a root to pairs to arrays: every tree, its order, its names and what reading refuses."""

import pickle
import re

import numpy as np
import pytest
from PIL import Image

from abet.data.images import ImageNote
from abet.data.index import open_dataset
from abet.data.registry import DATASETS, OOD_SETS, TRAINING_SETS
from abet.errors import DataError, UsageError
from tests.trees import make_lost_and_found, make_road_anomaly, make_sample, save

# --- complete roots


def test_every_tree_is_read_exactly_and_in_order(tree):
    name, root, samples = tree
    dataset = open_dataset(name, root)
    assert [pair.name for pair in dataset.pairs] == sorted(samples)
    for pair in dataset.pairs:
        image, label = dataset.read(pair)
        np.testing.assert_array_equal(image, samples[pair.name].image)
        np.testing.assert_array_equal(label, samples[pair.name].label)
        assert label.dtype == image.dtype == np.uint8
        assert root / pair.name == pair.image


def test_order_is_that_of_the_whole_relative_path_not_of_the_disk(tmp_path):
    for stem in ("b", "a b", "B", "a", "ä"):
        sample = make_sample()
        save(tmp_path / "original" / f"{stem}.png", sample.image)
        save(tmp_path / "labels" / f"{stem}.png", sample.label)
    names = [pair.name for pair in open_dataset("road_anomaly", tmp_path).pairs]
    assert names == ["original/B.png", "original/a b.png", "original/a.png", "original/b.png", "original/ä.png"]


def test_scenes_are_part_of_the_path_that_orders(tmp_path):
    for scene, stem in (("b", "1"), ("a", "2"), ("a-b", "3")):
        save(tmp_path / f"leftImg8bit/test/{scene}/{stem}_leftImg8bit.png", make_sample().image)
        save(tmp_path / f"gtCoarse/test/{scene}/{stem}_gtCoarse_labelTrainIds.png", make_sample().label)
    scenes = [pair.image.parent.name for pair in open_dataset("lost_and_found", tmp_path).pairs]
    assert scenes == ["a-b", "a", "b"], "by the characters of a-b/3, a/2, b/1: '-' sorts before '/'"


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG", ".webp", ".bmp"])
@pytest.mark.parametrize("layout", ["synboost", "epfl"])
def test_any_image_suffix_finds_its_label(tmp_path, layout, suffix):
    samples = make_road_anomaly(tmp_path, layout=layout, suffix=suffix)
    dataset = open_dataset("road_anomaly", tmp_path)
    assert [pair.name for pair in dataset.pairs] == sorted(samples)
    assert dataset.read(dataset.pairs[0])[0].shape == (48, 64, 3)


def test_a_dot_in_a_name_is_no_suffix(tmp_path):
    sample = make_sample()
    save(tmp_path / "frames/deer.2.night.jpg", sample.image)
    save(tmp_path / "frames/deer.2.night.labels/labels_semantic.png", sample.label * 0)
    assert [pair.name for pair in open_dataset("road_anomaly", tmp_path).pairs] == ["frames/deer.2.night.jpg"]


def test_hidden_files_and_other_kinds_are_passed_over(tree):
    name, root, samples = tree
    pair = open_dataset(name, root).pairs[0]
    for file in (pair.image, pair.label):
        for stray in (f"._{file.name}", ".DS_Store", "Thumbs.db", "readme.md"):
            (file.parent / stray).write_bytes(b"x")
    assert len(open_dataset(name, root).pairs) == len(samples)


def test_siblings_of_a_label_are_not_labels(tmp_path):
    make_road_anomaly(tmp_path / "ra", layout="epfl")
    save(tmp_path / "ra/frames/animal00.labels/labels_semantic_color.png", make_sample().image)
    save(tmp_path / "ra/frames/animal00.labels/labels_instance.png", make_sample().label)
    make_lost_and_found(tmp_path / "laf")
    scene = tmp_path / "laf/gtCoarse/test/02_Hanns_Klemm_Str_44"
    (scene / "02_Hanns_Klemm_Str_44_000000_000010_gtCoarse_polygons.json").write_text("{}")
    save(scene / "02_Hanns_Klemm_Str_44_000000_000010_gtCoarse_color.png", make_sample().image)
    assert len(open_dataset("road_anomaly", tmp_path / "ra").pairs) == 3
    assert len(open_dataset("lost_and_found", tmp_path / "laf").pairs) == 3


def test_splits_are_kept_apart_and_test_is_the_default(tmp_path):
    make_lost_and_found(tmp_path, count=2, split="test")
    make_lost_and_found(tmp_path, count=4, split="train")
    default = open_dataset("lost_and_found", tmp_path)
    assert (default.split, len(default.pairs)) == ("test", 2)
    assert len(open_dataset("lost_and_found", tmp_path, "train").pairs) == 4


def test_train_ids_win_where_both_kinds_are_there(tmp_path):
    make_lost_and_found(tmp_path, count=1)
    for path in tmp_path.rglob("*_labelIds.png"):
        path.write_bytes(b"never opened")
    dataset = open_dataset("lost_and_found", tmp_path)
    dataset.read(dataset.pairs[0])
    assert "labelTrainIds" in " ".join(dataset.notes)


def test_a_count_other_than_the_published_is_noted(tmp_path):
    make_road_anomaly(tmp_path)
    assert "3 images, the published test split has 60" in open_dataset("road_anomaly", tmp_path).notes


def test_a_dataset_travels_to_other_processes(tree):
    name, root, _ = tree
    dataset = open_dataset(name, root)
    assert pickle.loads(pickle.dumps(dataset)) == dataset


# --- names


def test_an_unknown_data_set_or_split_lists_the_choices(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'road_anomaly'"):
        open_dataset("road_anomly", tmp_path)
    with pytest.raises(UsageError, match=r"split of lost_and_found 'val'.*test, train"):
        open_dataset("lost_and_found", tmp_path, "val")


def test_a_data_set_is_either_evaluated_or_learned_from():
    assert dict(DATASETS) == {**OOD_SETS, **TRAINING_SETS}
    assert {name for name, spec in DATASETS.items() if spec.kind == "ood"} == set(OOD_SETS)
    assert set(TRAINING_SETS) == {"cityscapes", "mapillary"}


@pytest.mark.parametrize("name", DATASETS)
def test_each_data_set_says_where_it_comes_from(name):
    spec = DATASETS[name]
    assert spec.default_split in spec.splits
    assert set(spec.published_images) == set(spec.splits)
    assert spec.page.startswith("http")
    assert re.search(r"\b(CVPR|ICCV|IJCV|IROS|NeurIPS) 20\d\d", spec.citation)
    assert "check the page" in spec.licence or "read them there" in spec.licence


# --- reading


def test_different_sizes_are_refused_with_both(tree):
    name, root, _ = tree
    pair = open_dataset(name, root).pairs[0]
    save(pair.label, np.ones((40, 60), dtype=np.uint8))
    with pytest.raises(DataError, match="label of 60x40 pixels for an image of 64x48"):
        open_dataset(name, root).read(pair)


def test_a_foreign_label_value_names_its_file(tree):
    name, root, _ = tree
    dataset = open_dataset(name, root)
    save(dataset.pairs[0].label, np.full((48, 64), 99, dtype=np.uint8))
    with pytest.raises(DataError, match=rf"{dataset.pairs[0].label.name}: label value 99 in 3072 pixels"):
        dataset.read(dataset.pairs[0])


def test_a_palette_label_goes_through_the_table_as_indices(tmp_path):
    samples = make_road_anomaly(tmp_path, count=1, layout="epfl")
    dataset = open_dataset("road_anomaly", tmp_path)
    label = Image.open(dataset.pairs[0].label).convert("P")
    label.putpalette([77] * 768)
    label.save(dataset.pairs[0].label)
    np.testing.assert_array_equal(dataset.read(dataset.pairs[0])[1], samples[dataset.pairs[0].name].label)


def test_a_converted_image_is_noted_while_reading(tmp_path):
    samples = make_road_anomaly(tmp_path, count=1)
    save(tmp_path / min(samples), samples[min(samples)].image[..., 0])
    dataset = open_dataset("road_anomaly", tmp_path)
    with pytest.warns(ImageNote, match="grey image"):
        dataset.read(dataset.pairs[0])
