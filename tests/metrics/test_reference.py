"""The 100-bin protocol agrees with the reference's way: lists written out, handed to scikit-learn."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import auc, average_precision_score, roc_curve

from abet.errors import DataError
from abet.labels import ID, OOD, VOID
from abet.metrics.pixel import MAX_PIXELS
from abet.metrics.reference import BINS, ReferenceState

ARGUMENTS = {"dropped_id": 0, "dropped_ood": 0}


def written_out(counts, size) -> np.ndarray:
    """Each bin number as often as the reference repeats it, divided by 100."""
    repeats = (counts / np.sum(counts) * size).astype("uint32")
    return np.repeat(np.arange(1, BINS + 1), repeats) / 100


def labelled(negatives, positives):
    return np.repeat([0, 1], [negatives.size, positives.size]), np.concatenate([negatives, positives])


def roc_by_lists(state) -> dict[str, float]:
    """The reference's figures of the ROC curve, literally."""
    fpr, tpr, thresholds = roc_curve(*labelled(*(written_out(c, 1e5) for c in (state.id_counts, state.ood_counts))))
    point = np.abs(tpr - 0.95).argmin()
    if tpr[point] == 1:
        point -= 1
    return {"auroc": auc(fpr, tpr), "fpr95": fpr[point], "tpr": tpr[point], "threshold": thresholds[point]}


def by_lists(state) -> dict[str, float]:
    """All of its figures; ten million entries take a second."""
    id_ratio = np.sum(state.id_counts) / (np.sum(state.id_counts) + np.sum(state.ood_counts))
    entries = labelled(
        written_out(state.id_counts, 1e7 * id_ratio), written_out(state.ood_counts, 1e7 * (1 - id_ratio))
    )
    return roc_by_lists(state) | {"auprc": average_precision_score(*entries)}


def spread(rng, size, mean) -> np.ndarray:
    return np.clip(rng.normal(mean, 0.08, size), -0.05, 1.05).astype(np.float32)


@pytest.mark.parametrize("means", [(0.6, 0.75), (0.9, 1.0)], ids=["usual", "saturated"])
def test_figures_are_those_of_the_lists(means):
    rng = np.random.default_rng(5)
    scores = np.concatenate([spread(rng, 300_000, means[0]), spread(rng, 6_000, means[1])])
    labels = np.repeat(np.uint8([ID, OOD]), [300_000, 6_000])
    state = ReferenceState.count(scores, labels)
    summary = state.summarise()
    for name, figure in by_lists(state).items():
        assert summary[name] == pytest.approx(figure, abs=1e-12), name
    outside = (scores < 0) | (scores > 1)
    assert summary["dropped"] == {"id": outside[labels == ID].sum(), "ood": outside[labels == OOD].sum()}
    assert "reason" not in summary


COUNTS = hnp.arrays(np.int64, BINS, elements=st.sampled_from([0, 0, 0, 1, 2, 50, 10**6, 10**12]))


@settings(max_examples=30)
@given(COUNTS, COUNTS)
def test_the_roc_side_agrees_for_any_histogram(id_counts, ood_counts):
    assume(id_counts.any() and ood_counts.any())
    summary = ReferenceState(id_counts=id_counts, ood_counts=ood_counts, **ARGUMENTS).summarise()
    fpr, tpr, thresholds = roc_curve(*labelled(written_out(id_counts, 1e5), written_out(ood_counts, 1e5)))
    point = np.abs(tpr - 0.95).argmin()
    point -= tpr[point] == 1
    assert summary["auroc"] == pytest.approx(auc(fpr, tpr), abs=1e-12)
    assert (summary["fpr95"], summary["tpr"]) == (fpr[point], tpr[point])
    assert summary["threshold"] == (thresholds[point] if np.isfinite(thresholds[point]) else None)
    assert ("(0, 0)" in summary.get("reason", "")) == (summary["threshold"] is None)
    json.dumps(summary, allow_nan=False)


def one_per_bin(**bins) -> np.ndarray:
    counts = np.zeros(BINS, np.int64)
    for name, count in bins.items():
        counts[int(name.removeprefix("bin"))] = count
    return counts


def test_a_tpr_of_one_steps_back():
    # 100 OOD pixels, 60 above and 40 below: 1 is nearer to 0.95 than 0.6 is, and the reference takes 0.6
    state = ReferenceState(
        id_counts=one_per_bin(bin10=70, bin50=30), ood_counts=one_per_bin(bin60=60, bin40=40), **ARGUMENTS
    )
    summary = state.summarise()
    assert (summary["tpr"], summary["fpr95"], summary["threshold"]) == (0.6, 0.3, 0.51)
    assert summary["threshold_of"] == "normalised score"
    assert roc_by_lists(state)["threshold"] == 0.51


def test_without_the_step_back_a_tpr_of_one_is_taken():
    state = ReferenceState(
        id_counts=one_per_bin(bin10=70, bin50=30), ood_counts=one_per_bin(bin60=60, bin40=40), **ARGUMENTS
    )
    summary, usual = state.summarise(step_back=False), state.summarise()
    fpr, tpr, thresholds = roc_curve(*labelled(*(written_out(c, 1e5) for c in (state.id_counts, state.ood_counts))))
    point = np.abs(tpr - 0.95).argmin()
    taken = {"fpr95": fpr[point], "tpr": tpr[point], "threshold": thresholds[point]}
    assert taken["tpr"] == 1
    assert summary == usual | taken | {"protocol": "meta-ood-100-bins"}


def test_the_step_back_matters_at_a_tpr_of_one_alone():
    rng = np.random.default_rng(5)
    scores = np.concatenate([spread(rng, 3000, 0.6), spread(rng, 3000, 0.75)])
    state = ReferenceState.count(scores, np.repeat(np.uint8([ID, OOD]), 3000))
    assert state.summarise(step_back=False) == state.summarise() | {"protocol": "meta-ood-100-bins"}


def test_stepping_back_to_the_origin_has_no_threshold():
    state = ReferenceState(id_counts=one_per_bin(bin10=70), ood_counts=one_per_bin(bin60=60), **ARGUMENTS)
    summary = state.summarise()
    assert (summary["auroc"], summary["tpr"], summary["fpr95"], summary["threshold"]) == (1, 0, 0, None)
    assert "threshold_of" not in summary
    assert summary["reason"] == "the ROC point used is (0, 0), above every threshold"


def test_bins_are_closed_below_and_the_last_one_on_both_sides():
    edges = np.linspace(0, 1, BINS + 1)
    scores = np.float32([0, 0.5, np.nextafter(np.float32(0.5), np.float32(0)), 1, 0.29])
    state = ReferenceState.count(scores, np.zeros(5, np.uint8))
    expected = np.zeros(BINS, np.int64)
    for score in scores.tolist():
        expected[next(i for i in range(BINS) if edges[i] <= score < edges[i + 1] or i == BINS - 1)] += 1
    np.testing.assert_array_equal(state.id_counts, expected)


def test_what_lies_outside_is_dropped_and_counted():
    scores = np.float32([-0.01, 1.01, np.nan, np.inf, -np.inf, 0.5, np.nan])
    labels = np.uint8([ID, ID, ID, OOD, OOD, OOD, VOID])
    summary = ReferenceState.count(scores, labels).summarise()
    assert summary == {
        "auroc": None,
        "auprc": None,
        "fpr95": None,
        "tpr": None,
        "threshold": None,
        "dropped": {"id": 3, "ood": 2},
        "protocol": "reference-100-bins",
        "reason": "no ID pixel has a score in [0, 1]",
    }


def test_a_class_too_rare_for_the_list_has_no_auprc():
    state = ReferenceState(
        id_counts=one_per_bin(bin10=10**12, bin70=10**12), ood_counts=one_per_bin(bin60=1), **ARGUMENTS
    )
    summary = state.summarise()
    assert summary["auprc"] is None
    assert summary["auroc"] == pytest.approx(0.5)
    assert "a class is too rare to appear among 1e+07 entries" in summary["reason"]


def test_shards_add_up():
    rng = np.random.default_rng(6)
    scores = rng.normal(0.5, 0.4, (4, 5, 6)).astype(np.float32)
    labels = rng.choice(np.uint8([ID, OOD, VOID]), scores.shape)
    whole = ReferenceState.count(scores, labels).to_arrays()
    shards = [ReferenceState.count(*shard) for shard in zip(scores, labels, strict=True)]
    merged = ReferenceState.from_arrays(ReferenceState.merge(*shards[::-1]).to_arrays()).to_arrays()
    for name, array in whole.items():
        assert array.tobytes() == merged[name].tobytes()
        assert array.dtype == merged[name].dtype == np.int64
    assert ReferenceState.merge().to_arrays()["id_counts"].sum() == 0


@pytest.mark.parametrize(
    "damage",
    [
        {"id_counts": np.zeros(99, np.int64)},
        {"ood_counts": np.zeros(BINS)},
        {"dropped": np.array([0, -1])},
        {"id_counts": np.full(BINS, MAX_PIXELS // 99)},
    ],
    ids=["short", "float", "negative", "too many"],
)
def test_damaged_arrays_are_refused(damage):
    with pytest.raises(DataError, match="not the 100-bin counts of a score"):
        ReferenceState.from_arrays({**ReferenceState.empty().to_arrays(), **damage})


def test_too_many_pixels_are_refused():
    state = ReferenceState(
        id_counts=one_per_bin(bin1=2**62), ood_counts=one_per_bin(bin1=2**61), dropped_id=2**61, dropped_ood=0
    )
    with pytest.raises(DataError, match="exceed the 9223372036854775807"):
        ReferenceState.merge(state, state)
