"""What an evaluation is expected to take after its images, and that its announcement says so."""

from pathlib import Path

import numpy as np
import pytest

from abet.estimates import PATCH, count_map, finishing_seconds
from abet.labels import ID, OOD
from abet.metrics.pixel import MAX_BINS, PixelState
from abet.metrics.protocols import ProtocolState
from tests.conftest import Cli
from tests.metrics.test_pixel import to_bytes
from tests.trees import make_road_anomaly


@pytest.mark.parametrize("protocols", [False, True])
def test_a_map_is_counted_as_the_pass_counts_it(protocols: bool) -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.random((12, 16), np.float32), rng.choice(np.array([ID, OOD], np.uint8), (12, 16))
    state, each = count_map(scores, labels, protocols=protocols)
    assert to_bytes(state) == to_bytes(PixelState.count(scores, labels))
    assert (each is None) is not protocols
    if each is not None:
        assert to_bytes(each) == to_bytes(ProtocolState.count("", scores, labels))


@pytest.mark.parametrize(("protocols", "merged"), [(False, False), (True, True)])
def test_the_end_grows_with_scores_and_with_pixels_up_to_as_many_as_there_are_bins(
    monkeypatch: pytest.MonkeyPatch, protocols: bool, merged: bool
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))  # so that what is measured takes a second

    def seconds(pixels: int, scores: int) -> float:
        return finishing_seconds(pixels, scores, protocols=protocols, merged=merged)

    patch = PATCH[0] * PATCH[1]
    assert seconds(patch, 1) == 1.0
    assert seconds(2 * patch, 3) == 6.0
    assert seconds(100 * MAX_BINS, 1) == MAX_BINS / patch


def test_it_is_announced_beside_the_time_of_the_images_which_has_the_counting(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_road_anomaly(tmp_path / "ra", count=4, size=(24, 32))
    asked = []

    def finishing(pixels: int, scores: int, *, protocols: bool, merged: bool) -> float:
        asked.append((pixels, scores, protocols, merged))
        return 40.0

    monkeypatch.setattr("abet.evaluate.estimate_seconds", lambda *_: 3600.0)
    monkeypatch.setattr("abet.evaluate.counting_seconds", lambda _count, pixels: 3600.0 * pixels / (2 * 24 * 32))
    monkeypatch.setattr("abet.estimates.finishing_seconds", finishing)
    data = ("--dataset", "road_anomaly", "--data-root", tmp_path / "ra", "--checkpoint", learned_checkpoint)
    command = ("evaluate", *data, "--device", "cpu", "--scores", "abet,msp", "--samples", 0)
    whole = cli(*command, "--output", tmp_path / "run", "--protocols")
    assert whole.code == 0, whole.err
    assert "2 scores on cpu: about 5 h for the images, then 40 s to write the results\n" in whole.err
    assert cli(*command, "--output", tmp_path / "other", "--shard", "2/2").code == 0
    assert asked == [(4 * 24 * 32, 2, True, True), (2 * 24 * 32, 2, False, False)]
