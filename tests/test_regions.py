"""Regions are those of a flood fill, with what its pixels say."""

import json

import numpy as np
import pytest
from scipy import ndimage

from abet.regions import find_regions


def naive(score, mask, minimum):
    numbers, count = ndimage.label(mask, structure=np.ones((3, 3)))
    found = []
    for number in range(1, count + 1):
        pixels = [(y, x) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if numbers[y, x] == number]
        if len(pixels) >= minimum:
            ys, xs = zip(*pixels, strict=True)
            values = [float(score[pixel]) for pixel in pixels]
            box = [min(xs), min(ys), max(xs) + 1, max(ys) + 1]
            centroid = [sum(xs) / len(xs), sum(ys) / len(ys)]
            found.append((len(pixels), box, centroid, sum(values) / len(values), max(values)))
    return sorted(found, key=lambda row: (-row[0], row[1][1], row[1][0]))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("minimum", [1, 4])
def test_regions_are_those_of_loops_over_pixels(seed: int, minimum: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.normal(size=(13, 17)).astype(np.float32)
    mask = score >= 0.7
    found = find_regions(score, mask, minimum_pixels=minimum)
    expected = naive(score, mask, minimum)
    assert [row["area_pixels"] for row in found] == [row[0] for row in expected]
    for row, (_, box, centroid, mean, largest) in zip(found, expected, strict=True):
        assert row["box"] == box
        assert row["centroid"] == pytest.approx(centroid)
        assert row["mean_score"] == pytest.approx(mean)
        assert row["max_score"] == largest


def test_a_box_cuts_the_region_out_and_corners_connect() -> None:
    mask = np.zeros((5, 6), bool)
    mask[1, 2] = mask[2, 3] = mask[3, 2] = True
    (region,) = find_regions(np.ones((5, 6), np.float32), mask, minimum_pixels=3)
    x0, y0, x1, y1 = region["box"]
    assert mask[y0:y1, x0:x1].sum() == mask.sum() == region["area_pixels"]
    assert find_regions(np.ones((5, 6), np.float32), mask, minimum_pixels=4) == []


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_scores_that_are_not_finite_give_null_and_the_reason(broken: float) -> None:
    score = np.ones((4, 9), np.float32)
    score[0, 0] = broken
    mask = np.ones((4, 9), bool)
    mask[:, 4] = False
    first, second = find_regions(score, mask, minimum_pixels=1)
    assert first["mean_score"] is first["max_score"] is None
    assert first["reason"] == "1 of its pixels have a score that is not a finite number"
    assert (second["mean_score"], "reason" in second) == (1.0, False)
    json.dumps([first, second], allow_nan=False)
