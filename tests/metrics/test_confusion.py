"""Confusion matrices count every labelled pixel once; their figures are those of naive loops over pixels."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abet.labels import IGNORE
from abet.metrics.confusion import confusion, summarise_confusion

CLASSES = 4
LABELS = st.sampled_from([*range(CLASSES), IGNORE])
PIXELS = st.lists(st.tuples(LABELS, st.integers(0, CLASSES - 1)), max_size=40)


def matrix_of(pixels):
    labels, predictions = np.array(pixels, np.uint8).reshape(-1, 2).T
    return confusion(labels, predictions, CLASSES)


def ratio(part, whole):
    return part / whole if whole else None


def mean(values):
    present = [value for value in values if value is not None]
    return ratio(sum(present), len(present))


def naive_figures(pixels):
    """By sets of pixels, as the definitions read."""
    valid = [(label, predicted) for label, predicted in pixels if label != IGNORE]
    iou, precision, recall, share = [], [], [], []
    for c in range(CLASSES):
        both = sum(label == c and predicted == c for label, predicted in valid)
        iou.append(ratio(both, sum(c in pixel for pixel in valid)))
        labelled, claimed = sum(label == c for label, _ in valid), sum(predicted == c for _, predicted in valid)
        precision.append(ratio(both, claimed))
        recall.append(ratio(both, labelled))
        share.append(ratio(labelled, len(valid)))
    frequency_weighted = sum(iou[label] for label, _ in valid)
    return {
        "miou": mean(iou),
        "iou": iou,
        "accuracy": ratio(sum(label == predicted for label, predicted in valid), len(valid)),
        "mean_class_accuracy": mean(recall),
        "frequency_weighted_iou": ratio(frequency_weighted, len(valid)),
        "precision": precision,
        "recall": recall,
        "share": share,
        "pixels": len(valid),
    }


@given(PIXELS)
def test_each_labelled_pixel_is_counted_once_in_its_row_and_column(pixels):
    expected = np.zeros((CLASSES, CLASSES), np.int64)
    for label, predicted in pixels:
        if label != IGNORE:
            expected[label, predicted] += 1
    got = matrix_of(pixels)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, expected)


@given(PIXELS)
def test_figures_equal_those_of_loops_over_pixels(pixels):
    got = summarise_confusion(matrix_of(pixels))
    expected = naive_figures(pixels)
    assert set(got) == {*expected, "reason"}
    for key, value in expected.items():
        exact = value is None or isinstance(value, list)
        assert got[key] == (value if exact else pytest.approx(value, rel=1e-12)), key
    assert json.loads(json.dumps(got, allow_nan=False)) == got


@given(PIXELS, st.integers(0, 40))
def test_matrices_of_parts_add_up(pixels, cut):
    np.testing.assert_array_equal(matrix_of(pixels[:cut]) + matrix_of(pixels[cut:]), matrix_of(pixels))


def test_shape_and_dtype_of_the_maps_do_not_matter():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, 3, IGNORE], (5, 7)).astype(np.uint8)
    predictions = rng.integers(0, CLASSES, (5, 7))
    expected = confusion(labels.ravel(), predictions.ravel().astype(np.uint8), CLASSES)
    np.testing.assert_array_equal(confusion(labels.astype(np.int64), predictions, CLASSES), expected)
    np.testing.assert_array_equal(confusion(labels.astype(np.int64) - 256 * (labels == 255), predictions, 4), expected)


def test_predictions_are_of_no_interest_where_the_label_is_ignored():
    labels, predictions = np.array([IGNORE, 1], np.uint8), np.array([200, 2], np.uint8)
    assert confusion(labels, predictions, 3).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_256_classes_do_not_overflow_bytes():
    everything = np.arange(255, dtype=np.uint8)
    np.testing.assert_array_equal(confusion(everything, everything[::-1], 255), np.eye(255, dtype=np.int64)[::-1])


def test_without_a_labelled_pixel_figures_are_null_with_a_reason():
    got = summarise_confusion(np.zeros((3, 3), np.int64))
    assert got.pop("reason") == "no pixel of the labels is a class: all are ignored"
    assert got == {
        "miou": None,
        "iou": [None] * 3,
        "accuracy": None,
        "mean_class_accuracy": None,
        "frequency_weighted_iou": None,
        "precision": [None] * 3,
        "recall": [None] * 3,
        "share": [None] * 3,
        "pixels": 0,
    }


def test_precision_and_recall_are_not_swapped():
    """Of three pixels called road two are; of the four of road half is found."""
    labels, predictions = np.array([0, 0, 0, 0, 1], np.uint8), np.array([0, 0, 1, 1, 0], np.uint8)
    got = summarise_confusion(confusion(labels, predictions, 2))
    assert (got["precision"][0], got["recall"][0], got["share"][0]) == (2 / 3, 2 / 4, 4 / 5)


def test_counts_beyond_the_digits_of_a_float_keep_their_last_pixel():
    huge = 2**60
    got = summarise_confusion(np.array([[huge, 1], [0, huge]], np.int64))
    assert got["pixels"] == 2 * huge + 1
    assert got["reason"] is None


def test_it_agrees_with_the_reference_implementation(golden_dir):
    golden = np.load(golden_dir / "train_golden.npz")
    expected = json.loads((golden_dir / "train_golden.json").read_text())["hist/miou"]
    got = confusion(golden["hist/gt"], golden["hist/pred"], 19)
    np.testing.assert_array_equal(got, golden["hist/hist"])
    assert math.isclose(summarise_confusion(got)["miou"], expected, rel_tol=1e-12)
