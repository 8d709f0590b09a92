"""A full verification of a training set counts its classes."""

import numpy as np
import pytest

from abet.data.check import ClassCounts, check, describe
from abet.data.cityscapes import LABEL_IDS
from abet.labels import CITYSCAPES, IGNORE, MAPILLARY
from tests.trees import make_cityscapes, make_mapillary, make_training_sample, save


@pytest.mark.parametrize(("name", "make", "classes"), [
    ("cityscapes", make_cityscapes, CITYSCAPES), ("mapillary", make_mapillary, MAPILLARY),
])  # fmt: skip
def test_a_sound_root_is_counted_class_by_class(tmp_path, name, make, classes):
    labels = np.concatenate([sample.label.ravel() for sample in make(tmp_path, count=5).values()])
    report = check(name, tmp_path)
    assert report.ok
    assert report.images == 5
    assert report.pixels == ClassCounts(
        names=tuple(row.name for row in classes),
        pixels=tuple(int(np.sum(labels == train_id)) for train_id in range(len(classes))),
        ignored=int(np.sum(labels == IGNORE)),
    )
    assert report.pixels.total == labels.size


def test_classes_that_never_occur_are_a_note_and_no_fault(tmp_path):
    samples = make_cityscapes(tmp_path, count=2, kinds=("labelTrainIds",))
    for name, train_id in zip(samples, (0, 13), strict=True):
        path = name.replace("leftImg8bit/", "gtFine/", 1).replace("_leftImg8bit", "_gtFine_labelTrainIds")
        save(tmp_path / path, np.full((48, 64), train_id, dtype=np.uint8))
    report = check("cityscapes", tmp_path)
    assert report.ok
    absent = [row.name for row in CITYSCAPES if row.name not in ("road", "car")]
    assert f"17 classes never occur: {', '.join(absent)}" in report.notes


def test_labels_that_are_ignored_throughout_are_noted_and_useless_if_all_are(tmp_path):
    make_cityscapes(tmp_path, count=3)
    paths = sorted(tmp_path.rglob("*_labelIds.png"))
    save(paths[0], np.zeros((48, 64), dtype=np.uint8))
    report = check("cityscapes", tmp_path)
    assert report.ok
    assert "1 image is ignored throughout: read, and without effect on what is learned" in report.notes
    for path in paths[1:]:
        save(path, np.full((48, 64), 4, dtype=np.uint8))
    assert [fault.message for fault in check("cityscapes", tmp_path).faults] == [
        f"no labelled pixel in the whole set: nothing can be learned (the labels are read as {LABEL_IDS}); labels of "
        "another kind? Compare the tree with docs/datasets.md"
    ]


def test_no_fault_hides_another(tmp_path):
    make_mapillary(tmp_path, count=6)
    image, label = sorted((tmp_path / "training/images").iterdir()), sorted((tmp_path / "training/labels").iterdir())
    image[0].write_bytes(image[0].read_bytes()[:200])
    save(label[0], np.full((48, 64), 99, dtype=np.uint8))
    save(label[1], np.zeros((5, 5), dtype=np.uint8))
    label[2].unlink()
    image[3].unlink()
    (tmp_path / "config.json").unlink()
    report = check("mapillary", tmp_path)
    assert [(fault.kind, fault.file) for fault in report.faults] == [
        ("class table", "config.json"),
        ("image without label", "training/images/-02_Vistas.jpg"),
        ("label without image", "training/labels/-03_Vistas.png"),
        ("image", "training/images/-00_Vistas.jpg"),
        ("label values", "training/labels/-00_Vistas.png"),
        ("size", "training/labels/-01_Vistas.png"),
    ]
    assert report.pixels.total == 2 * 48 * 64, "the two sound pairs"


def test_the_description_has_a_line_per_class_with_its_share(tmp_path):
    make_cityscapes(tmp_path, count=1, kinds=("labelTrainIds",))
    label = np.zeros((48, 64), dtype=np.uint8)
    label[:12] = 13
    label[12] = IGNORE
    save(next(tmp_path.rglob("*_labelTrainIds.png")), label)
    lines = describe(check("cityscapes", tmp_path)).splitlines()
    assert lines[0] == f"cityscapes (train) in {tmp_path}, tree: usual"
    rows = {tuple(line.split()) for line in lines}
    assert {("0", "road", "2240", "72.92%"), ("13", "car", "768", "25.00%"), ("ignored", "64", "2.08%")} <= rows
    assert ("16", "train", "0", "0.00%") in rows
    assert len({len(line) for line in lines if line.endswith("%")}) == 1, "the columns are aligned"
    assert lines[-1] == "no fault"


def test_a_root_without_a_tree_is_one_fault_and_counts_nothing(tmp_path):
    report = check("mapillary", tmp_path, "validation")
    assert (report.split, report.layout, report.pixels) == ("validation", None, ClassCounts())
    assert "pixels" not in describe(report)


def test_another_size_of_label_is_a_fault(tmp_path):
    make_cityscapes(tmp_path, count=2)
    save(next(tmp_path.rglob("*_leftImg8bit.png")), make_training_sample(19, (40, 64)).image)
    assert [fault.kind for fault in check("cityscapes", tmp_path).faults] == ["size"]
