"""`abet validate`: the mIoU of a checkpoint, its table and its predictions, in one process or several."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from abet import checkpoint
from abet.data.index import Pair, open_dataset
from abet.data.validation_view import validation_view
from abet.detector import load_detector
from abet.distributed import Topology, process_group
from abet.errors import DataError, UsageError
from abet.labels import CITYSCAPES
from abet.metrics.confusion import confusion
from abet.validate import ValidationJob, label_ids, predict_classes, prediction_names, summarise, validate
from abet.windows import Inference
from tests.conftest import Cli, random_weights
from tests.test_distributed import ALONE, processes
from tests.trees import CITYSCAPES_IDS, make_cityscapes, make_mapillary

COUNT = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cityscapes")
    make_cityscapes(folder, count=COUNT, split="val")
    make_cityscapes(folder, count=2, split="train", seed=50)
    return folder


@pytest.fixture(scope="module")
def detector(learned_checkpoint):
    return load_detector(learned_checkpoint, device="cpu")


def naive_matrix(detector, data, inference=Inference()):  # noqa: B008  # frozen
    matrix = np.zeros((19, 19), np.int64)
    for pair in data.pairs:
        image, label = data.read(pair)
        for truth, said in zip(label.ravel(), predict_classes(detector, image, inference).ravel(), strict=True):
            if truth < 19:
                matrix[truth, said] += 1
    return matrix


def job_of(detector, root, topology=ALONE, **more):
    data = open_dataset("cityscapes", root, "val")
    return ValidationJob(detector=detector, dataset=data, topology=topology, **{"inference": Inference(), **more})


# --- what is measured


def test_every_labelled_pixel_of_every_image_is_counted_once(detector, root):
    job = job_of(detector, root)
    np.testing.assert_array_equal(validate(job), naive_matrix(detector, job.dataset))


def test_a_whole_look_predicts_what_the_detector_predicts(detector, root):
    data = open_dataset("cityscapes", root, "val")
    image, _ = data.read(data.pairs[0])
    np.testing.assert_array_equal(predict_classes(detector, image, Inference()), detector.predict(image).classes)


def test_windows_scales_and_mirrors_reach_the_network(detector, root):
    inference = Inference(crop_pixels=32, scales=(0.5, 1.0), flip=True)
    job = job_of(detector, root, inference=inference)
    matrix = validate(job)
    np.testing.assert_array_equal(matrix, naive_matrix(detector, job.dataset, inference))
    assert (matrix != naive_matrix(detector, job.dataset)).any()


def test_squares_of_a_height_are_measured_on_when_asked_for(detector, root):
    job = job_of(detector, root, height=24)
    wanted = np.zeros((19, 19), np.int64)
    for pair in job.dataset.pairs:
        image, label = validation_view(*job.dataset.read(pair), 24)
        wanted += confusion(label, predict_classes(detector, image, Inference()), 19)
    np.testing.assert_array_equal(validate(job), wanted)


def measure(topology: Topology, weights: str, root: str, predictions: str) -> list[list[int]]:
    detector = load_detector(Path(weights), device="cpu")
    with process_group(topology):
        matrix: list[list[int]] = validate(
            job_of(detector, Path(root), topology, predictions=Path(predictions))
        ).tolist()
        return matrix


@pytest.mark.faults
def test_several_processes_count_each_image_once_and_all_know_the_sum(detector, root, learned_checkpoint, tmp_path):
    """Five images over two processes: the shares are not even."""
    wanted = validate(job_of(detector, root, predictions=tmp_path / "one")).tolist()
    with processes(2) as together:
        assert together(measure, str(learned_checkpoint), str(root), str(tmp_path / "several")) == [wanted] * 2
    one, several = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "several")
    )
    assert len(one) == COUNT
    assert one == several


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_without_finite_logits_has_no_miou(root, tmp_path, value):
    weights = random_weights("learned")
    name, tensor = next(iter(weights.tensors.items()))
    broken = {**weights.tensors, name: tensor.index_fill(0, torch.tensor(0), value)}
    checkpoint.save(replace(weights, tensors=broken), tmp_path / "broken")
    job = job_of(load_detector(tmp_path / "broken", device="cpu"), root)
    with pytest.raises(DataError, match=r"logits are not finite there: its weights are damaged or training diverged"):
        validate(job)


# --- what is told


def test_the_json_holds_each_class_with_its_name_and_says_why_a_figure_is_null(detector, root):
    job = job_of(detector, root)
    matrix = np.zeros((19, 19), np.int64)
    matrix[0, 0], matrix[0, 2], matrix[1, 0] = 6, 2, 4
    result = summarise(job, matrix)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    road, sidewalk, building, wall = result["classes"][:4]
    assert road == {
        "train_id": 0,
        "name": "road",
        "iou": 6 / 12,
        "precision": 6 / 10,
        "recall": 6 / 8,
        "share": 8 / 12,
        "reason": None,
    }
    assert (sidewalk["precision"], sidewalk["recall"], sidewalk["reason"]) == (None, 0, "not predicted")
    assert (building["precision"], building["recall"], building["reason"]) == (0, None, "not labelled")
    assert (wall["iou"], wall["reason"]) == (None, "neither labelled nor predicted")
    assert [row["name"] for row in result["classes"]] == [row.name for row in CITYSCAPES]
    assert result["miou"] == pytest.approx((6 / 12 + 0 + 0) / 3)
    assert result["inference"] == {
        "mode": "whole",
        "crop_pixels": None,
        "overlap": None,
        "scales": [1.0],
        "flip": False,
        "height_pixels": None,
    }


def test_the_command_prints_a_row_per_class_and_writes_the_figures(
    cli: Cli, root, learned_checkpoint, detector, tmp_path
):
    options = ("--mode", "sliding", "--crop", 32, "--scales", "1,0.5", "--flip", "--device", "cpu")
    output = tmp_path / "figures.json"
    done = cli(
        "validate", learned_checkpoint, "--dataset", "cityscapes", "--data-root", root, *options, "--output", output
    )  # fmt: skip
    assert done.code == 0, done.err
    result = json.loads(output.read_text())
    data = open_dataset("cityscapes", root, "val")
    wanted = naive_matrix(detector, data, Inference(crop_pixels=32, scales=(1.0, 0.5), flip=True))
    assert result["confusion"] == wanted.tolist()
    assert result["images"] == result["split_images"] == COUNT
    assert result["checkpoint"] == {"uri": learned_checkpoint.resolve().as_posix(), "sha256": detector.sha256}
    for row in CITYSCAPES:
        assert row.name in done.out
    assert f"mIoU: {100 * result['miou']:.2f}" in done.out
    for name in ("precision", "recall", "pixel accuracy", "mean class accuracy", "frequency-weighted IoU"):
        assert name in done.out


def test_images_can_be_chosen_and_the_split_is_that_for_validation(cli: Cli, root, learned_checkpoint, tmp_path):
    output = tmp_path / "figures.json"
    command = ("validate", learned_checkpoint, "--dataset", "cityscapes", "--data-root", root, "--output", output)
    assert cli(*command, "--images", "zurich_000003_000019,aachen_000000_000019").code == 0
    assert (json.loads(output.read_text())["split"], json.loads(output.read_text())["images"]) == ("val", 2)
    assert cli(*command, "--split", "train", "--limit", 1).code == 0
    assert (json.loads(output.read_text())["split"], json.loads(output.read_text())["images"]) == ("train", 1)
    assert json.loads(output.read_text())["split_images"] > 1


# --- predictions


@pytest.mark.parametrize("kinds", [("labelIds",), ("labelTrainIds",)])
def test_predictions_are_label_ids_at_the_size_of_the_image_whatever_labels_are_read(
    kinds, cli: Cli, detector, learned_checkpoint, tmp_path
):
    make_cityscapes(tmp_path / "data", count=2, split="val", size=(40, 72), kinds=kinds)
    folder = tmp_path / "predictions"
    command = ("validate", learned_checkpoint, "--dataset", "cityscapes", "--data-root", tmp_path / "data")
    done = cli(*command, "--predictions", folder)
    assert done.code == 0, done.err
    assert {path.name for path in folder.iterdir()} == {
        "aachen_000000_000019_pred.png",
        "zurich_000001_000019_pred.png",
    }
    data = open_dataset("cityscapes", tmp_path / "data", "val")
    for pair in data.pairs:
        with Image.open(folder / prediction_names([pair])[pair.name]) as file:
            assert (file.format, file.mode, file.size) == ("PNG", "L", (72, 40))
            written = np.array(file)
        classes = predict_classes(detector, data.read(pair)[0], Inference())
        np.testing.assert_array_equal(written, np.vectorize(CITYSCAPES_IDS.__getitem__)(classes))

    again = cli(*command, "--predictions", folder)
    assert again.code == 2
    assert "is not empty" in again.err


def test_mapillarys_label_ids_are_its_train_ids(tmp_path):
    make_mapillary(tmp_path, split="validation")
    assert label_ids(open_dataset("mapillary", tmp_path, "validation")).tolist() == list(range(65))


def test_predictions_that_would_share_a_name_are_refused():
    pairs = [Pair(name=f"{folder}/one_leftImg8bit.png", image=Path(), label=Path()) for folder in "ab"]
    with pytest.raises(UsageError, match=r"several images would be written as one_pred\.png"):
        prediction_names(pairs)


def test_the_test_split_is_opened_for_predictions_alone(cli: Cli, learned_checkpoint, tmp_path):
    make_cityscapes(tmp_path, count=2, split="test")
    for path in (tmp_path / "gtFine").rglob("*.png"):
        Image.fromarray(np.full((48, 64), 3, np.uint8)).save(path)  # the archive's dummies: out of roi
    command = ("validate", learned_checkpoint, "--dataset", "cityscapes", "--data-root", tmp_path, "--split", "test")
    refused = cli(*command)
    assert refused.code == 2
    assert "withheld" in refused.err
    assert "--predictions" in refused.err
    done = cli(*command, "--predictions", tmp_path / "out", "--output", tmp_path / "figures.json")
    assert done.code == 0, done.err
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert "no figures: no pixel of the labels is a class" in done.out
    result = json.loads((tmp_path / "figures.json").read_text())
    assert (result["miou"], result["reason"]) == (None, "no pixel of the labels is a class: all are ignored")


# --- what is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dataset", "road_anomaly"), "choices are: cityscapes, mapillary"),
        (("--dataset", "cityscapes", "--crop", 512), "add --mode sliding"),
        (("--dataset", "cityscapes", "--overlap", 0.5), "add --mode sliding"),
        (("--dataset", "cityscapes", "--scales", "1,two"), "--scales '1,two': expected numbers"),
        (("--dataset", "cityscapes", "--scales", "1,-1"), "numbers from 0.1 to 8.0"),
        (("--dataset", "cityscapes", "--mode", "sliding", "--overlap", 1), "below 1"),
        (("--dataset", "cityscapes", "--height", 9, "--predictions", "p"), "--predictions with --height"),
        (("--dataset", "cityscapes", "--predictions", "s3://bucket/p"), "a path of this machine is needed"),
        (("--dataset", "cityscapes", "--output", "s3://bucket/f.json"), "a path of this machine is needed"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_before_anything_is_read(cli: Cli, options, said):
    refused = cli("validate", "nowhere", "--data-root", "nowhere", *options)
    assert refused.code == 2
    assert said in refused.err
    assert not list(Path().iterdir())


def test_a_network_of_other_classes_is_refused(cli: Cli, root, tmp_path):
    checkpoint.save(random_weights(num_classes=65), tmp_path / "c")
    refused = cli("validate", tmp_path / "c", "--dataset", "cityscapes", "--data-root", root)
    assert refused.code == 3
    assert "tells 65 classes apart, cityscapes has 19" in refused.err


def test_a_corrupt_image_is_named(cli: Cli, learned_checkpoint, tmp_path):
    make_cityscapes(tmp_path, count=2, split="val")
    broken = next(tmp_path.rglob("*_leftImg8bit.png"))
    broken.write_bytes(b"no image")
    refused = cli("validate", learned_checkpoint, "--dataset", "cityscapes", "--data-root", tmp_path)
    assert refused.code == 3
    assert str(broken) in refused.err
