"""Calibration: what a search finds, kept with the weights it is of, and used by `abet predict` under its names."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from abet.calibrate import Calibration, calibrate, papers_test_on
from abet.calibration import FILE, store
from abet.counting import score_tensor
from abet.data.index import Dataset, open_dataset
from abet.detector import Detector, score_map
from abet.errors import DataError
from abet.labels import ID, OOD
from abet.metrics.operating import NAMES
from abet.site import S3Settings
from tests.conftest import Cli
from tests.evaluating_in_s3.common import put_tree
from tests.evaluations import evaluate
from tests.s3_server import S3Server
from tests.test_predict import photograph
from tests.trees import make_lost_and_found, make_road_anomaly

TWO = ("abet", "energy")
LOCAL = S3Settings()


@pytest.fixture(scope="module")
def found(learned: Detector, mixed_sizes: Dataset) -> dict[str, Any]:
    return calibrate(Calibration(detector=learned, dataset=mixed_sizes, scores=TWO, track="obstacle-track"))


@pytest.mark.parametrize("key", TWO)
def test_thresholds_are_those_of_a_search_through_the_scores_of_all_pixels(
    learned: Detector, mixed_sizes: Dataset, found: dict[str, Any], key: str
) -> None:
    pairs = [mixed_sizes.read(pair) for pair in mixed_sizes.pairs]
    scores = np.concatenate([learned.score(image, key).ravel() for image, _ in pairs])
    labels = np.concatenate([label.ravel() for _, label in pairs])
    ood, ind = scores[labels == OOD], scores[labels == ID]
    candidates = np.unique(scores[(labels == OOD) | (labels == ID)])[::-1]
    tp = np.array([(ood >= value).sum() for value in candidates])
    fp = np.array([(ind >= value).sum() for value in candidates])
    points = found["scores"][key]
    places = {
        "tpr95": int(np.flatnonzero(100 * tp >= 95 * ood.size)[0]),
        "fpr1": int(np.flatnonzero(100 * fp <= ind.size)[-1]),
        "f1-pixel": int(np.argmax(2 * tp / (tp + fp + ood.size))),
    }
    for name, place in places.items():
        assert points[name]["threshold"]["value"] == candidates[place]
        assert points[name]["tpr"]["value"] == tp[place] / ood.size
        assert points[name]["fpr"]["value"] == fp[place] / ind.size
        assert points[name]["precision"]["value"] == tp[place] / (tp[place] + fp[place])
        low, high = (points[name]["tpr"][end] for end in ("low", "high"))
        assert low <= points[name]["tpr"]["value"] <= high
    others = [points[name]["component_f1"]["value"] for name in places]
    assert points["f1-component"]["component_f1"]["value"] >= max(others)


def test_tpr95_is_the_threshold_of_the_evaluation(
    learned: Detector, mixed_sizes: Dataset, found: dict[str, Any], tmp_path: Path
) -> None:
    metrics = evaluate(learned, mixed_sizes, tmp_path / "run", scores=TWO)
    for key in TWO:
        assert found["scores"][key]["tpr95"]["threshold"]["value"] == metrics["scores"][key]["fpr95"]["threshold"]


def test_the_entry_says_what_it_is_of(learned: Detector, mixed_sizes: Dataset, found: dict[str, Any]) -> None:
    assert found["list_sha256"] == mixed_sizes.list_sha256()
    assert (found["dataset"], found["split"], found["images"]) == ("road_anomaly", "test", 5)
    assert found["minimum_pixels"] == {"prediction": 50, "object": 10}
    assert found["tested_on"] is True
    assert "papers test on road_anomaly (test)" in found["note"]
    json.dumps(found, allow_nan=False)
    again = calibrate(Calibration(detector=learned, dataset=mixed_sizes, scores=TWO, track="obstacle-track"))
    assert again == found


def test_objects_are_labelled_once_per_image(
    learned: Detector, mixed_sizes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from abet.metrics import components

    minima, label = [], components._components
    monkeypatch.setattr(components, "_components", lambda mask, least: minima.append(least) or label(mask, least))
    calibrate(Calibration(detector=learned, dataset=mixed_sizes, scores=TWO, track="obstacle-track"))
    sizes = components.SIZES["obstacle-track"]
    assert minima.count(sizes.object) == len(mixed_sizes.pairs)
    assert minima.count(sizes.prediction) > 10 * len(mixed_sizes.pairs)


def test_what_papers_test_on() -> None:
    tests = {(name, split) for name, split in SPLITS if papers_test_on(name, split)}
    assert tests == {("lost_and_found", "test"), ("road_anomaly", "test"), ("fishyscapes_static", "validation")}


SPLITS = (
    *(("lost_and_found", split) for split in ("train", "test")),
    ("road_anomaly", "test"),
    ("fishyscapes_static", "validation"),
    ("road_anomaly_21", "validation"),
    ("road_obstacle_21", "validation"),
)


def test_a_set_of_one_kind_is_refused(learned: Detector, tmp_path: Path) -> None:
    from tests.trees import save

    for path in make_road_anomaly(tmp_path / "ra", count=2):
        save(tmp_path / "ra" / "labels" / f"{Path(path).stem}.png", np.zeros((48, 64), np.uint8))
    data = open_dataset("road_anomaly", tmp_path / "ra")
    with pytest.raises(DataError, match="no OOD pixel, so no threshold"):
        calibrate(Calibration(detector=learned, dataset=data, scores=("abet",), track="anomaly-track"))


def test_a_network_without_a_finite_score_is_refused_and_nothing_is_kept(
    cli: Cli, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_road_anomaly(tmp_path / "ra", count=2)
    monkeypatch.setattr("abet.counting.score_tensor", lambda key, output: score_tensor(key, output) * np.nan)
    monkeypatch.setattr("abet.calibrate.score_map", lambda key, output: score_map(key, output) * np.float32(np.nan))
    data = ("--dataset", "road_anomaly", "--data-root", tmp_path / "ra", "--scores", "abet,msp")
    finished = cli("calibrate", "--checkpoint", weights, *data)
    assert finished.code == 3, finished.err
    assert "road_anomaly (test) defines no threshold for any of abet, msp: their scores are not finite" in finished.err
    assert "road_anomaly 2/2:" not in finished.err, "a second pass cannot mend it"
    assert not (weights / FILE).exists()


# --- the commands


def test_a_damaged_calibration_is_named_before_any_pass(cli: Cli, weights: Path, tmp_path: Path) -> None:
    make_road_anomaly(tmp_path / "ra", count=2)
    (weights / FILE).write_bytes(b'{"schema": 1, "check')
    data = ("--dataset", "road_anomaly", "--data-root", tmp_path / "ra", "--scores", "msp")
    finished = cli("calibrate", "--checkpoint", weights, *data)
    assert finished.code == 3
    assert f"{FILE}: damaged JSON; remove it, and calibrate again" in finished.err
    assert "road_anomaly 1/2" not in finished.err
    (weights / FILE).unlink()
    finished = cli("calibrate", "--checkpoint", weights, *data)
    assert finished.code == 0
    assert "--threshold f1-pixel --calibration road_anomaly" in finished.err


@pytest.fixture
def weights(learned_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of the test's own: calibrations are kept with it."""
    return shutil.copytree(learned_checkpoint, tmp_path / "weights")


def predicted(cli: Cli, weights: object, tmp_path: Path, output: str, *more: object) -> dict[str, Any]:
    source = photograph(tmp_path / "street.png")
    finished = cli("predict", "--checkpoint", weights, "--input", source, "--output", tmp_path / output, *more)
    assert finished.code == 0, finished.err
    return json.loads((tmp_path / output / "predictions.json").read_text())


def test_predict_takes_thresholds_by_name_and_lists_the_regions(
    cli: Cli, weights: Path, learned: Detector, tmp_path: Path
) -> None:
    make_lost_and_found(tmp_path / "laf", count=3, split="train")
    data = (
        "--dataset",
        "lost_and_found",
        "--split",
        "train",
        "--data-root",
        tmp_path / "laf",
        "--track",
        "obstacle-track",
    )
    finished = cli("calibrate", "--checkpoint", weights, *data, "--scores", "abet,msp")
    assert finished.code == 0, finished.err
    assert "calibrated on lost_and_found (train, 3 images, definition road)" in finished.out
    assert "test on" not in finished.out + finished.err
    kept = json.loads((weights / FILE).read_text())["sets"]["lost_and_found"]
    for name in NAMES:
        summary = predicted(cli, weights, tmp_path, name, "--threshold", name, "--min-component-pixels", 2)
        assert summary["threshold"] == kept["scores"]["abet"][name]["threshold"]["value"]
        assert summary["calibrated"] == {
            "name": name,
            "dataset": "lost_and_found",
            "split": "train",
            "tested_on": False,
            "ood_definition": "road",
        }
        (row,) = summary["images"]
        score = learned.score(tmp_path / "street.png")
        assert sum(region["area_pixels"] for region in row["components"]) <= (score >= summary["threshold"]).sum()
        assert all(region["max_score"] >= summary["threshold"] for region in row["components"])
        assert (tmp_path / name / "street.components.png").exists()
    by_default = predicted(cli, weights, tmp_path, "usual", "--threshold", "tpr95")
    assert by_default["minimum_component_pixels"] == 50
    (row,) = by_default["images"]
    assert all(region["area_pixels"] >= 50 for region in row["components"])


def test_the_definition_of_ood_is_said_in_table_file_and_predictions(cli: Cli, weights: Path, tmp_path: Path) -> None:
    make_lost_and_found(tmp_path / "laf", count=2)
    data = ("--dataset", "lost_and_found", "--data-root", tmp_path / "laf", "--scores", "msp")
    source, pixels = photograph(tmp_path / "street.png"), set()
    for definition, chosen in (("road", ()), ("image", ("--ood-definition", "image"))):
        finished = cli("calibrate", "--checkpoint", weights, *data, *chosen)
        assert finished.code == 0, finished.err
        assert f"(test, 2 images, definition {definition}; papers TEST on it)" in " ".join(finished.out.split())
        kept = json.loads((weights / FILE).read_text())["sets"]["lost_and_found"]
        assert kept["ood_definition"] == definition
        pixels.add(kept["pixels"]["id"])
        more = ("--input", source, "--score", "msp", "--threshold", "tpr95", "--output", tmp_path / definition)
        shown = cli("predict", "--checkpoint", weights, *more)
        assert f"calibrated on lost_and_found (test, definition {definition}, which papers test on)" in shown.err
        summary = json.loads((tmp_path / definition / "predictions.json").read_text())
        assert summary["calibrated"]["ood_definition"] == definition
    assert "(test, definition road: msp), which was of another definition than image" in finished.err
    assert len(pixels) == 2, "other pixels are ID"
    del kept["ood_definition"]  # as files have it from before
    (weights / FILE).write_text(
        json.dumps({**json.loads((weights / FILE).read_text()), "sets": {"lost_and_found": kept}})
    )
    shown = cli("predict", "--checkpoint", weights, *more[:-1], tmp_path / "before")
    assert "calibrated on lost_and_found (test, definition road, which papers test on)" in shown.err
    assert "ood_definition" not in json.loads((tmp_path / "before" / "predictions.json").read_text())["calibrated"]


def test_calibrating_where_papers_test_is_said_in_the_table_and_the_file(
    cli: Cli, weights: Path, tmp_path: Path
) -> None:
    make_road_anomaly(tmp_path / "ra", count=2)
    data = ("--dataset", "road_anomaly", "--data-root", tmp_path / "ra", "--scores", "msp")
    finished = cli("calibrate", "--checkpoint", weights, *data)
    assert finished.code == 0, finished.err
    assert "papers TEST on it" in finished.out
    assert json.loads((weights / FILE).read_text())["sets"]["road_anomaly"]["tested_on"] is True
    # the sizes of the anomaly track, and a warning
    source = photograph(tmp_path / "street.png")
    more = ("--score", "msp", "--threshold", "f1-pixel", "--output", tmp_path / "out")
    finished = cli("predict", "--checkpoint", weights, "--input", source, *more)
    assert "calibrated on road_anomaly (test, which papers test on)" in finished.err
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["minimum_component_pixels"] == 500


def test_the_note_of_a_threshold_is_kept_and_said_again_where_it_is_used(
    cli: Cli, weights: Path, learned: Detector, found: dict[str, Any], tmp_path: Path
) -> None:
    point = {**found["scores"]["abet"]["f1-component"], "note": "look at it before you use it"}
    scores = {"abet": {**found["scores"]["abet"], "f1-component": point}}
    store(str(weights), learned.sha256, {**found, "scores": scores}, LOCAL)
    source = photograph(tmp_path / "street.png")
    usual = ("predict", "--checkpoint", weights, "--input", source, "--output")
    assert "note: look at it before" in cli(*usual, tmp_path / "a", "--threshold", "f1-component").err
    kept = json.loads((tmp_path / "a" / "predictions.json").read_text())["calibrated"]
    assert kept["note"] == "look at it before you use it"
    assert "note:" not in cli(*usual, tmp_path / "b", "--threshold", "f1-pixel").err


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--threshold", "f1"), 2, "neither a number nor a calibrated one: tpr95, fpr1, f1-pixel, f1-component"),
        (("--threshold", "tpr95"), 2, "has no calibration; `abet calibrate"),
        (("--threshold", 1, "--calibration", "road_anomaly"), 2, "add --threshold NAME"),
        (("--min-component-pixels", 5), 2, "add --threshold or --threshold-from"),
    ],
)
def test_what_predict_refuses(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path, more: tuple[object, ...], code: int, said: str
) -> None:
    source = photograph(tmp_path / "street.png")
    finished = cli("predict", "--checkpoint", learned_checkpoint, "--input", source, "--output", tmp_path / "o", *more)
    assert (finished.code, said in finished.err) == (code, True), finished.err
    assert not (tmp_path / "o").exists()


def test_a_score_that_the_head_lacks_is_refused_by_name_and_left_out_of_all(
    cli: Cli, plain_checkpoint: Path, tmp_path: Path
) -> None:
    weights = shutil.copytree(plain_checkpoint, tmp_path / "plain")
    make_road_anomaly(tmp_path / "ra", count=2)
    usual = ("calibrate", "--checkpoint", weights, "--dataset", "road_anomaly", "--data-root", tmp_path / "ra")
    finished = cli(*usual, "--scores", "abet,msp")
    assert (finished.code, "does not define abet" in finished.err) == (2, True)
    assert cli(*usual).code == 0
    kept = json.loads((weights / FILE).read_text())["sets"]["road_anomaly"]["scores"]
    assert set(kept) == {"energy", "entropy", "msp", "max_logit", "ash_energy"}


def test_a_checkpoint_in_s3_keeps_its_calibration_there(
    cli: Cli, s3: S3Server, learned_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml

    from abet.storage import open_storage

    place = s3.place("calibrated")
    site = {"scratch": str(tmp_path / "scratch"), "s3": {"endpoint": s3.endpoint, "region": "us-east-1"}}
    Path("abet.site.yaml").write_text(yaml.safe_dump(site))
    put_tree(open_storage(place, s3.settings), learned_checkpoint, "weights")
    make_road_anomaly(tmp_path / "ra", count=2)
    data = ("--dataset", "road_anomaly", "--data-root", tmp_path / "ra", "--scores", "msp")
    finished = cli("calibrate", "--checkpoint", place / "weights", *data)
    assert finished.code == 0, finished.err
    assert f"wrote {place}/weights/{FILE}" in finished.err
    summary = predicted(cli, place / "weights", tmp_path, "out", "--score", "msp", "--threshold", "fpr1")
    kept = json.loads(open_storage(place, s3.settings).read(f"weights/{FILE}")[0])["sets"]["road_anomaly"]
    assert summary["threshold"] == kept["scores"]["msp"]["fpr1"]["threshold"]["value"]
