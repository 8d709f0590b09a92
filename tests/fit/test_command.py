"""abet fit, and the commands that use what it leaves."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from abet import companions
from abet.checkpoint import save
from abet.data.index import Dataset
from abet.detector import Detector, load_detector
from abet.errors import CheckpointError, UsageError
from abet.evaluate import Evaluation
from abet.run import evaluation_dir, shard_path
from abet.scores import SCORES
from abet.scores import fitted as fitted_file
from abet.scores.fitted import NAME
from abet.shards import read_shard
from abet.site import S3Settings
from tests.conftest import Cli, Finished, random_weights
from tests.evaluations import evaluate
from tests.fits import fitted_content, training_images

FITTED = tuple(key for key, score in SCORES.items() if score.fitted)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return training_images(tmp_path_factory.mktemp("cityscapes"))


@pytest.fixture
def weights(learned_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of this test's own."""
    return shutil.copytree(learned_checkpoint, tmp_path / "weights")


@pytest.fixture
def fitted_weights(weights: Path, training: Dataset) -> Path:
    content = fitted_content(load_detector(weights, device="cpu"), training)
    companions.write(weights, NAME, content, S3Settings())
    return weights


def fit(cli: Cli, weights: object, training: Dataset, *more: object) -> Finished:
    place = ("--checkpoint", weights, "--dataset", "cityscapes", "--data-root", training.root)
    return cli("fit", *place, "--device", "cpu", "--bank", 190, "--neighbours", 3, *more)


def run_evaluation(cli: Cli, weights: object, data: Dataset, output: Path, *more: object) -> Finished:
    place = ("--checkpoint", weights, "--dataset", "road_anomaly", "--data-root", data.root, "--output", output)
    return cli("evaluate", *place, "--device", "cpu", *more)


def figures(run: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((evaluation_dir(run, "road_anomaly") / "metrics.json").read_text())
    return metrics


def test_a_fit_completes_the_scores_of_its_weights(
    cli: Cli, weights: Path, training: Dataset, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    assert run_evaluation(cli, weights, mixed_sizes, tmp_path / "before", "--limit", 2).code == 0
    before = figures(tmp_path / "before")
    for key in FITTED:
        assert before["scores"][key]["auroc"] is None
        assert before["scores"][key]["reason"].startswith("not fitted: `abet fit --checkpoint")
    assert "fitted_sha256" not in before

    finished = fit(cli, weights, training, "--limit", 3)
    assert finished.code == 0, finished.err
    assert str(weights / NAME) in finished.err
    detector = load_detector(weights, device="cpu")
    assert (weights / NAME).read_bytes() == fitted_content(detector, training.select(limit=3))
    finished = run_evaluation(cli, weights, mixed_sizes, tmp_path / "after", "--limit", 2)
    assert finished.code == 0, finished.err
    after = figures(tmp_path / "after")
    assert all(entry["auroc"]["value"] is not None for entry in after["scores"].values())
    fitted = detector.with_fitted().fitted
    assert fitted is not None
    assert after["fitted_sha256"] == fitted.sha256
    assert after["scores"]["sml"]["reference_protocol"]["auroc"] is not None
    for key in set(SCORES) - set(FITTED):
        assert after["scores"][key] == before["scores"][key]


@pytest.mark.parametrize("key", ["sml", "knn", "react_abet"])
def test_a_score_that_is_asked_for_by_name_must_be_fitted(
    cli: Cli, weights: Path, mixed_sizes: Dataset, tmp_path: Path, key: str
) -> None:
    image = mixed_sizes.pairs[0].image
    for finished in (
        run_evaluation(cli, weights, mixed_sizes, tmp_path / "run", "--scores", f"abet,{key}"),
        cli("predict", "--checkpoint", weights, "--input", image, "--output", tmp_path / "run", "--score", key),
    ):
        assert finished.code == 2
        assert f"score '{key}' is not fitted for these weights: abet fit --checkpoint {weights}" in finished.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("classes", "dataset"), [(19, "cityscapes"), (65, "mapillary"), (7, "NAME")])
def test_the_remedy_names_the_set_that_the_network_was_trained_on(
    cli: Cli, mixed_sizes: Dataset, tmp_path: Path, classes: int, dataset: str
) -> None:
    save(random_weights("none", num_classes=classes), tmp_path / "weights")
    place = ("--checkpoint", tmp_path / "weights", "--input", mixed_sizes.pairs[0].image)
    finished = cli("predict", *place, "--output", tmp_path / "out", "--score", "knn")
    assert finished.code == 2
    assert f"abet fit --checkpoint {tmp_path / 'weights'} --dataset {dataset}\n" in finished.err


def test_a_fit_of_the_format_before_is_refused_with_the_remedy(
    fitted_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitted_file, "FORMAT", 3)
    with pytest.raises(CheckpointError, match="of format 2, not 3; remove it and run `abet fit` again"):
        load_detector(fitted_weights, device="cpu").with_fitted()


def test_a_prediction_takes_what_was_fitted(
    cli: Cli, fitted_weights: Path, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    image = mixed_sizes.pairs[0].image
    place = ("--checkpoint", fitted_weights, "--input", image, "--output", tmp_path / "out", "--device", "cpu")
    assert cli("predict", *place, "--score", "knn").code == 0
    summary = json.loads((tmp_path / "out" / "predictions.json").read_text())
    detector = load_detector(fitted_weights, device="cpu").with_fitted()
    assert summary["fitted_sha256"] == detector.fitted_sha256(["knn"])
    assert set(detector.predict(image).scores) == set(SCORES)


def test_what_was_fitted_for_other_weights_is_refused(
    cli: Cli, fitted_weights: Path, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    save(random_weights("learned", seed=1), tmp_path / "others")
    shutil.copy(fitted_weights / NAME, tmp_path / "others" / NAME)
    with pytest.raises(CheckpointError, match=r"fitted for other weights .*abet fit --checkpoint"):
        load_detector(tmp_path / "others", device="cpu").with_fitted(["knn"])
    finished = run_evaluation(cli, tmp_path / "others", mixed_sizes, tmp_path / "run")
    assert finished.code == 3
    assert "fitted for other weights" in finished.err
    assert run_evaluation(cli, tmp_path / "others", mixed_sizes, tmp_path / "run", "--scores", "abet").code == 0


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda _: b"", lambda _: b"\xff" * 64])
def test_a_damaged_file_is_refused(fitted_weights: Path, damage: Any) -> None:
    path = fitted_weights / NAME
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"fitted\.safetensors: damaged .*run `abet fit` again"):
        load_detector(fitted_weights, device="cpu").with_fitted()


def test_shards_of_different_fits_do_not_mix(
    fitted_weights: Path, training: Dataset, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    first = load_detector(fitted_weights, device="cpu").with_fitted()
    content = fitted_content(first, training, seed=1)
    companions.write(fitted_weights, NAME, content, S3Settings())
    second = load_detector(fitted_weights, device="cpu").with_fitted()
    options: dict[str, Any] = {"dataset": mixed_sizes, "scores": ("knn", "msp"), "shards": 2}
    Evaluation(detector=first, **options).run_shard(tmp_path / "run", 1)
    with pytest.raises(UsageError, match="different: fitted_sha256"):
        Evaluation(detector=second, **options).run_shard(tmp_path / "run", 2)
    Evaluation(detector=first, **options).run_shard(tmp_path / "run", 2)


def test_a_fit_that_no_score_needs_is_not_named(
    fitted_weights: Path, learned: Detector, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    detector = load_detector(fitted_weights, device="cpu").with_fitted()
    evaluate(detector, mixed_sizes, tmp_path / "run", scores=("msp", "ash_energy"))
    assert "fitted_sha256" not in read_shard(shard_path(tmp_path / "run", "road_anomaly", 1, 1)).fingerprint
    assert detector.with_fitted(["msp"]) is detector
    assert learned.with_fitted(["msp"]).fitted is None


def test_a_plain_network_is_fitted_for_the_scores_that_it_has(
    cli: Cli, plain_checkpoint: Path, training: Dataset, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    weights = shutil.copytree(plain_checkpoint, tmp_path / "weights")
    assert fit(cli, weights, training, "--limit", 2).code == 0
    assert run_evaluation(cli, weights, mixed_sizes, tmp_path / "run", "--limit", 2).code == 0
    scores = figures(tmp_path / "run")["scores"]
    absent = {key for key, entry in scores.items() if entry["auroc"] is None}
    assert absent == {"abet", "godin", "max_cosine", "react_abet", "dice_abet", "ash_abet"}
    assert all("learned" in scores[key]["reason"] for key in absent)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--react-percentile", 101), "react_percentile"),
        (("--dice-percentile", -1), "dice_percentile"),
        (("--dataset", "road_anomaly"), "unknown training set"),
        (("--split", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    cli: Cli, weights: Path, training: Dataset, options: tuple[object, ...], said: str
) -> None:
    finished = fit(cli, weights, training, *options)
    assert finished.code == 2
    assert said in finished.err
    assert not (weights / NAME).exists()


def test_a_matrix_is_drawn_with_the_fit_that_was_evaluated(
    cli: Cli, fitted_weights: Path, training: Dataset, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert run_evaluation(cli, fitted_weights, mixed_sizes, run, "--scores", "knn", "--samples", 0).code == 0

    def draw(pair: int) -> Finished:
        image = mixed_sizes.pairs[pair].name
        return cli("report", run, "--matrix", tmp_path / "m.png", "--scores", "knn", "--images", image)

    finished = draw(0)
    assert finished.code == 0, finished.err
    companions.write(
        fitted_weights,
        NAME,
        fitted_content(load_detector(fitted_weights, device="cpu"), training, seed=1),
        S3Settings(),
    )
    finished = draw(1)
    assert finished.code == 3
    assert "`abet fit` has run again since" in finished.err
