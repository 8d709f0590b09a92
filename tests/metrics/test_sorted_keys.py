"""What is taken from sorted keys is what a plain reading of the definition takes from the scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abet.labels import ID, OOD, VOID
from abet.metrics.keys import NAN, to_keys, to_scores
from abet.metrics.pixel import PixelCounter
from abet.metrics.reference import ReferenceState, raw_edges
from abet.metrics.smiyc import SmiycState
from abet.metrics.sorted_keys import first_keys, next_key
from abet.scores import SCORES
from tests.metrics.strategies import EXTREMES, crowds

FINITE = st.floats(-3.4e38, 3.4e38)


@given(st.lists(FINITE | st.floats(-1e-44, 1e-44), min_size=1, max_size=20), st.lists(st.floats(width=32)))
def test_edges_in_keys_tell_the_scores_from_each_edge_on(edges, scores):
    edges = np.array(edges, np.float64)
    scores = np.concatenate([np.array(scores, np.float32), np.float32(EXTREMES), edges.astype(np.float32)])
    scores = scores[~np.isnan(scores)]
    found = to_keys(scores)[:, None] >= first_keys(edges)
    np.testing.assert_array_equal(found, scores.astype(np.float64)[:, None] >= edges)
    above = to_keys(scores) >= next_key(edges[0])
    np.testing.assert_array_equal(above, scores.astype(np.float64) > edges[0])


def quantile_bins(scores, labels):
    """SegmentMeIfYouCan's bins as numpy computes them."""
    classes = [scores[labels == label].astype(np.float64) for label in (ID, OOD)]
    finite = [values[np.isfinite(values)] for values in classes]
    wanted = [np.quantile(v, np.linspace(0, 1, min(384, v.size))) for v in finite if v.size]
    edges = np.unique(np.concatenate([[0.0, 1.0], *wanted]))
    counts = [np.histogram(values, bins=edges)[0] for values in finite]
    held = np.sum(counts, axis=0) > 0
    dropped = [np.count_nonzero(~np.isfinite(values)) for values in classes]
    return edges[:-1][held], *(count[held] for count in counts), *dropped


@given(crowds())
def test_quantile_bins_are_those_that_numpy_computes_to_the_last_bit(drawn):
    state = SmiycState.count(*drawn)
    threshold, id_count, ood_count, dropped_id, dropped_ood = quantile_bins(*drawn)
    np.testing.assert_array_equal(state.threshold, threshold)
    np.testing.assert_array_equal(state.id_count, id_count)
    np.testing.assert_array_equal(state.ood_count, ood_count)
    assert (state.dropped_id, state.dropped_ood) == (dropped_id, dropped_ood)
    assert not np.signbit(state.threshold[state.threshold == 0]).any()


NORMALISED = [key for key, score in SCORES.items() if score.reference is not None]


@pytest.mark.parametrize("key", NORMALISED)
@pytest.mark.parametrize("num_classes", [2, 19])
def test_the_reference_bins_of_raw_scores_are_those_of_its_normalised_ones(key, num_classes):
    def normalise(raw):
        with np.errstate(over="ignore"):  # of extremes divided by ln 2
            return SCORES[key].reference(raw, num_classes)

    edges = raw_edges(normalise)
    assert edges.shape == (101,)
    around = np.clip(edges[:, None].astype(np.int64) + np.arange(-3, 4), 0x007F_FFFF, 0xFF80_0000).ravel()
    rng = np.random.default_rng(0)
    spread = rng.normal(scale=[[0.5], [30]], size=(2, 3000)).astype(np.float32).ravel()
    scores = np.concatenate([to_scores(around.astype(np.uint32)), np.float32(EXTREMES), spread])
    labels = rng.choice(np.uint8([ID, OOD, VOID]), scores.size)
    counter = PixelCounter(edges=edges, buffer_pixels=1000)
    counter.add(scores, labels)
    state = counter.state()
    found = ReferenceState.of_below(counter.below(), id_pixels=state.id_pixels, ood_pixels=state.ood_pixels)
    wanted = ReferenceState.count(normalise(scores), labels)
    np.testing.assert_array_equal(found.id_counts, wanted.id_counts)
    np.testing.assert_array_equal(found.ood_counts, wanted.ood_counts)
    assert (found.dropped_id, found.dropped_ood) == (wanted.dropped_id, wanted.dropped_ood)
    assert int(np.sum(wanted.id_counts)) > 100, "the bins are reached at all"


@pytest.mark.parametrize("key", NORMALISED)
def test_the_reference_normalises_without_changing_the_order(key):
    keys = np.sort(np.random.default_rng(0).integers(0x007F_FFFF, 0xFF80_0001, 100_000, np.uint32))
    normalised = SCORES[key].reference(to_scores(keys), 19)
    assert bool((np.diff(to_keys(normalised).astype(np.int64)) >= 0).all())
    assert NAN not in to_keys(normalised)
