"""Thresholds are those of a search through all scores, and their intervals those of images drawn and searched anew."""

import json

import numpy as np
import pytest
from hypothesis import given, settings

from abet.data.opencv import keep_to_one_thread
from abet.labels import ID, OOD, VOID
from abet.metrics.bootstrap import weights
from abet.metrics.components import TAUS, ComponentState, MinimumSizes, Objects
from abet.metrics.image_counts import MAX_BINS, ImageCounts
from abet.metrics.operating import (
    FIGURES,
    FLAGS_MUCH,
    NAMES,
    PIXEL_NAMES,
    ThresholdCounts,
    drawn_thresholds,
    grid,
    operating_points,
    pixel_thresholds,
)
from abet.metrics.pixel import MIN_BINS, PixelState
from tests.metrics import strategies

SIZES = MinimumSizes(prediction=3, object=2)
DRAWS = 15


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    keep_to_one_thread()


def image(seed, size=(14, 18), decimals=1):
    """Boxes that score higher than what is around them, by a margin that differs between images."""
    rng = np.random.default_rng(seed)
    labels = np.full(size, ID, np.uint8)
    for _ in range(3):
        y, x = rng.integers(0, 10, 2)
        labels[y : y + rng.integers(1, 5), x : x + rng.integers(1, 6)] = OOD
    scores = rng.normal(rng.normal(), 1, size) + 2 * (labels == OOD)
    labels[rng.random(size) < 0.1] = VOID
    return scores.round(decimals).astype(np.float32), labels


IMAGES = [image(seed) for seed in range(9)]


def pooled(images):
    return tuple(np.concatenate([pair[part].ravel() for pair in images]) for part in (0, 1))


def rates(scores, labels, threshold):
    """tp, fp, positives, negatives."""
    flagged = ~(scores < threshold)
    kinds = [labels == OOD, labels == ID]
    return [int((flagged & kind).sum()) for kind in kinds] + [int(kind.sum()) for kind in kinds]


def f1_of(tp, fp, positives):
    return 2 * tp / (tp + fp + positives)


def valid_scores(scores, labels):
    return set(scores[labels != VOID].tolist())


def searched(scores, labels, candidates=None):
    """Every candidate (default: every score of a valid pixel) is tried, highest first."""
    found, best = {}, -1.0
    for threshold in sorted(candidates or valid_scores(scores, labels), reverse=True):
        tp, fp, positives, negatives = rates(scores, labels, threshold)
        if "tpr95" not in found and 100 * tp >= 95 * positives:
            found["tpr95"] = threshold
        if 100 * fp <= negatives:
            found["fpr1"] = threshold
        if f1_of(tp, fp, positives) > best:
            best, found["f1-pixel"] = f1_of(tp, fp, positives), threshold
    return found


def state_of(images, max_bins=2**20):
    return PixelState.count(*pooled(images), max_bins=max_bins)


@settings(max_examples=60)
@given(strategies.pixels(min_size=2, finite=True))
def test_pixel_thresholds_are_those_of_a_search_through_all_scores(pixels):
    scores, labels = pixels
    if not {ID, OOD} <= set(labels.tolist()):
        return
    found = pixel_thresholds(PixelState.count(scores, labels))
    wanted = searched(scores, labels)
    assert all(found[name] == wanted[name] if name in wanted else np.isnan(found[name]) for name in PIXEL_NAMES)


def test_the_grid_holds_the_pixel_thresholds_and_rates_of_every_size():
    scores, labels = pooled(IMAGES)
    thresholds = grid(state_of(IMAGES))
    assert set(pixel_thresholds(state_of(IMAGES)).values()) <= set(thresholds.tolist())
    assert (np.diff(thresholds) < 0).all()
    assert len(thresholds) <= 31
    reached = [rates(scores, labels, value)[0] / (labels == OOD).sum() for value in thresholds]
    assert min(reached) < 0.1
    assert max(reached) > 0.95
    assert all(value in scores[labels != VOID] for value in thresholds)


def counted(images):
    thresholds = grid(state_of(images))
    found = [(scores, Objects.find(labels, SIZES)) for scores, labels in images]
    return ThresholdCounts.stack(*(ThresholdCounts.count(*each, thresholds=thresholds) for each in found))


def component_f1(images, threshold):
    """By the definition: images together, tau by tau; a score at the threshold is above the next smaller one."""
    below = np.nextafter(threshold, -np.inf)
    states = [ComponentState.count(*each, threshold=below, sizes=SIZES) for each in images]
    found = ComponentState.merge(*states).summarise()["f1"]
    return np.nan if found is None else found


def figures(images, threshold):
    tp, fp, positives, negatives = rates(*pooled(images), threshold)
    precision = tp / (tp + fp) if tp + fp else np.nan
    f1 = f1_of(tp, fp, positives)
    return dict(
        zip(FIGURES, (tp / positives, fp / negatives, precision, f1, component_f1(images, threshold)), strict=True)
    )


def drawn(images, row):
    return [each for each, times in zip(images, row, strict=True) for _ in range(times)]


def test_figures_of_draws_are_those_of_the_drawn_images_together():
    rows = weights(len(IMAGES), seed=3, count=6)
    counts = counted(IMAGES)
    found = counts.figures(rows)
    for draw, row in enumerate(rows):
        for place, threshold in enumerate(counts.thresholds.tolist()):
            expected = figures(drawn(IMAGES, row), threshold)
            for name in FIGURES:
                assert found[name][draw, place] == pytest.approx(expected[name], abs=1e-12, nan_ok=True)


def by_image(images, max_bins=MAX_BINS):
    parts = [ImageCounts.count(f"{i}", PixelState.count(*each), max_bins=max_bins) for i, each in enumerate(images)]
    return ImageCounts.merge(*parts)


def test_with_a_bin_per_score_draws_find_the_thresholds_of_a_search():
    rows = weights(len(IMAGES), seed=3, count=12)
    found = drawn_thresholds(by_image(IMAGES), rows)
    candidates = sorted(valid_scores(*pooled(IMAGES)))
    for draw, row in enumerate(rows):
        expected = searched(*pooled(drawn(IMAGES, row)), candidates)
        assert found["tpr95"][draw].tolist() == [expected["tpr95"]] * 2
        assert found["f1-pixel"][draw].tolist() == [expected["f1-pixel"]] * 2
        # any threshold above the next smaller score flags the same pixels
        place = candidates.index(expected["fpr1"])
        assert found["fpr1"][draw].tolist() == candidates[place - 1 : place + 1]


def test_with_wide_bins_their_ends_contain_the_thresholds():
    images = [image(seed, size=(24, 30), decimals=6) for seed in range(5)]
    rows = weights(len(images), seed=3, count=4)
    counts = by_image(images, MIN_BINS)
    assert counts.shift > 0
    found = drawn_thresholds(counts, rows)
    for draw, row in enumerate(rows):
        expected = searched(*pooled(drawn(images, row)), valid_scores(*pooled(images)))
        for name in ("tpr95", "fpr1"):
            low, high = found[name][draw]
            assert low <= expected[name] <= high


def test_points_are_the_best_of_all_thresholds_and_intervals_quantiles_of_draws():
    rows = weights(len(IMAGES), seed=3, count=DRAWS)
    points = operating_points(state_of(IMAGES), by_image(IMAGES), counted(IMAGES), rows)
    json.dumps(points, allow_nan=False)
    assert tuple(points) == NAMES
    for name, value in searched(*pooled(IMAGES)).items():
        assert points[name]["threshold"]["value"] == value

    tried = grid(state_of(IMAGES)).tolist()
    best = max(component_f1(IMAGES, value) for value in tried)
    chosen = points["f1-component"]["threshold"]["value"]
    assert points["f1-component"]["component_f1"]["value"] == pytest.approx(best, abs=1e-12)
    assert component_f1(IMAGES, chosen) == pytest.approx(best, abs=1e-12)
    of_draws = []
    for row in rows:
        values = [component_f1(drawn(IMAGES, row), value) for value in tried]
        of_draws.append(tried[int(np.argmax(np.round(values, 12)))])
    low, high = np.quantile(of_draws, [0.025, 0.975])
    interval = points["f1-component"]["threshold"]
    assert (interval["low"], interval["high"]) == (pytest.approx(low), pytest.approx(high))

    point = points["tpr95"]
    at = [figures(drawn(IMAGES, row), point["threshold"]["value"]) for row in rows]
    everything = figures(IMAGES, point["threshold"]["value"])
    for name in FIGURES:
        low, high = np.quantile([each[name] for each in at], [0.025, 0.975])
        assert point[name] == {
            "value": pytest.approx(everything[name]),
            "low": pytest.approx(low),
            "high": pytest.approx(high),
        }
    assert len(TAUS) == 11


def test_a_threshold_that_is_no_finite_number_is_null_with_the_reason():
    scores, labels = np.full((6, 6), -1, np.float32), np.full((6, 6), ID, np.uint8)
    labels[0], scores[0], scores[1:3] = OOD, np.inf, np.nan
    images = [(scores, labels)] * 2
    points = operating_points(state_of(images), by_image(images), counted(images), weights(2, seed=0, count=5))
    assert points["tpr95"] == {"threshold": None, "reason": "the score at this point is inf, not a finite number"}
    reason = "40% of the ID pixels tie at the highest score that is told apart, nan, and no more than 1% may be flagged"
    assert points["fpr1"] == {"threshold": None, "reason": reason}, "two rows of NaN are far more than 1%"
    json.dumps(points, allow_nan=False)


@pytest.mark.parametrize(("tied", "share"), [(3, None), (4, "1.33"), (150, "50")])
def test_where_too_many_id_pixels_tie_at_the_highest_score_that_is_the_reason(tied: int, share: str | None) -> None:
    """Every number is finite; a threshold above all scores flags nothing, and is none."""
    labels = np.full((20, 20), ID, np.uint8)
    labels[:5] = OOD
    scores = np.random.default_rng(1).random(labels.shape, np.float32)
    scores[5:].flat[:tied] = 2.5
    images = [(scores, labels)]
    point = operating_points(state_of(images), by_image(images), counted(images), weights(1, seed=0, count=5))["fpr1"]
    if share is None:
        assert point["threshold"]["value"] == 2.5
    else:
        assert point["threshold"] is None
        assert point["reason"].startswith(
            f"{share}% of the ID pixels tie at the highest score that is told apart, 2.5,"
        )


def test_a_score_that_is_no_finite_number_where_few_tie_is_still_the_reason() -> None:
    labels = np.full((20, 20), ID, np.uint8)
    labels[:5] = OOD
    scores = np.full(labels.shape, -np.inf, np.float32)
    scores[5, 0] = np.nan
    images = [(scores, labels)]
    point = operating_points(state_of(images), by_image(images), counted(images), weights(1, seed=0, count=5))["fpr1"]
    assert point == {"threshold": None, "reason": "the score at this point is nan, not a finite number"}


def test_draws_without_an_object_choose_no_threshold_and_have_no_f1():
    """As those without an OOD pixel: of ten images one has an object, and is missing in a third of the draws."""
    rng = np.random.default_rng(5)
    images = []
    for number in range(10):
        labels = np.full((14, 18), ID, np.uint8)
        scores = rng.normal(0, 1, labels.shape).round(1).astype(np.float32)
        scores[2:4, 2:6] = 4 + number % 3  # wrong, and higher than the object
        if number == 0:
            labels[8:11, 3:9], scores[8:11, 3:9] = OOD, 2
        images.append((scores, labels))
    rows = weights(len(images), seed=3, count=200)
    with_object = rows[:, 0] > 0
    assert 20 < np.count_nonzero(~with_object) < 180
    counts = counted(images)
    figure = counts.figures(rows)
    for name in ("f1", "component_f1"):
        assert np.isnan(figure[name][~with_object]).all()
        assert np.isfinite(figure[name][with_object]).all()
    arguments = (state_of(images), by_image(images), counts)
    points, kept = (operating_points(*arguments, each) for each in (rows, rows[with_object]))
    for name in NAMES:
        for part in ("threshold", "f1", "component_f1"):
            assert points[name][part] == kept[name][part]


def test_without_a_finite_score_on_the_grid_that_is_the_reason():
    labels = np.full((6, 6), ID, np.uint8)
    labels[:2] = OOD
    images = [(np.full((6, 6), np.nan, np.float32), labels)] * 2
    counts = counted(images)
    assert counts.thresholds.size == 0
    assert counts.objects.tolist() == [1, 1]
    points = operating_points(state_of(images), by_image(images), counts, weights(2, seed=0, count=5))
    assert points["f1-component"] == {"threshold": None, "reason": "no score of the grid is a finite number"}


def test_without_an_object_of_the_minimum_size_there_is_no_component_threshold():
    scores, labels = image(0)
    labels[labels == OOD] = ID
    labels[0, 0] = OOD
    images = [(scores, labels)]
    points = operating_points(state_of(images), by_image(images), counted(images), weights(1, seed=0, count=5))
    assert points["f1-component"] == {"threshold": None, "reason": "no object has the minimum size"}
    assert points["tpr95"]["threshold"]["low"] <= points["tpr95"]["threshold"]["value"]


@pytest.mark.parametrize("ringed", [True, False])
def test_a_component_threshold_that_flags_nearly_everything_has_a_note(ringed: bool):
    """Void around an object cuts it out of a mask of everything; without it such a mask is one wrong component."""
    scores = np.random.default_rng(2).random((24, 24), np.float32)
    labels = np.full(scores.shape, ID, np.uint8)
    if ringed:
        labels[6:18, 6:18] = VOID
    labels[8:16, 8:16] = OOD
    scores[8:16, 8:16] -= 2  # below all else: who flags any of it flags everything
    images = [(scores, labels)]
    points = operating_points(state_of(images), by_image(images), counted(images), weights(1, seed=0, count=5))
    assert (points["f1-component"]["fpr"]["value"] > 0.9) is ringed
    fpr = points["f1-component"]["fpr"]["value"]
    assert points["f1-component"].get("note") == (FLAGS_MUCH.format(100 * fpr) if ringed else None)
    assert all("note" not in points[name] for name in PIXEL_NAMES)
