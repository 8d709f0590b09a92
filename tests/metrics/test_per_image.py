"""Per-image means are the plain means of what scikit-learn and the definition say of each image."""

import json
from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from abet.errors import DataError
from abet.labels import ID, OOD, VOID
from abet.metrics.per_image import PerImageState
from abet.metrics.pixel import MIN_BINS, PixelState
from tests.metrics import oracle


def image(seed, size=300):
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.uint8([ID, ID, OOD, VOID]), size)
    return rng.normal(0, 1, size).astype(np.float32) + (labels == OOD).astype(np.float32), labels


def state_of(images, **limit) -> PerImageState:
    counted = [PerImageState.count(name, PixelState.count(*each, **limit)) for name, each in images.items()]
    return PerImageState.merge(*counted)


def mean(figure, images) -> float:
    return sum(figure(labels[labels != VOID] == OOD, scores[labels != VOID]) for scores, labels in images) / len(images)


def test_means_are_those_of_each_image():
    images = {f"{seed}.png": image(seed) for seed in range(4)}
    summary = state_of(images).summarise()
    assert summary["auroc"]["value"] == pytest.approx(mean(roc_auc_score, images.values()), abs=1e-12)
    assert summary["ap"]["value"] == pytest.approx(mean(average_precision_score, images.values()), abs=1e-12)
    fpr = [oracle.fpr95(*oracle.split(*each)) for each in images.values()]
    assert summary["fpr95"]["value"] == pytest.approx(float(sum(fpr, Fraction(0)) / 4), abs=1e-15)
    assert 0.95 <= summary["fpr95"]["tpr"] < 0.97
    assert (summary["images"], summary["left_out"], summary["protocol"]) == (4, 0, "per-image-mean")


def reached(scores, labels) -> Fraction:
    """The share of the OOD pixels at or above the first threshold that 95% of them reach, tried one by one."""
    negatives, positives = oracle.split(scores, labels)
    shares = (Fraction(tp, len(positives)) for _, tp, _ in oracle.operating_points(negatives, positives))
    return next(share for share in shares if share >= Fraction(95, 100))


def test_the_rate_is_that_which_each_image_really_reaches():
    """Few OOD pixels, and ties, make it differ between images."""
    images = {f"{seed}.png": image(seed, 40 + 30 * seed) for seed in range(6)}
    images = {name: (scores.round(1), labels) for name, (scores, labels) in images.items()}
    shares = {name: reached(*each) for name, each in images.items()}
    assert len(set(shares.values())) > 3
    state = state_of(images)
    assert state.tpr == {name: float(share) for name, share in shares.items()}
    summary = PerImageState.from_arrays(state.to_arrays()).summarise()
    assert summary["fpr95"]["tpr"] == pytest.approx(float(sum(shares.values()) / 6), abs=1e-15)


def test_coarse_bins_leave_a_bracket_that_contains_the_mean():
    images = {f"{seed}.png": image(seed, 3000) for seed in range(2)}
    coarse = state_of(images, max_bins=MIN_BINS).summarise()
    for name, figure in (("auroc", roc_auc_score), ("ap", average_precision_score)):
        assert coarse[name]["low"] < mean(figure, images.values()) < coarse[name]["high"]


@pytest.mark.parametrize("label", [ID, OOD, VOID])
def test_an_image_without_both_classes_is_left_out_and_counted(label):
    scores, labels = image(1)
    images = {"a": (scores, labels), "b": (scores, np.full_like(labels, label))}
    summary = state_of(images).summarise()
    alone = state_of({"a": (scores, labels)}).summarise()
    assert summary == alone | {"left_out": 1}
    json.dumps(summary, allow_nan=False)


def test_no_image_with_both_classes_has_no_mean():
    summary = state_of({"a": (np.zeros(3, np.float32), np.zeros(3, np.uint8))}).summarise()
    assert summary["auroc"] is summary["ap"] is summary["fpr95"] is None
    assert (summary["left_out"], summary["reason"]) == (1, "no image has both ID and OOD pixels")
    assert PerImageState.merge().summarise()["images"] == 0


def test_shards_add_up_in_any_order():
    parts = [state_of({f"{seed}.png": image(seed)}) for seed in range(5)]
    forwards, backwards = (
        PerImageState.merge(*parts),
        PerImageState.merge(PerImageState.merge(*parts[:1:-1]), *parts[:2]),
    )
    assert list(forwards.figures) == list(backwards.figures)
    assert forwards.summarise() == backwards.summarise()


def test_an_image_counts_once():
    state = state_of({"a.png": image(0)})
    with pytest.raises(DataError, match=r"counted twice: a\.png"):
        PerImageState.merge(state, state)
