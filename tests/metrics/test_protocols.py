"""One state for the protocols that read each image by itself: kept in a file, and summarised for several scores."""

import json

import numpy as np
import pytest

from abet.errors import DataError
from abet.labels import ID, OOD, VOID
from abet.metrics.bootstrap import compare, resample
from abet.metrics.pixel import PixelState
from abet.metrics.protocols import SEED, ProtocolState, summarise_protocols
from abet.metrics.reference import ReferenceState


def image(seed, size=200):
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.uint8([ID, ID, OOD, VOID]), size)
    return rng.uniform(0, 0.7, size).astype(np.float32) + np.float32(0.3) * (labels == OOD), labels


def state_of(images) -> ProtocolState:
    return ProtocolState.merge(*(ProtocolState.count(f"{i}.png", *each) for i, each in enumerate(images)))


IMAGES = [*map(image, range(4)), (np.zeros(5, np.float32), np.zeros(5, np.uint8))]


def test_a_file_gives_the_state_back(tmp_path):
    state = state_of(IMAGES)
    np.savez(tmp_path / "state.npz", **state.to_arrays())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        again = ProtocolState.from_arrays({name: file[name] for name in file.files})
    assert summarise_protocols({"msp": again}, {}) == summarise_protocols({"msp": state}, {})
    more = ProtocolState.count("z.png", *image(9))
    ours, theirs = (ProtocolState.merge(each, more).to_arrays() for each in (state, again))
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("smiyc.dropped", np.int64([0, -1])),
        ("smiyc.threshold", np.float64([0.5, 0.5])),
        ("per_image.tpr", np.float64([1])),
        ("per_image.figures", np.full((5, 3, 3), 2.0)),
        ("images.id_count", np.zeros((5, 2), np.int32)),
        ("images.low_key", np.zeros(3, np.int64)),
    ],
)
def test_damage_is_seen(name, damaged):
    arrays = state_of(IMAGES).to_arrays()
    with pytest.raises(DataError, match="evaluate this shard again"):
        ProtocolState.from_arrays(arrays | {name: damaged})


def test_every_entry_is_that_of_its_protocol_and_scores_are_paired():
    worse = [(np.square(scores) + np.float32(0.2) * (labels == ID), labels) for scores, labels in IMAGES]
    states = {"a": state_of(IMAGES), "b": state_of(worse)}
    counted = ReferenceState.merge(*(ReferenceState.count(*each) for each in IMAGES))
    entries, pairs = summarise_protocols(states, {"a": counted})
    assert entries["a"]["per-image-mean"] == states["a"].per_image.summarise()
    assert entries["a"]["smiyc-quantile-bins"] == states["a"].smiyc.summarise()
    assert entries["a"]["meta-ood-100-bins"] == counted.summarise(step_back=False)
    assert "meta-ood-100-bins" not in entries["b"]
    drawn = [resample(state.images, seed=SEED) for state in states.values()]
    assert entries["b"]["image-bootstrap"] == drawn[1].interval()
    assert pairs == [{"score": "a", "minus": "b", **compare(*drawn)}]
    assert pairs[0]["auroc"]["low"] > 0
    json.dumps([entries, pairs], allow_nan=False)


def test_images_are_counted_as_in_the_pooled_figures():
    state = state_of(IMAGES)
    pooled = PixelState.merge(*(PixelState.count(*each) for each in IMAGES))
    assert int(state.images.id_count.sum()) == int(state.smiyc.id_count.sum()) == pooled.id_pixels
    assert int(state.images.ood_count.sum()) == int(state.smiyc.ood_count.sum()) == pooled.ood_pixels
