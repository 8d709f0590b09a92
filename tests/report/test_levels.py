"""Levels: every stop of the viewer's slider is an exact threshold, with the rates of the whole set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abet.labels import ID, OOD
from abet.metrics.curves import curves
from abet.metrics.pixel import PixelState
from abet.metrics.ranking import summarise
from abet.report.levels import MOST_LEVELS, Levels, choose_levels
from abet.report.records import Curves, PixelCounts, ScoreFigures


def levels_of(scores: np.ndarray, labels: np.ndarray) -> Levels | None:
    state = PixelState.count(scores, labels)
    counts = PixelCounts(id=state.id_pixels, ood=state.ood_pixels, void=0)
    figures = ScoreFigures.model_validate(summarise(state))
    return choose_levels(Curves.model_validate(curves(state)), figures.fpr95, counts)


def rare_objects(seed: int, pixels: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a set of which one pixel in 500 is OOD."""
    rng = np.random.default_rng(seed)
    labels = np.where(np.arange(pixels) % 500 == 0, OOD, ID).astype(np.uint8)
    return (rng.normal(0, 1, pixels) + 2.5 * (labels == OOD)).astype(np.float32), labels


@pytest.mark.parametrize("seed", range(3))
def test_no_mask_of_the_scores_that_are_encoded_is_lost(seed: int) -> None:
    scores, labels = rare_objects(seed)
    levels = levels_of(scores, labels)
    assert levels is not None
    codes = levels.encode(scores)
    for number, threshold in enumerate(levels.threshold, start=1):
        assert np.array_equal(codes >= number, scores >= threshold)


def test_the_rates_of_a_level_are_those_of_the_pixels_it_flags() -> None:
    scores, labels = rare_objects(7)
    levels = levels_of(scores, labels)
    assert levels is not None
    for place, threshold in enumerate(levels.threshold):
        flagged = scores >= threshold
        assert levels.tpr[place] == pytest.approx(flagged[labels == OOD].mean(), abs=1e-12)
        assert levels.fpr[place] == pytest.approx(flagged[labels == ID].mean(), abs=1e-12)
        assert levels.precision[place] == pytest.approx((labels[flagged] == OOD).mean(), abs=1e-12)


def test_levels_are_dense_where_thresholds_are() -> None:
    scores, labels = rare_objects(1)
    levels = levels_of(scores, labels)
    assert levels is not None
    assert len(levels.threshold) <= MOST_LEVELS
    assert np.count_nonzero(levels.fpr < 0.1) > len(levels.threshold) / 2
    assert np.abs(np.diff(levels.tpr)).max() < 0.02


def test_the_95_percent_threshold_is_among_them() -> None:
    scores, labels = rare_objects(2)
    levels = levels_of(scores, labels)
    assert levels is not None
    assert levels.at_95 is not None
    figures = summarise(PixelState.count(scores, labels))
    assert float(levels.threshold[levels.at_95]) == figures["fpr95"]["threshold"]
    assert levels.tpr[levels.at_95] >= 0.95


def test_nan_ranks_above_all_and_zero_has_no_sign() -> None:
    levels = levels_of(np.array([0, 1, 2, 3], np.float32), np.array([ID, OOD, ID, OOD], np.uint8))
    assert levels is not None
    codes = levels.encode(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32))
    assert codes[0] == codes[1] == len(levels.threshold)
    assert codes[2] == 0
    assert codes[3] == codes[4]


def test_without_ood_pixels_there_are_none() -> None:
    assert levels_of(np.array([1, 2], np.float32), np.array([ID, ID], np.uint8)) is None


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 5))
def test_any_scores_give_ascending_levels_and_shades(seed: int, pixels: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, values, pixels).astype(np.float32)
    labels = np.array([ID, OOD] * pixels, np.uint8)[:pixels]
    levels = levels_of(scores, labels)
    assert levels is not None
    assert (np.diff(levels.threshold) > 0).all()
    assert (np.diff(levels.tpr) <= 0).all()
    low, high, shades = levels.shades()
    assert low <= high
    assert len(shades) == len(levels.threshold) + 1
    assert shades == sorted(shades)
    assert 0 <= min(shades) <= max(shades) <= 255


def few_objects(pixels: int = 100_000, objects: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a set with a few OOD pixels, far above most others: between two of them lie many ID pixels."""
    rng = np.random.default_rng(5)
    labels = np.where(np.arange(pixels) < objects, OOD, ID).astype(np.uint8)
    return (rng.normal(0, 1, pixels) + 3 * (labels == OOD)).astype(np.float32), labels


def test_a_level_that_only_adds_false_alarms_is_kept_where_no_other_is_near() -> None:
    scores, labels = few_objects()
    levels = levels_of(scores, labels)
    assert levels is not None
    ood = np.sort(scores[labels == OOD])
    # The best threshold of every TPR is the score of an OOD pixel, or one just below with no ID pixel between
    best = [np.mean(scores[labels == ID] >= score) for score in ood]
    for tpr in np.unique(levels.tpr[levels.tpr > 0]):
        highest = np.flatnonzero(levels.tpr == tpr)[-1]
        assert levels.fpr[highest] == best[ood.size - round(tpr * ood.size)]
    dominated = np.count_nonzero(np.diff(levels.tpr) == 0)
    assert set(np.round(levels.tpr * ood.size)) >= set(range(1, ood.size + 1)), "every TPR that there is"
    assert dominated <= 64
    assert levels.fpr[0] > 0.99, "and the heat map still has shades below the last OOD pixel"
