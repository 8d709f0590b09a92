"""Objects and predictions as components agree with flood fill and sets of pixels."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from abet.data.opencv import keep_to_one_thread
from abet.errors import DataError
from abet.labels import ID, OOD, VOID
from abet.metrics.components import SIZES, TAUS, TIES, ComponentState, MinimumSizes, track_of
from abet.metrics.smiyc import SmiycState
from abet.names import OOD_NAMES
from tests.metrics import naive_components

NO_MINIMUM = MinimumSizes(prediction=0, object=0)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    keep_to_one_thread()


def naive(images, threshold, sizes) -> dict:
    return naive_components.figures(images, threshold, sizes.prediction, sizes.object)


def assert_as_defined(state, expected) -> None:
    summary = state.summarise()
    for name, mean in naive_components.means(expected).items():
        assert summary[name] == (None if mean is None else pytest.approx(mean, abs=1e-12)), name
    assert all(summary[name] == expected[name] for name in ("tp", "fn", "fp"))
    json.dumps(summary, allow_nan=False)


@st.composite
def images(draw):
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    scores = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])))
    share = draw(st.sampled_from([(OOD,), (ID, OOD), (ID, ID, ID, OOD, VOID)]))
    return scores, draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from(share)))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(images(), min_size=1, max_size=3),
    st.sampled_from([-2.0, 0.0, 0.25, 3.0]),
    st.sampled_from([NO_MINIMUM, MinimumSizes(prediction=4, object=2), MinimumSizes(prediction=2, object=5)]),
)
def test_figures_are_those_of_sets_of_pixels(pixels, threshold, sizes):
    states = [ComponentState.count(*image, threshold=threshold, sizes=sizes) for image in pixels]
    assert_as_defined(ComponentState.merge(*states), naive(pixels, threshold, sizes))


def blobs(rng, shape):
    """Smooth noise, whose components are large and touch several of the other side."""
    field = rng.normal(size=shape)
    for _ in range(3):
        field = sum(np.roll(field, shift, axis) for axis in (0, 1) for shift in (-1, 0, 1))
    return (field / field.std()).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_large_components_that_touch_several_of_the_other_side(seed):
    rng = np.random.default_rng(seed)
    truth, scores = blobs(rng, (60, 80)), blobs(rng, (60, 80))
    labels = np.where(truth > 1, OOD, np.where(truth < -1.5, VOID, ID)).astype(np.uint8)
    sizes = MinimumSizes(prediction=12, object=6)
    state = ComponentState.count(scores + truth / 2, labels, threshold=0.4, sizes=sizes)
    assert_as_defined(state, naive([(scores + truth / 2, labels)], np.float32(0.4), sizes))
    assert state.small_objects + state.small_predictions > 0


def one_object(found: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.full((3, 12), ID, np.uint8)
    labels[1, 1:11] = OOD
    scores = np.zeros(labels.shape, np.float32)
    scores[1, 1 : 1 + found] = 1
    return scores, labels


def test_an_siou_of_exactly_tau_is_found():
    summary = ComponentState.count(*one_object(6), threshold=0.5, sizes=NO_MINIMUM).summarise()
    assert summary["siou"] == 0.6
    assert summary["tp"] == [int(tau <= 0.6) for tau in TAUS]


def test_a_pixel_at_the_threshold_is_not_flagged_and_nan_is():
    scores, labels = one_object(0)
    scores[1, 1], scores[1, 5] = 0.5, np.nan
    state = ComponentState.count(scores, labels, threshold=0.5, sizes=NO_MINIMUM)
    assert state.predictions.tolist() == [[1, 1, 10]]


def test_an_object_that_is_too_small_takes_the_prediction_on_it_along():
    state = ComponentState.count(*one_object(6), threshold=0.5, sizes=MinimumSizes(prediction=6, object=11))
    assert (len(state.objects), len(state.predictions), state.small_objects) == (0, 0, 1)
    summary = state.summarise()
    assert summary["f1"] is summary["siou"] is summary["ppv"] is None
    assert summary["reason"] == f"there are no objects and no predictions of the minimum size{TIES}"


def test_a_perfect_detector_of_two_scores_finds_nothing_above_its_threshold_and_ties_are_named():
    """The best pixel F1 counts the pixels at the threshold, components those above it, as the toolkit has it."""
    scores, labels = one_object(10)
    scores /= 2
    pixel = SmiycState.count(scores, labels).summarise()
    assert (pixel["best_f1"], pixel["best_f1_threshold"]) == (1, 0.5)
    summary = ComponentState.count(scores, labels, threshold=0.5, sizes=NO_MINIMUM).summarise()
    assert (summary["f1"], summary["predictions"]) == (0, 0)
    assert "no predictions of the minimum size (pixels that tie with the threshold are in none" in summary["reason"]
    below = ComponentState.count(scores, labels, threshold=0.25, sizes=NO_MINIMUM).summarise()
    assert (below["f1"], "reason" in below) == (1, False)
    labels[:] = ID
    assert "tie" not in ComponentState.count(scores, labels, threshold=0.25, sizes=NO_MINIMUM).summarise()["reason"]


def test_shards_add_up_in_any_order():
    rng = np.random.default_rng(3)
    parts = []
    for _ in range(5):
        truth = blobs(rng, (30, 40))
        labels = np.where(truth > 1, OOD, ID).astype(np.uint8)
        parts.append(ComponentState.count(truth + blobs(rng, (30, 40)), labels, threshold=1, sizes=NO_MINIMUM))
    a, b, c, d, e = parts
    nested = ComponentState.merge(ComponentState.merge(e, c), d, ComponentState.merge(b, a))
    whole = ComponentState.merge(ComponentState.empty(threshold=1, sizes=NO_MINIMUM), *parts)
    np.testing.assert_array_equal(nested.objects, whole.objects)
    np.testing.assert_array_equal(nested.predictions, whole.predictions)
    assert nested.summarise() == whole.summarise()


def test_states_of_different_thresholds_do_not_mix():
    states = [ComponentState.empty(threshold=t, sizes=SIZES["anomaly-track"]) for t in (0.5, 0.6)]
    with pytest.raises(DataError, match="different thresholds"):
        ComponentState.merge(*states)


def crowded(seed=0):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random((20, 24)) < 0.3, OOD, ID).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.1] = VOID
    return rng.normal(size=labels.shape).astype(np.float32) + (labels == OOD), labels


def test_pairs_counted_by_sorting_are_those_of_the_table(monkeypatch):
    scores, labels = crowded()
    found = {"threshold": 0.8, "sizes": MinimumSizes(prediction=2, object=2)}
    expected = ComponentState.count(scores, labels, **found)
    assert len(expected.objects) > 1
    monkeypatch.setattr("abet.metrics.components._TABLE_CELLS", 0)
    same(ComponentState.count(scores, labels, **found), expected)


def same(one, other) -> None:
    for first, second in zip(one.to_arrays().values(), other.to_arrays().values(), strict=True):
        assert np.array_equal(first, second)
        assert first.dtype == second.dtype


def test_a_state_survives_its_arrays_and_others_are_refused():
    scores, labels = crowded()
    sizes = MinimumSizes(prediction=2, object=2)
    for state in (
        ComponentState.count(scores, labels, threshold=0.1, sizes=sizes),
        ComponentState.empty(threshold=-3.5, sizes=sizes),
    ):
        same(ComponentState.from_arrays(state.to_arrays()), state)
    arrays = ComponentState.count(scores, labels, threshold=0.1, sizes=sizes).to_arrays()
    for name, wrong in (
        ("threshold", np.zeros(2)),
        ("sizes", np.array([-1, 2])),
        ("objects", arrays["objects"].astype(np.int32)),
        ("objects", arrays["objects"][:, [1, 0, 2]]),
        ("predictions", arrays["predictions"][:, :2]),
    ):
        with pytest.raises(DataError, match="not the components of a score"):
            ComponentState.from_arrays({**arrays, name: wrong})


def test_the_track_follows_from_the_data_set():
    assert {track_of(name) for name in ("lost_and_found", "road_obstacle_21")} == {"obstacle-track"}
    assert {track_of(name) for name in ("road_anomaly", "fishyscapes_static")} == {"anomaly-track"}
    assert {track_of(name) for name in OOD_NAMES} == set(SIZES)
