"""Resampled figures are those of the drawn images' pixels together; intervals follow from them, and pair."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from abet.errors import DataError, UsageError
from abet.labels import ID, OOD, VOID
from abet.metrics.bootstrap import compare, resample, weights
from abet.metrics.image_counts import MAX_BINS, ImageCounts
from abet.metrics.keys import to_keys
from abet.metrics.pixel import MIN_BINS, PixelState
from tests.metrics import oracle, strategies

DRAWS = 20


def image(seed, size=200, quality=1.0):
    """Images differ in difficulty and prevalence."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(size) < rng.uniform(0.05, 0.4), OOD, ID).astype(np.uint8)
    labels[rng.random(size) < 0.1] = VOID
    return (rng.normal(rng.normal(), 1, size) + quality * (labels == OOD)).astype(np.float32), labels


def counts_of(images, max_bins=MAX_BINS) -> ImageCounts:
    return ImageCounts.merge(
        *(ImageCounts.count(f"{i:02}", PixelState.count(*each), max_bins=max_bins) for i, each in enumerate(images))
    )


def of_draw(images, drawn) -> list[float]:
    """AUROC, AP and FPR95 of the drawn images' pixels, written out."""
    scores, labels = (
        np.concatenate([each for pair, times in zip(images, drawn, strict=True) for each in [pair[part]] * times])
        for part in (0, 1)
    )
    scores, labels = scores[labels != VOID], labels[labels != VOID]
    return [
        roc_auc_score(labels == OOD, scores),
        average_precision_score(labels == OOD, scores),
        float(oracle.fpr95(*oracle.split(scores, labels))),
    ]


@cache
def example():
    images = [image(seed) for seed in range(12)]
    drawn = weights(12, seed=7, count=DRAWS)
    return images, np.array([of_draw(images, row) for row in drawn])


def test_with_a_bin_per_score_every_draw_is_exact():
    images, expected = example()
    drawn = resample(counts_of(images), seed=7, count=DRAWS)
    for end in range(3):
        np.testing.assert_allclose(drawn.figures[:, :, end], expected, rtol=0, atol=1e-12)
    interval = drawn.interval()
    for place, name in enumerate(("auroc", "ap", "fpr95")):
        ends = np.quantile(expected[:, place], [0.025, 0.975])
        assert [interval[name]["low"], interval[name]["high"]] == pytest.approx(ends.tolist(), abs=1e-12)
        assert interval[name]["binning"] < 1e-12
    json.dumps(interval, allow_nan=False)


def test_coarse_bins_bracket_every_draw_and_widen_the_interval_by_no_more_than_they_say():
    images, expected = example()
    counts = counts_of(images, MIN_BINS)
    assert counts.shift > 0
    drawn = resample(counts, seed=7, count=DRAWS)
    _, low, high = np.moveaxis(drawn.figures, -1, 0)
    assert (low <= expected + 1e-12).all()
    assert (high >= expected - 1e-12).all()
    interval = drawn.interval()
    for place, name in enumerate(("auroc", "ap", "fpr95")):
        ends, binning = np.quantile(expected[:, place], [0.025, 0.975]), interval[name]["binning"]
        assert 0 < binning < 0.05
        assert ends[0] - binning - 1e-12 <= interval[name]["low"] <= ends[0] + 1e-12
        assert ends[1] - 1e-12 <= interval[name]["high"] <= ends[1] + binning + 1e-12


@settings(max_examples=12, deadline=None)
@given(st.lists(strategies.two_class_crowds(finite=True), min_size=1, max_size=3))
def test_brackets_hold_for_scores_of_every_kind(images):
    drawn = resample(counts_of(images, MIN_BINS), seed=1, count=2)
    expected = [
        [float(f(*oracle.split(*map(np.concatenate, zip(*repeated, strict=True))))) for f in FIGURES]
        for row in weights(len(images), seed=1, count=2)
        for repeated in [[pair for pair, times in zip(images, row, strict=True) for _ in range(times)]]
    ]
    _, low, high = np.moveaxis(drawn.figures, -1, 0)
    assert (low <= np.array(expected) + 1e-12).all()
    assert (high >= np.array(expected) - 1e-12).all()


FIGURES = (oracle.auroc, oracle.average_precision, oracle.fpr95)


def test_draws_are_with_replacement_and_follow_from_the_seed():
    drawn = weights(50, seed=3, count=200)
    assert (drawn.sum(axis=1) == 50).all()
    np.testing.assert_array_equal(drawn, weights(50, seed=3, count=200))
    assert (drawn != weights(50, seed=4, count=200)).any()
    # an image is left out of a draw with probability (1 - 1/50)**50
    assert (drawn == 0).mean() == pytest.approx(0.98**50, abs=0.02)
    assert drawn.mean(axis=0) == pytest.approx(np.ones(50), abs=0.4)


def test_differences_are_taken_draw_by_draw():
    images, expected = example()
    better = [image(seed, quality=1.3) for seed in range(12)]
    difference = compare(
        resample(counts_of(better), seed=7, count=DRAWS), resample(counts_of(images), seed=7, count=DRAWS)
    )
    drawn = weights(12, seed=7, count=DRAWS)
    gains = np.array([of_draw(better, row) for row in drawn]) - expected
    for place, name in enumerate(("auroc", "ap", "fpr95")):
        ends = np.quantile(gains[:, place], [0.025, 0.975])
        assert [difference[name]["low"], difference[name]["high"]] == pytest.approx(ends.tolist(), abs=1e-12)
    # the images are hard for both: the difference is known where either figure is not
    assert difference["auroc"]["low"] > 0
    spread = expected[:, 0].max() - expected[:, 0].min()
    assert difference["auroc"]["high"] - difference["auroc"]["low"] < spread / 3


def of_bins(counts, images, drawn) -> list[list[float]]:
    """Lower and upper end of AUROC and FPR95 of the drawn images, where a bin's pixels have their worst or best order.

    A bin is all that is known of a score, unless it holds a single one.
    """
    ends = []
    for better in (-0.25, 0.25):
        negatives, positives = [], []
        for (scores, labels), times in zip(images, drawn, strict=True):
            places = np.searchsorted(counts.low_key, to_keys(scores), side="right") - 1
            shifted = places + better * ((labels == OOD) & (counts.low_key != counts.high_key)[places])
            negatives += [float(place) for place in shifted[labels == ID]] * times
            positives += [float(place) for place in shifted[labels == OOD]] * times
        ends.append([float(figure(negatives, positives)) for figure in (oracle.auroc, oracle.fpr95)])
    (auroc_low, fpr_high), (auroc_high, fpr_low) = ends
    return [[auroc_low, auroc_high], [fpr_low, fpr_high]]


def test_a_difference_of_wide_bins_reaches_from_low_minus_high_to_high_minus_low():
    images, expected = example()
    better = [image(seed, quality=1.3) for seed in range(12)]
    coarse = [counts_of(each, MIN_BINS) for each in (better, images)]
    assert min(counts.shift for counts in coarse) > 0
    difference = compare(*(resample(counts, seed=7, count=DRAWS) for counts in coarse))
    drawn = weights(12, seed=7, count=DRAWS)
    first, second = (
        np.array([of_bins(counts, each, row) for row in drawn])
        for counts, each in zip(coarse, (better, images), strict=True)
    )
    low, high = first[..., 0] - second[..., 1], first[..., 1] - second[..., 0]
    for place, name in enumerate(("auroc", "fpr95")):
        assert difference[name]["low"] == pytest.approx(np.quantile(low[:, place], 0.025), abs=1e-12)
        assert difference[name]["high"] == pytest.approx(np.quantile(high[:, place], 0.975), abs=1e-12)
        assert difference[name]["binning"] == pytest.approx((high - low)[:, place].max(), abs=1e-12)
    gains = np.array([of_draw(better, row) for row in drawn]) - expected
    for place, name in enumerate(("auroc", "ap", "fpr95")):
        ends, binning = np.quantile(gains[:, place], [0.025, 0.975]), difference[name]["binning"]
        assert ends[0] - binning - 1e-12 <= difference[name]["low"] <= ends[0] + 1e-12
        assert ends[1] - 1e-12 <= difference[name]["high"] <= ends[1] + binning + 1e-12


def test_images_of_billions_of_pixels_are_counted_as_they_are():
    """More in one bin than 31 bits hold, once the images are together."""
    most, keys = 2**31 - 10, to_keys(np.float32([0.25, 0.5]))
    rows = [([most, 1], [1, 2]), ([most - 5, 3], [2, 7]), ([most, 0], [0, 1])]
    counts = ImageCounts.merge(
        *(
            ImageCounts(
                names=(f"{number}",),
                shift=0,
                max_bins=MAX_BINS,
                low_key=keys,
                high_key=keys,
                id_count=np.int32([negatives]),
                ood_count=np.int32([positives]),
            )
            for number, (negatives, positives) in enumerate(rows)
        )
    )
    drawn = weights(3, seed=2, count=8)
    found = resample(counts, seed=2, count=8).figures[:, 0, 0]
    for row, auroc in zip(drawn.tolist(), found, strict=True):
        n0, n1, p0, p1 = (
            sum(k * each[c][b] for k, each in zip(row, rows, strict=True)) for c in (0, 1) for b in (0, 1)
        )
        assert auroc == pytest.approx((p1 * (n0 + n1 / 2) + p0 * n0 / 2) / ((n0 + n1) * (p0 + p1)), abs=1e-12)


def test_draws_of_other_images_or_seeds_are_not_paired():
    images, _ = example()
    one = resample(counts_of(images), seed=7, count=5)
    with pytest.raises(UsageError, match="different seeds"):
        compare(one, resample(counts_of(images), seed=8, count=5))
    with pytest.raises(UsageError, match="different images"):
        compare(one, resample(counts_of(images[:-1]), seed=7, count=5))


def test_draws_without_a_class_are_left_out_and_counted():
    scores, labels = image(0)
    images = [(scores, labels), (scores, np.full_like(labels, ID))]
    drawn = resample(counts_of(images), seed=0, count=100)
    without = int((weights(2, seed=0, count=100)[:, 0] == 0).sum())
    assert drawn.interval()["undefined"] == without > 0
    never = resample(counts_of(images[1:]), seed=0, count=3).interval()
    assert never["auroc"] is None
    assert (never["undefined"], never["reason"]) == (3, "no draw holds both ID and OOD pixels")


def test_images_of_void_alone_have_no_draw():
    void = [(np.zeros(3, np.float32), np.full(3, VOID, np.uint8))] * 2
    assert resample(counts_of(void), seed=0, count=3).interval()["undefined"] == 3


@pytest.mark.parametrize("max_bins", [MIN_BINS, MAX_BINS])
def test_image_counts_add_up_in_any_order(max_bins):
    images = [image(seed) for seed in range(6)] + [(np.zeros(3, np.float32), np.full(3, VOID, np.uint8))]
    parts = [ImageCounts.count(f"{i}", PixelState.count(*each), max_bins=max_bins) for i, each in enumerate(images)]
    whole = ImageCounts.merge(*parts)
    empty = ImageCounts.empty(max_bins=max_bins)
    nested = ImageCounts.merge(ImageCounts.merge(*parts[:2:-1]), empty, ImageCounts.merge(parts[1], parts[0]), parts[2])
    assert (whole.names, whole.shift) == (nested.names, nested.shift)
    pooled = PixelState.merge(*(PixelState.count(*each, max_bins=max_bins) for each in images))
    for name in ("low_key", "high_key", "id_count", "ood_count"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(nested, name))
        total = getattr(whole, name)
        np.testing.assert_array_equal(total.sum(axis=0) if total.ndim == 2 else total, getattr(pooled, name))


def test_an_image_counts_once():
    counts = counts_of([image(0)])
    with pytest.raises(DataError, match="counted twice: 00"):
        ImageCounts.merge(counts, counts)
    with pytest.raises(DataError, match="cannot be merged"):
        ImageCounts.merge(counts, ImageCounts.empty(max_bins=MIN_BINS))
