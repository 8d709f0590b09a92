"""Labels that are published without their images, and the copies that hold both."""

import re
from pathlib import Path

import numpy as np
import pytest

from abet.data.check import check
from abet.data.index import open_dataset
from abet.errors import DataError
from abet.labels import ID, OOD, VOID
from tests.trees import make_fishyscapes, make_sample, save, translate

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


# --- Static as it is published: overlays beside Cityscapes


def make_static(root, count=2):
    """Overlays that move some pixels out of 0..255."""
    made = {}
    for index in range(count):
        sample, stem = make_sample(seed=index), f"frankfurt_{index:06d}_000019"
        photograph = np.random.default_rng(index).integers(0, 256, sample.image.shape, dtype=np.uint8)
        mask = np.repeat(sample.label[..., None] == OOD, 3, axis=2)
        difference = np.where(mask, 200 - 400 * (index % 2), 0).astype(np.int16)
        save(root / f"leftImg8bit/val/frankfurt/{stem}_leftImg8bit.png", photograph)
        name = root / f"fs_val_v3/{index:04d}_{stem}"
        save(Path(f"{name}_labels.png"), translate(sample.label, {ID: 0, OOD: 1, VOID: 255}))
        np.savez_compressed(f"{name}_rgb.npz", rgb=difference)
        made[f"fs_val_v3/{name.name}_rgb.npz"] = (np.clip(photograph.astype(int) + difference, 0, 255), sample.label)
    save(root / "leftImg8bit/val/frankfurt/frankfurt_000099_000019_leftImg8bit.png", photograph)  # none of this set
    return made


def test_an_overlay_is_added_to_its_photograph_and_cut(tmp_path):
    made = make_static(tmp_path)
    dataset = open_dataset("fishyscapes_static", tmp_path)
    assert [pair.name for pair in dataset.pairs] == sorted(made)
    for pair in dataset.pairs:
        image, label = dataset.read(pair)
        np.testing.assert_array_equal(image, made[pair.name][0])
        np.testing.assert_array_equal(label, made[pair.name][1])
    assert check("fishyscapes_static", tmp_path).ok


def test_another_overlay_is_another_list_of_images(tmp_path):
    make_static(tmp_path)
    before = open_dataset("fishyscapes_static", tmp_path).list_sha256()
    path = next((tmp_path / "fs_val_v3").glob("*.npz"))
    np.savez(path, rgb=np.zeros((48, 64, 3), np.int16))
    assert open_dataset("fishyscapes_static", tmp_path).list_sha256() != before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no archive", "damaged or truncated"),
        ({"bgr": np.zeros((48, 64, 3), np.int16)}, "holds no array 'rgb'"),
        ({"rgb": np.zeros((48, 64, 3), np.float32)}, "'rgb' is float32 of shape (48, 64, 3); integers"),
        ({"rgb": np.zeros((48, 64), np.int16)}, "photograph's shape (48, 64, 3)"),
        ({"rgb": np.zeros((960, 1280, 3), np.int16)}, "bytes, too many for an image of 64x48"),
        ({"rgb": np.array([{}], object)}, "damaged or truncated"),
    ],
)
def test_an_overlay_that_fits_no_photograph_is_a_fault(tmp_path, content, words):
    first = tmp_path / min(make_static(tmp_path))
    if isinstance(content, bytes):
        first.write_bytes(content)
    else:
        np.savez_compressed(first, **content)
    (fault,) = check("fishyscapes_static", tmp_path).faults
    assert (fault.kind, fault.file) == ("overlay", f"fs_val_v3/{first.name}")
    assert words in fault.message
    dataset = open_dataset("fishyscapes_static", tmp_path)
    with pytest.raises(DataError, match=re.escape(words)):
        dataset.read(dataset.pairs[0])


def test_what_is_missing_of_the_three_is_named(tmp_path):
    names = sorted(make_static(tmp_path, count=4))
    (tmp_path / names[0]).unlink()
    (tmp_path / names[1].replace("_rgb.npz", "_labels.png")).unlink()
    (tmp_path / "leftImg8bit/val/frankfurt/frankfurt_000002_000019_leftImg8bit.png").unlink()
    found = {(fault.kind, fault.file.split("/")[1][:4]) for fault in check("fishyscapes_static", tmp_path).faults}
    assert found == {
        ("label without overlay", "0000"),
        ("overlay without label", "0001"),
        ("overlay without photograph", "0002"),
    }
