"""Scores that are fitted, where maps are computed a second time: by the same fit, or not at all."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from abet.calibration import FILE
from abet.run import evaluation_dir
from tests.conftest import Cli
from tests.test_predict import photograph
from tests.trees import make_cityscapes, make_road_anomaly

SET = "road_anomaly"


@pytest.fixture
def weights(cli: Cli, learned_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint with a fit, beside ``cityscapes`` and ``ra``."""
    make_cityscapes(tmp_path / "cityscapes", count=3, size=(48, 64))
    make_road_anomaly(tmp_path / "ra", count=3)
    folder = shutil.copytree(learned_checkpoint, tmp_path / "weights")
    fit(cli, folder)
    return folder


def fit(cli: Cli, weights: Path, **changes: Any) -> None:
    options = {"dataset": "cityscapes", "data-root": weights.parent / "cityscapes", "bank": 40, **changes}
    finished = cli(
        "fit", "--checkpoint", weights, *(word for key, value in options.items() for word in (f"--{key}", value))
    )
    assert finished.code == 0, finished.err


def test_components_of_some_scores_are_those_of_all(cli: Cli, weights: Path, tmp_path: Path) -> None:
    data = ("--dataset", SET, "--data-root", tmp_path / "ra")
    run = tmp_path / "run"
    scores = ("--scores", "msp,sml,mahalanobis")
    assert cli("evaluate", "--checkpoint", weights, *data, *scores, "--output", run, "--protocols").code == 0
    whole = shutil.copytree(run, tmp_path / "whole")
    assert cli("components", whole, "--dataset", SET).code == 0
    for key in ("msp", "sml"):  # one that a fit decides, and one that none does
        part = shutil.copytree(run, tmp_path / key)
        finished = cli("components", part, "--dataset", SET, "--scores", key)
        assert finished.code == 0, finished.err
        found, wanted = (
            json.loads((evaluation_dir(each, SET) / "metrics.json").read_text())["scores"][key]["protocols"]
            for each in (part, whole)
        )
        assert found["smiyc-components"] == wanted["smiyc-components"]


def test_components_by_another_fit_are_refused(cli: Cli, weights: Path, tmp_path: Path) -> None:
    data = ("--dataset", SET, "--data-root", tmp_path / "ra")
    run = tmp_path / "run"
    assert (
        cli("evaluate", "--checkpoint", weights, *data, "--scores", "msp,sml", "--output", run, "--protocols").code == 0
    )
    fit(cli, weights, seed=1)
    finished = cli("components", run, "--dataset", SET)
    assert (finished.code, "fitted_sha256" in finished.err) == (2, True), finished.err
    assert cli("components", run, "--dataset", SET, "--scores", "msp").code == 0


def test_a_threshold_of_another_fit_is_refused(cli: Cli, weights: Path, tmp_path: Path) -> None:
    data = ("--dataset", SET, "--data-root", tmp_path / "ra")
    assert cli("calibrate", "--checkpoint", weights, *data, "--scores", "msp,sml").code == 0
    assert json.loads((weights / FILE).read_text())["sets"][SET]["fitted_sha256"]
    image = photograph(tmp_path / "street.png")

    def predict(score: str, output: str) -> Any:
        named = ("--score", score, "--threshold", "tpr95")
        return cli("predict", "--checkpoint", weights, "--input", image, "--output", tmp_path / output, *named)

    assert predict("sml", "first").code == 0
    fit(cli, weights, seed=1)
    finished = predict("sml", "second")
    assert (finished.code, "was fitted anew" in finished.err) == (2, True), finished.err
    assert predict("msp", "third").code == 0


def test_a_threshold_of_an_evaluation_by_another_fit_is_refused(cli: Cli, weights: Path, tmp_path: Path) -> None:
    run = ("--dataset", SET, "--data-root", tmp_path / "ra", "--output", tmp_path / "run", "--scores", "msp,sml")
    assert cli("evaluate", "--checkpoint", weights, *run).code == 0
    image = photograph(tmp_path / "street.png")

    def predict(score: str, output: str) -> Any:
        source = ("--score", score, "--threshold-from", evaluation_dir(tmp_path / "run", SET))
        return cli("predict", "--checkpoint", weights, "--input", image, "--output", tmp_path / output, *source)

    finished = predict("sml", "first")
    assert finished.code == 0, finished.err
    fit(cli, weights, seed=1)
    finished = predict("sml", "second")
    assert (finished.code, "was fitted anew since" in finished.err) == (2, True), finished.err
    assert not (tmp_path / "second").exists()
    assert predict("msp", "third").code == 0
