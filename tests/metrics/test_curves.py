"""Curves: short lists of strict JSON that lie on the exact curves."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve, roc_curve

from abet.labels import ID, OOD, VOID
from abet.metrics.curves import HISTOGRAM_BINS, curves
from abet.metrics.pixel import PixelState
from abet.metrics.ranking import summarise
from tests.metrics.strategies import pixels, two_class_pixels


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(3)
    labels = (rng.random(200_000) < 0.02).astype(np.uint8)
    return rng.normal(2 * labels, 1).astype(np.float32), labels


@given(pixels(), st.sampled_from([4, 5, 12]))
def test_any_state_gives_strict_json_of_bounded_length(drawn, max_points):
    result = curves(PixelState.count(*drawn), max_points)
    json.dumps(result, allow_nan=False)
    for curve in (result["roc"], result["pr"]):
        lengths = {len(row) for row in curve.values()}
        assert len(lengths) == 1
        assert lengths.pop() <= max_points


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")  # of scikit-learn's own sums
@given(two_class_pixels(finite=True))
def test_short_curves_are_complete(drawn):
    scores, labels = drawn
    valid = labels != VOID
    result = curves(PixelState.count(scores, labels))
    fpr, tpr, threshold = roc_curve(labels[valid], scores[valid], drop_intermediate=False)
    np.testing.assert_allclose(result["roc"]["fpr"], fpr)
    np.testing.assert_allclose(result["roc"]["tpr"], tpr)
    assert result["roc"]["threshold"] == [None, *threshold[1:]]
    precision, recall, threshold = precision_recall_curve(labels[valid], scores[valid])
    gains = np.flatnonzero(np.diff(recall))[::-1]  # the points where OOD pixels are won, highest score first
    np.testing.assert_allclose(result["pr"]["recall"], [0, *recall[gains]])
    np.testing.assert_allclose(result["pr"]["precision"], [precision[gains[0]], *precision[gains]])
    assert result["pr"]["threshold"] == [None, *threshold[gains]]


def test_thinned_points_lie_on_the_curve_and_keep_its_area(drawn):
    scores, labels = drawn
    state = PixelState.count(scores, labels)
    result, figures = curves(state), summarise(state)
    roc, pr = result["roc"], result["pr"]
    assert 400 <= len(roc["fpr"]) <= 512
    assert (roc["fpr"][0], roc["tpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 0, 1, 1)
    for fpr, tpr, threshold in list(zip(*roc.values(), strict=True))[1::40]:
        flagged = scores >= np.float32(threshold)
        assert (fpr, tpr) == (np.mean(flagged[labels == ID]), np.mean(flagged[labels == OOD]))
    for recall, precision, threshold in list(zip(*pr.values(), strict=True))[1::40]:
        flagged = scores >= np.float32(threshold)
        assert (recall, precision) == (np.mean(flagged[labels == OOD]), np.mean(labels[flagged]))
    assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(figures["auroc"]["value"], abs=1e-4)
    assert np.sum(np.diff(pr["recall"]) * pr["precision"][1:]) == pytest.approx(figures["ap"]["value"], abs=5e-3)
    assert result["threshold"] == figures["fpr95"]["threshold"]


def test_a_large_tie_keeps_both_its_corners():
    rng = np.random.default_rng(4)
    scores = np.concatenate([rng.random(5000) + 1, np.zeros(5000), rng.random(5000) - 2]).astype(np.float32)
    labels = (np.arange(scores.size) % 2).astype(np.uint8)
    roc = curves(PixelState.count(scores, labels), 32)["roc"]
    corners = set(zip(roc["fpr"], roc["tpr"], strict=True))
    assert {(1 / 3, 1 / 3), (2 / 3, 2 / 3)} <= corners


def test_histograms_count_every_finite_pixel(drawn):
    scores, labels = drawn
    histogram = curves(PixelState.count(scores, labels))["histogram"]
    edges = np.array(histogram["edges"])
    assert edges.size == HISTOGRAM_BINS + 1
    np.testing.assert_allclose(np.diff(edges), (edges[-1] - edges[0]) / HISTOGRAM_BINS)
    inner = np.concatenate([[-np.inf], edges[1:-1], [np.inf]])
    for name, label in (("id", ID), ("ood", OOD)):
        expected = np.histogram(scores[labels == label], bins=inner)[0] / np.sum(labels == label)
        np.testing.assert_allclose(histogram[name], expected, atol=1e-12)
        assert sum(histogram[name]) == pytest.approx(1)


def test_one_wild_score_does_not_squeeze_the_histogram(drawn):
    scores, labels = drawn
    wild = scores.copy()
    wild[np.flatnonzero(labels == ID)[0]] = 3e38
    wild[np.flatnonzero(labels == OOD)[0]] = -3e38
    ours, tame = (curves(PixelState.count(s, labels))["histogram"]["edges"] for s in (wild, scores))
    np.testing.assert_allclose([ours[0], ours[-1]], [tame[0], tame[-1]], atol=0.5)


def test_a_rare_class_far_from_the_rest_is_inside_the_range():
    scores = np.concatenate([np.zeros(100_000), np.full(5, 9)]).astype(np.float32)
    labels = (scores > 0).astype(np.uint8)
    histogram = curves(PixelState.count(scores, labels))["histogram"]
    assert (histogram["edges"][0], histogram["edges"][-1]) == (0, 9)
    assert histogram["id"][0] == histogram["ood"][-1] == 1


def test_non_finite_scores_are_missing_from_the_histogram():
    scores = np.float32([np.nan, 1, 1, np.inf])
    result = curves(PixelState.count(scores, np.uint8([ID, ID, OOD, OOD])))
    assert sum(result["histogram"]["id"]) == sum(result["histogram"]["ood"]) == 0.5
    assert result["roc"]["threshold"] == [None, None, None, 1]


def test_a_missing_class_leaves_curves_empty_with_a_reason():
    result = curves(PixelState.count(np.float32([1, 2]), np.uint8([ID, ID])))
    assert result["roc"] == {"fpr": [], "tpr": [], "threshold": []}
    assert result["pr"] == {"recall": [], "precision": [], "threshold": []}
    assert result["threshold"] is None
    assert result["reason"] == "no OOD pixel was evaluated"
    assert (sum(result["histogram"]["id"]), sum(result["histogram"]["ood"])) == (pytest.approx(1), 0)
