"""A full verification: sound roots are counted exactly, and every fault of a bad root is found at once."""

import numpy as np
import pytest

from abet.data.check import PixelCounts, check, describe
from abet.errors import UsageError
from abet.labels import ID, OOD, VOID
from tests.trees import make_lost_and_found, make_road_anomaly, make_sample, save


def test_a_sound_root_is_counted_pixel_by_pixel(tmp_path):
    samples = make_road_anomaly(tmp_path, count=5)
    labels = np.concatenate([sample.label.ravel() for sample in samples.values()])
    report = check("road_anomaly", tmp_path)
    assert report.ok
    assert (report.name, report.split, report.layout, report.images) == ("road_anomaly", "test", "synboost", 5)
    assert report.pixels == PixelCounts(
        id=int(np.sum(labels == ID)), ood=int(np.sum(labels == OOD)), void=int(np.sum(labels == VOID))
    )
    assert report.notes == ("5 images, the published test split has 60",)


def test_sizes_are_counted_most_frequent_first(tmp_path):
    make_road_anomaly(tmp_path, count=3, size=(48, 64))
    for stem, size in (("x", (40, 60)), ("y", (30, 60))):
        save(tmp_path / f"original/{stem}.png", make_sample(size).image)
        save(tmp_path / f"labels/{stem}.png", make_sample(size).label)
    assert check("road_anomaly", tmp_path).sizes == (((64, 48), 3), ((60, 30), 1), ((60, 40), 1))


def test_no_fault_hides_another(tmp_path):
    make_road_anomaly(tmp_path, count=8)
    image, label = (
        (lambda i: tmp_path / f"original/animal{i:02d}.png"),
        (lambda i: tmp_path / f"labels/animal{i:02d}.png"),
    )
    image(0).write_bytes(image(0).read_bytes()[:-400])  # a truncated image, and a bad label of the same pair
    save(label(0), np.full((48, 64), 9, dtype=np.uint8))
    label(1).write_bytes(b"")
    save(label(2), np.zeros((5, 5), dtype=np.uint8))
    save(image(3), np.zeros((48, 64), dtype=np.uint16))
    save(label(4), make_sample().image)
    label(5).unlink()
    image(6).unlink()
    report = check("road_anomaly", tmp_path)
    assert [(fault.kind, fault.file) for fault in report.faults] == [
        ("image without label", "original/animal05.png"),
        ("label without image", "labels/animal06.png"),
        ("image", "original/animal00.png"),
        ("label values", "labels/animal00.png"),
        ("label", "labels/animal01.png"),
        ("size", "labels/animal02.png"),
        ("image", "original/animal03.png"),
        ("label", "labels/animal04.png"),
    ]
    assert not report.ok
    assert report.images == 6
    only_sound = make_sample(seed=7).label
    assert report.pixels.ood == int(np.sum(only_sound == OOD))


def test_converted_images_are_notes_and_no_faults(tmp_path):
    samples = make_road_anomaly(tmp_path, count=3)
    grey, rgba, _ = sorted(samples)
    save(tmp_path / grey, samples[grey].image[..., 0])
    save(tmp_path / rgba, np.dstack([samples[rgba].image, samples[rgba].label]))
    report = check("road_anomaly", tmp_path)
    assert report.ok
    assert [note.removeprefix(f"{tmp_path}/") for note in report.notes[1:]] == [
        "original/animal00.png: grey image, converted to RGB",
        "original/animal01.png: RGBA (alpha dropped) image, converted to RGB",
    ]


@pytest.mark.parametrize(("value", "absent"), [(0, "OOD"), (1, "ID")])
def test_a_set_without_a_class_is_a_fault(tmp_path, value, absent):
    for path in make_road_anomaly(tmp_path):
        save(tmp_path / path.replace("original", "labels"), np.full((48, 64), value, dtype=np.uint8))
    assert [fault.message[:30] for fault in check("road_anomaly", tmp_path).faults] == [
        f"no {absent} pixel in the whole set: no metric"[:30]
    ]


def test_void_labels_are_noted_with_their_number(tmp_path):
    make_lost_and_found(tmp_path, count=4)
    for path in sorted(tmp_path.rglob("*_labelTrainIds.png"))[:2]:
        save(path, np.zeros((48, 64), dtype=np.uint8))
    report = check("lost_and_found", tmp_path)
    assert report.ok
    assert "2 images are void throughout: read, and without effect on any figure" in report.notes


def test_the_report_does_not_depend_on_the_number_of_workers(tmp_path):
    make_lost_and_found(tmp_path, count=12)
    for path in sorted(tmp_path.rglob("*_leftImg8bit.png"))[::3]:
        path.write_bytes(b"no image")
    assert check("lost_and_found", tmp_path, workers=1) == check("lost_and_found", tmp_path, workers=7)


def test_progress_counts_every_pair_in_order(tmp_path):
    make_road_anomaly(tmp_path, count=4)
    calls = []
    check("road_anomaly", tmp_path, workers=2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_an_interruption_ends_the_check(tmp_path):
    make_road_anomaly(tmp_path, count=20)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("road_anomaly", tmp_path, workers=1, progress=interrupt)


def test_the_description_counts_and_names_every_fault(tmp_path):
    make_road_anomaly(tmp_path, count=2)
    (tmp_path / "labels/animal01.png").write_bytes(b"")
    report = check("road_anomaly", tmp_path)
    lines = describe(report).splitlines()
    assert lines[:3] == [f"road_anomaly (test) in {tmp_path}, tree: synboost", "images: 2", "  2 of 64x48"]
    assert f"void pixels: {report.pixels.void} (25.00%)" in lines
    assert lines[-2:] == [
        "fault: labels/animal01.png: label: empty file (0 bytes); copy or unpack it again",
        "1 fault",
    ]


def test_the_description_of_no_tree_says_what_was_expected(tmp_path):
    text = describe(check("road_anomaly", tmp_path))
    assert f"fault: {tmp_path} is empty" in text
    assert "frames/NAME.labels/labels_semantic.png" in text


@pytest.mark.parametrize("name", ["road_anomaly", "lost_and_found"])
def test_a_root_without_a_tree_is_one_fault(tmp_path, name):
    report = check(name, tmp_path)
    assert [(fault.kind, fault.file) for fault in report.faults] == [("root", str(tmp_path))]
    assert (report.images, report.layout, report.split) == (0, None, "test")


def test_mistakes_of_the_caller_are_raised(tmp_path):
    with pytest.raises(UsageError):
        check("nothing", tmp_path)
    with pytest.raises(UsageError, match="workers 0"):
        check("road_anomaly", tmp_path, workers=0)
