"""Where things may stand."""

import numpy as np
import pytest

from abet.data.synthetic.camera import Road, Side
from abet.data.synthetic.placement import FARTHEST, NEAREST, Places, sample_depth

SIDE = Side(road=5.5, strip=5.5, sidewalk=8.0, front=8.5, parking=2.0)
ROAD = Road(offset=-1.6, heading=0.02, curvature=0.001, lane=3.2, left=SIDE, right=SIDE, crossing=None)


def test_depths_stay_in_range_and_favour_what_is_near():
    rng = np.random.default_rng(0)
    depths = np.array([sample_depth(rng) for _ in range(2000)])
    assert depths.min() >= NEAREST
    assert depths.max() <= FARTHEST
    assert np.median(depths) < (NEAREST + FARTHEST) / 2


@pytest.mark.parametrize(("zone", "low", "high"), [("lane", 0.0, 3.5), ("parking", 3.5, 5.5), ("sidewalk", 5.5, 8.0)])
def test_a_place_lies_within_its_zone(zone, low, high):
    rng = np.random.default_rng(1)
    for _ in range(50):
        spot = Places(ROAD).find(rng, zone, half_width=0.3, half_length=0.3)
        assert spot is not None
        assert low <= abs(spot.s) <= high


def test_footprints_do_not_overlap():
    rng, places = np.random.default_rng(2), Places(ROAD)
    spots = [places.find(rng, "lane", half_width=0.9, half_length=2.0) for _ in range(30)]
    found = [spot for spot in spots if spot is not None]
    assert len(found) > 5
    for first, one in enumerate(found):
        for other in found[first + 1 :]:
            assert abs(one.s - other.s) > 1.8 or abs(one.z - other.z) > 4.0


def test_a_thing_wider_than_its_zone_finds_no_place():
    narrow = Road(offset=0.0, heading=0.0, curvature=0.0, lane=3.2, left=SIDE, right=SIDE, crossing=None)
    assert Places(narrow).find(np.random.default_rng(0), "lane", half_width=4.0, half_length=1.0) is None
