"""Centroids of classes in tiles: against a loop over tiles and classes, and against the reference."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from abet.data.centroids import compute_centroids, tile_centroids
from abet.data.index import open_dataset
from abet.errors import DataError, UsageError
from abet.labels import IGNORE, VOID
from tests.trees import make_cityscapes, save

FIELDS = ("images", "classes", "x", "y")


def naive(label, tile, num_classes):
    """One mask for every class in every tile."""
    rows = []
    for train_id in range(num_classes):
        for top in range(0, label.shape[0] - tile + 1, tile):
            for left in range(0, label.shape[1] - tile + 1, tile):
                mask = label[top : top + tile, left : left + tile] == train_id
                if mask.any():
                    y, x = ndimage.center_of_mass(mask)
                    rows.append((train_id, int(x) + left, int(y) + top))
    return np.array(rows, np.int32).reshape(-1, 3)


def advance(units, status=""):
    """Progress that nobody looks at."""


def compute(dataset, processes=1, tile_pixels=16):
    return compute_centroids(dataset, tile_pixels=tile_pixels, processes=processes, advance=advance)


def rows(centroids):
    return list(zip(*(getattr(centroids, name).tolist() for name in FIELDS), strict=True))


# --- one label

LABELS = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 5, 6, 200, IGNORE]))
)


@settings(max_examples=40)
@given(LABELS, st.integers(1, 45), st.integers(1, 7))
def test_every_class_of_every_tile_has_its_centre_of_mass(label, tile, num_classes):
    found = tile_centroids(label, tile, num_classes)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, naive(label, tile, num_classes))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 5))
def test_long_runs_end_at_the_edges_of_tiles(seed, tile, scale):
    blocks = np.random.default_rng(seed).integers(0, 3, (9, 7), dtype=np.uint8)
    label = np.kron(blocks, np.ones((scale, 3 * scale), np.uint8))
    np.testing.assert_array_equal(tile_centroids(label, tile, 3), naive(label, tile, 3))


def test_a_view_with_strides_is_read_like_its_copy():
    label = np.random.default_rng(0).integers(0, 4, (50, 60), dtype=np.uint8)
    for view in (label.T, label[::-1, ::2]):
        np.testing.assert_array_equal(tile_centroids(view, 13, 4), naive(view.copy(), 13, 4))


@pytest.mark.parametrize("shape", [(15, 100), (100, 15), (15, 15), (0, 0), (0, 20)])
def test_a_label_smaller_than_a_tile_yields_nothing(shape):
    assert tile_centroids(np.zeros(shape, np.uint8), 16, 3).shape == (0, 3)


def test_what_is_left_over_beyond_the_last_tile_is_not_looked_at():
    label = np.zeros((35, 50), np.uint8)
    label[32:], label[:, 48:] = 1, 2
    assert set(tile_centroids(label, 16, 3)[:, 0]) == {0}


def test_a_centre_need_not_lie_on_its_class_and_is_rounded_down():
    ring = np.full((8, 8), 1, np.uint8)
    ring[2:6, 2:6] = IGNORE
    assert tile_centroids(ring, 8, 2).tolist() == [[1, 3, 3]]


def test_sums_of_large_tiles_are_exact():
    label = np.zeros((4096, 4096), np.uint8)
    assert tile_centroids(label, 4096, 1).tolist() == [[0, 2047, 2047]]
    label[0, 0] = 1
    # the mean of the others is 2047.5 and a bit
    assert tile_centroids(label, 4096, 1).tolist() == [[0, 2047, 2047]]


# --- against the reference


@pytest.fixture
def golden(golden_dir):
    """Label maps, and the reference's answers."""
    with np.load(golden_dir / "train_golden.npz") as file:
        labels = [file[name] for name in sorted(file.files) if re.fullmatch(r"cu/label\d+", name)]
    return labels, json.loads((golden_dir / "train_golden.json").read_text())


def test_the_centroids_are_the_reference_s(golden, tmp_path):
    labels, expected = golden
    by_class = expected["cu/centroids_tile32"]
    num_classes = max(map(int, by_class)) + 1
    found = {train_id: [] for train_id in range(num_classes)}
    for place, label in enumerate(labels):
        for train_id, x, y in tile_centroids(label, 32, num_classes).tolist():
            found[train_id].append([place, [x, y]])
    assert {str(train_id): list_ for train_id, list_ in found.items() if list_} == by_class


@pytest.mark.parametrize("shape", [(1024, 2048), (1500, 2500)])
def test_the_tiles_are_the_reference_s(golden, shape):
    label = np.zeros(shape, np.uint8)
    half = (1024 - 1) // 2
    corners = [[x - half, y - half] for _, x, y in tile_centroids(label, 1024, 1).tolist()]
    assert corners == golden[1][f"cu/tiles_{shape[0]}x{shape[1]}_t1024"]


# --- a data set


def test_centroids_are_sorted_by_class_then_image_then_tile(dataset):
    expected = []
    for place, pair in enumerate(dataset.pairs):
        _, label = dataset.read(pair)
        expected += [(place, train_id, x, y) for train_id, x, y in naive(label, 16, 3).tolist()]
    found = compute(dataset)
    assert rows(found) == sorted(expected, key=lambda row: (row[1], row[0]))
    assert [getattr(found, name).dtype for name in FIELDS] == [np.int32, np.uint8, np.int32, np.int32]
    assert len(found) == len(expected)


def test_the_centroids_of_a_class_are_a_part_of_all(dataset):
    found = compute(dataset)
    parts = [rows(found.of_class(train_id)) for train_id in range(3)]
    assert [{row[1] for row in part} for part in parts] == [{0}, {1}, {2}]
    assert [row for part in parts for row in part] == rows(found)
    assert len(found.of_class(254)) == 0


def test_labels_are_read_by_the_table_of_the_data_set(tmp_path):
    samples = make_cityscapes(tmp_path)
    dataset = open_dataset("cityscapes", tmp_path)
    found = compute(dataset)
    for place, pair in enumerate(dataset.pairs):
        expected = naive(samples[pair.name].label, 16, 19).tolist()
        assert [list(row[1:]) for row in rows(found) if row[0] == place] == expected


def test_any_number_of_processes_finds_the_same(dataset):
    alone = compute(dataset)
    counted = []
    parallel = compute_centroids(
        dataset, tile_pixels=16, processes=2, advance=lambda units, status="": counted.append(units)
    )
    assert rows(parallel) == rows(alone)
    assert sum(counted) == len(dataset.pairs)


def test_images_smaller_than_a_tile_are_no_error(dataset):
    found = compute(dataset, tile_pixels=64)
    assert len(found) == 0
    assert len(found) == 0


def test_classes_that_never_occur_are_named(dataset):
    for pair in dataset.pairs:
        label = np.zeros((48, 64), np.uint8)
        label[20:] = VOID
        save(pair.label, label)
    assert set(compute(dataset).classes.tolist()) == {0}


@pytest.mark.parametrize(("processes", "tile_pixels"), [(0, 16), (1, 0)])
def test_a_count_below_one_is_refused(dataset, processes, tile_pixels):
    with pytest.raises(UsageError, match="at least 1"):
        compute(dataset, processes, tile_pixels)


# --- faults


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.faults)])
@pytest.mark.parametrize("fault", ["truncated", "foreign value", "gone"])
def test_the_first_label_that_cannot_be_read_is_named_with_the_remedy(dataset, processes, fault):
    for pair in dataset.pairs[3::6]:
        if fault == "truncated":
            pair.label.write_bytes(pair.label.read_bytes()[:100])
        elif fault == "foreign value":
            save(pair.label, np.full((48, 64), 77, np.uint8))
        else:
            pair.label.unlink()
    name = re.escape(str(dataset.pairs[3].label))
    with pytest.raises(DataError, match=rf"{name}: .*`abet data check scenes .* --split train`"):
        compute(dataset, processes)
