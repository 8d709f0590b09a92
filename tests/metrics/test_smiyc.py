"""SegmentMeIfYouCan's pixel figures by lists: edges of each image, every threshold of all images."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from abet.errors import DataError
from abet.labels import ID, OOD, VOID
from abet.metrics.pixel import MAX_PIXELS
from abet.metrics.smiyc import SmiycState
from tests.metrics import strategies
from tests.metrics.naive_smiyc import figures


def state_of(images) -> SmiycState:
    return SmiycState.merge(*(SmiycState.count(*image) for image in images))


def random_image(rng, size=400):
    labels = rng.choice(np.uint8([ID, ID, ID, OOD, VOID]), size)
    return rng.normal(0.4, 0.2, size).astype(np.float32) + np.float32(0.3) * (labels == OOD), labels


@pytest.mark.parametrize("scale", [1, 20], ids=["within 0 and 1", "raw"])
def test_figures_are_those_of_the_lists(scale):
    rng = np.random.default_rng(4)
    images = [random_image(rng) for _ in range(3)]
    images = [((scores - (scale > 1)) * np.float32(scale), labels) for scores, labels in images]
    summary = state_of(images).summarise()
    for name, figure in figures(images).items():
        assert summary[name] == pytest.approx(figure, abs=1e-12), name
    assert summary["protocol"] == "smiyc-quantile-bins"


@settings(max_examples=30, deadline=None)
@given(st.lists(strategies.two_class_pixels(finite=True), min_size=1, max_size=3))
def test_rates_agree_whatever_the_scores(images):
    # not the thresholds, which an interpolation between huge numbers may round differently
    images = [(np.round(np.clip(scores, -9, 9), 3), labels) for scores, labels in images]
    state = state_of(images)
    summary = state.summarise()
    counted = sum(int((labels != VOID).sum()) for _, labels in images)
    assert int(state.id_count.sum() + state.ood_count.sum()) == counted
    assert 0 < summary["ap"] <= 1
    assert 0.95 <= summary["tpr"] <= 1
    json.dumps(summary, allow_nan=False)


def test_more_pixels_than_quantiles_share_bins_and_none_is_lost():
    rng = np.random.default_rng(5)
    images = [random_image(rng, 20_000) for _ in range(2)]
    state = state_of(images)
    assert state.threshold.size <= 2 * 769
    scores, labels = (np.concatenate(each) for each in zip(*images, strict=True))
    exact = average_precision_score(labels[labels != VOID] == OOD, scores[labels != VOID])
    assert state.summarise()["ap"] == pytest.approx(exact, abs=5e-3)


def test_non_finite_scores_are_dropped_and_counted():
    scores = np.float32([0.1, np.nan, np.inf, 0.9, -np.inf, np.nan])
    labels = np.uint8([ID, ID, OOD, OOD, OOD, VOID])
    summary = SmiycState.count(scores, labels).summarise()
    assert summary["dropped"] == {"id": 1, "ood": 2}
    assert (summary["ap"], summary["prevalence"]) == (1, 0.5)


@pytest.mark.parametrize(("label", "named"), [(ID, "no OOD"), (OOD, "no ID"), (VOID, "no ID and no OOD")])
def test_a_missing_class_leaves_figures_null_with_the_reason(label, named):
    summary = SmiycState.count(np.zeros(4, np.float32), np.full(4, label, np.uint8)).summarise()
    assert summary["ap"] is summary["fpr95"] is summary["tpr"] is summary["best_f1"] is None
    assert summary["reason"] == f"{named} pixel has a finite score"


def test_shards_add_up_in_any_order():
    rng = np.random.default_rng(6)
    a, b, c = (SmiycState.count(*random_image(rng)) for _ in range(3))
    one, other = SmiycState.merge(a, b, c), SmiycState.merge(SmiycState.merge(c, a), SmiycState.merge(), b)
    for name in ("threshold", "id_count", "ood_count"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.summarise() == other.summarise()


def test_too_many_pixels_are_refused():
    full = SmiycState(
        threshold=np.zeros(1), id_count=np.int64([MAX_PIXELS]), ood_count=np.int64([0]), dropped_id=0, dropped_ood=0
    )
    with pytest.raises(DataError, match="merge fewer shards"):
        SmiycState.merge(full, full)
