"""The file of centroids: trusted for the same labels alone, and never needed."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from abet.data import centroid_cache
from abet.data.centroid_cache import fingerprint, load_or_compute
from abet.data.centroids import compute_centroids
from abet.data.tables import ClassTable
from abet.errors import DataError
from abet.files import TEMPORARY
from tests.trees import save

FIELDS = ("images", "classes", "x", "y")


def load(dataset, folder, tile_pixels=16):
    return load_or_compute(dataset, tile_pixels=tile_pixels, folder=folder, processes=1)


def assert_equal(found, wanted):
    for name in FIELDS:
        values, expected = getattr(found, name), getattr(wanted, name)
        assert values.dtype == expected.dtype
        np.testing.assert_array_equal(values, expected)


@pytest.fixture
def computed(monkeypatch):
    """Every result of computing, in turn: what is read from a file adds none."""
    results = []

    def compute(dataset, **options):
        results.append(compute_centroids(dataset, **options))
        return results[-1]

    monkeypatch.setattr(centroid_cache, "compute_centroids", compute)
    return results


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "centroids"


@pytest.fixture
def kept(dataset, folder, computed):
    """The file of the ten scenes."""
    load(dataset, folder)
    [path] = folder.iterdir()
    return path


def moved(dataset, root):
    """The same data set below another root, its files written now."""
    shutil.copytree(dataset.root, root)

    def there(path):
        os.utime(root / path.relative_to(dataset.root), (1, 1))
        return root / path.relative_to(dataset.root)

    pairs = [replace(pair, image=there(pair.image), label=there(pair.label)) for pair in dataset.pairs]
    return replace(dataset, root=root, pairs=tuple(pairs))


# --- trusted


def test_what_was_computed_once_is_read(dataset, folder, kept, computed):
    assert_equal(load(dataset, folder), computed[0])
    assert len(computed) == 1


def test_another_place_of_the_same_files_is_the_same_data_set(dataset, folder, kept, computed, tmp_path_factory):
    other = moved(dataset, tmp_path_factory.mktemp("elsewhere") / "root")
    assert fingerprint(other, 16) == fingerprint(dataset, 16)
    assert_equal(load(other, folder), computed[0])
    assert len(computed) == 1


def test_the_file_holds_no_path(dataset, kept):
    with np.load(kept) as file:
        assert set(file.files) == {*FIELDS, "made_from"}
        assert str(file["made_from"]) == fingerprint(dataset, 16)
        assert all(file[name].dtype.kind in "iu" for name in FIELDS)


def test_a_data_set_without_centroids_is_read_too(dataset, folder, computed):
    for _ in range(2):
        assert len(load(dataset, folder, tile_pixels=64)) == 0
    assert len(computed) == 1


# --- other labels


def other_size(dataset):
    label = np.zeros((48, 64), np.uint8)
    label[:24] = 1
    save(dataset.pairs[4].label, label)
    return dataset


def other_table(dataset):
    table = dataset.labels
    swapped = ClassTable(title=table.title, classes=table.classes, train_ids={0: 1, 1: 0, 2: 2}, ignored=table.ignored)
    return replace(dataset, labels=swapped)


CHANGES = {
    "a label of another size": other_size,
    "another label table": other_table,
    "another split": lambda dataset: replace(dataset, split="validation"),
    "another data set": lambda dataset: replace(dataset, name="other"),
    "fewer images": lambda dataset: dataset.select(limit=3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_labels_have_a_file_of_their_own(dataset, folder, kept, computed, change):
    before = kept.read_bytes()
    changed = CHANGES[change](dataset)
    for _ in range(2):
        found = load(changed, folder)
    assert len(computed) == 2
    assert_equal(found, computed[1])
    assert len(list(folder.iterdir())) == 2
    assert kept.read_bytes() == before


def test_another_tile_has_a_file_of_its_own(dataset, folder, kept, computed):
    assert_equal(load(dataset, folder, tile_pixels=24), computed[1])
    assert len(list(folder.iterdir())) == 2


def test_another_algorithm_has_a_file_of_its_own(dataset, folder, kept, computed, monkeypatch):
    monkeypatch.setattr(centroid_cache, "ALGORITHM", centroid_cache.ALGORITHM + 1)
    load(dataset, folder)
    assert len(computed) == 2


# --- damaged files


def rewritten(path, **changes):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)


def an_array(path):
    with path.open("wb") as file:
        np.save(file, np.arange(3))


def another_file(path):
    rewritten(path, made_from=np.array("0" * 64))


FAULTS = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"garbage" * 100),
    "a flipped byte": flip_a_byte,
    "a pickle": lambda path: np.savez(path, made_from=np.array([{}], dtype=object)),
    "one array": an_array,
    "another data set's": another_file,
    "an array is missing": lambda path: rewritten(path, x=None),
    "other types": lambda path: rewritten(path, x=np.zeros(3)),
    "other lengths": lambda path: rewritten(path, x=np.zeros(3, np.int32)),
    "images beyond the list": lambda path: rewritten(path, **one_row(images=10)),
    "classes beyond the table": lambda path: rewritten(path, **one_row(classes=3)),
    "out of order": lambda path: rewritten(path, **{n: np.array([2, 1], t) for n, t in TYPES.items()}),
}
TYPES = {"images": np.int32, "classes": np.uint8, "x": np.int32, "y": np.int32}


def one_row(**values):
    return {name: np.array([values.get(name, 0)], dtype) for name, dtype in TYPES.items()}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_is_noted_and_made_anew(dataset, folder, kept, computed, capsys, fault):
    capsys.readouterr()
    FAULTS[fault](kept)
    assert_equal(load(dataset, folder), computed[0])
    assert f"{kept}: passed over, not usable (" in capsys.readouterr().err
    load(dataset, folder)
    assert len(computed) == 2
    assert "not usable" not in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == [kept.name]


# --- folders


def test_a_folder_that_cannot_be_made_is_noted_and_does_no_harm(dataset, computed, tmp_path, capsys):
    (tmp_path / "file").touch()
    for count in (1, 2):
        assert_equal(load(dataset, tmp_path / "file" / "centroids"), computed[0])
        assert len(computed) == count
        assert "could not be written (Not a directory)" in capsys.readouterr().err


def test_a_read_only_folder_is_noted_and_does_no_harm(dataset, folder, computed, capsys, monkeypatch):
    def refused(*_args, **_options):
        raise PermissionError(13, "Permission denied")  # root, who may run this, writes to any folder

    monkeypatch.setattr("abet.data.centroid_cache.atomic_path", refused)
    assert_equal(load(dataset, folder), computed[0])
    assert "could not be written (Permission denied)" in capsys.readouterr().err


def test_a_write_that_fails_leaves_nothing(dataset, folder, computed, monkeypatch, capsys):
    def full(path, _):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(centroid_cache, "save_arrays", full)
    assert_equal(load(dataset, folder), computed[0])
    assert "could not be written (No space left on device)" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_another_process_that_writes_meanwhile_does_no_harm(dataset, folder, monkeypatch):
    """Its file is there when ours is written, and both are the same."""

    def compute(dataset, **options):
        monkeypatch.setattr(centroid_cache, "compute_centroids", compute_centroids)
        load(dataset, folder)
        return compute_centroids(dataset, **options)

    monkeypatch.setattr(centroid_cache, "compute_centroids", compute)
    first = load(dataset, folder)
    assert_equal(load(dataset, folder), first)
    [path] = folder.iterdir()
    assert not TEMPORARY.fullmatch(path.name)


def test_a_label_that_cannot_be_read_leaves_no_file(dataset, folder, computed):
    dataset.pairs[2].label.write_bytes(b"no label")
    with pytest.raises(DataError, match=r"labels/2\.png.*abet data check"):
        load(dataset, folder)
    assert not folder.exists()
