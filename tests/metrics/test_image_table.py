"""images.json: every image's own figures, and bounds of what the set's threshold does to it."""

import json

import numpy as np
import pytest

from abet.labels import ID, OOD, VOID
from abet.metrics.image_table import flagged, image_table
from abet.metrics.pixel import PixelState
from abet.metrics.protocols import ProtocolState


def images(seed: int, count: int = 5, pixels: int = 3000) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    made = {}
    for number in range(count):
        labels = rng.choice([ID, OOD, VOID], pixels, p=[0.8, 0.1, 0.1]).astype(np.uint8)
        scores = (rng.normal(0, 1, pixels) + 2 * (labels == OOD) + 0.3 * number).astype(np.float32)
        made[f"{number}.png"] = (scores, labels)
    return made


def table_of(made: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict:
    pixel = PixelState.merge(*(PixelState.count(*each) for each in made.values()))
    protocols = ProtocolState.merge(*(ProtocolState.count(name, *each) for name, each in made.items()))
    return image_table({"abet": pixel}, {"abet": protocols})


def test_the_bounds_hold_what_plain_comparison_counts() -> None:
    made = images(0)
    table = table_of(made)
    column = table["scores"]["abet"]
    assert table["images"] == sorted(made)
    for place, name in enumerate(table["images"]):
        scores, labels = made[name]
        over = scores >= column["threshold"]
        assert table["pixels"]["id"][place] == (labels == ID).sum()
        assert table["pixels"]["ood"][place] == (labels == OOD).sum()
        exact_counts = {"false_positives": over & (labels == ID), "missed": ~over & (labels == OOD)}
        for key, exact in ((key, pixels.sum()) for key, pixels in exact_counts.items()):
            low, high = (column[key][end][place] for end in ("low", "high"))
            assert low <= exact <= high
            assert high - low <= 20, "bins of 15,000 pixels hold a few each"


def test_where_each_bin_holds_one_score_the_bounds_meet() -> None:
    made = {name: (np.round(scores), labels) for name, (scores, labels) in images(1).items()}
    column = table_of(made)["scores"]["abet"]
    for key in ("false_positives", "missed"):
        assert column[key]["low"] == column[key]["high"]


def test_figures_are_the_images_own() -> None:
    made = images(2)
    column = table_of(made)["scores"]["abet"]
    for place, each in enumerate(made.values()):
        scores, labels = (part[each[1] != VOID] for part in each)
        ranked = labels[np.argsort(-scores, kind="stable")] == OOD
        precision = np.cumsum(ranked) / np.arange(1, ranked.size + 1)
        assert column["ap"]["value"][place] == pytest.approx(precision[ranked].mean(), abs=1e-9)


def test_an_image_without_ood_has_no_figures_but_false_positives() -> None:
    made = images(3)
    scores, labels = made["0.png"]
    made["0.png"] = (scores, np.zeros_like(labels))
    table = table_of(made)
    column = table["scores"]["abet"]
    assert [column[key]["value"][0] for key in ("auroc", "ap", "fpr95")] == [None] * 3
    assert column["false_positives"]["high"][0] > 0
    json.dumps(table, allow_nan=False)


def test_a_set_without_ood_has_no_threshold() -> None:
    made = {name: (scores, np.zeros_like(labels)) for name, (scores, labels) in images(4).items()}
    column = table_of(made)["scores"]["abet"]
    assert (column["threshold"], column["false_positives"], column["missed"]) == (None, None, None)


def test_a_threshold_above_all_flags_nothing() -> None:
    counts = ProtocolState.count("a", np.array([1, 2, 3], np.float32), np.array([ID, OOD, OOD], np.uint8)).images
    assert flagged(counts, 9.0) == {
        "false_positives": {"low": [0], "high": [0]},
        "missed": {"low": [2], "high": [2]},
    }
