"""`abet train` on what it cannot use: refused before anything is written, or stopped before anything is lost."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from abet import checkpoint
from abet.config import load_recipe
from abet.distributed import Topology
from abet.errors import UsageError
from abet.run import CHECKPOINTS
from abet.site import SiteConfig
from abet.training.job import plan_job
from abet.training.tracking import read_metrics
from tests.conftest import Cli, random_weights
from tests.training.conftest import Tiny, Zygote, final_state, refused, train
from tests.training.tiny import tiny_data
from tests.trees import make_road_anomaly

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_batch_that_does_not_add_up_lists_the_choices(cli: Cli, tiny: Tiny, tmp_path: Path) -> None:
    result = train(cli, tiny, tmp_path / "run", "--set", "batch.batch_per_gpu=3")
    refused(result, 2, "global_batch 4", "batch_per_gpu x accumulation can be: 2 x 2, 4 x 1")
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_meant_is_refused_before_anything_is_written(cli: Cli, tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    refused(cli("train", "demo_finetun", "--output", run), 2, "did you mean 'demo_finetune'?")
    refused(train(cli, tiny, run, "--set", "training.step=1"), 2, "did you mean 'training.steps'?")
    refused(train(cli, tiny, run, "--set", "model.num_classes=65"), 2, "cityscapes has 19 classes")
    refused(train(cli, tiny, run, "--set", "data.dataset=road_anomaly"), 2, "cityscapes, mapillary")
    refused(train(cli, tiny, run, "--set", "training.precision=bfloat16"), 2, "a CPU trains in float32")
    refused(
        train(cli, tiny, run, "--set", "batch.global_batch=12", "--set", "batch.batch_per_gpu=12"),
        3,
        "10 crops of an epoch",
    )
    refused(train(cli, tiny, run, "--snapshot", tmp_path / "none"), 3, str(tmp_path / "none"))
    refused(train(cli, tiny, run, "--set", f"training.seed={2**63}"), 2, "training.seed")
    refused(cli("train", tiny.recipe, "--output", run), 2, "--data-root")
    assert not run.exists()


def test_a_folder_of_other_things_is_never_written_into(cli: Cli, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("x")
    refused(train(cli, tiny, tmp_path / "thesis"), 2, "not a run directory")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter1.tex"]


def test_a_folder_of_evaluations_is_never_trained_into(
    cli: Cli, tiny: Tiny, learned_checkpoint: Path, tmp_path: Path
) -> None:
    make_road_anomaly(tmp_path / "data")
    run = tmp_path / "run"
    source = ("--checkpoint", learned_checkpoint, "--data-root", tmp_path / "data", "--limit", 1)
    assert cli("evaluate", "--dataset", "road_anomaly", *source, "--output", run).code == 0
    before = (run / "config.yaml").read_bytes()
    refused(train(cli, tiny, run), 2, "holds evaluations", "choose another --output")
    assert (run / "config.yaml").read_bytes() == before


WANTS_TRUNK = ("--set", "training.start_weights=imagenet_trunk")


def test_a_missing_trunk_is_missed_before_anything_else(cli: Cli, tiny: Tiny, tmp_path: Path) -> None:
    result = train(cli, tiny, tmp_path / "run", *WANTS_TRUNK, "--data-root", tmp_path / "nowhere")
    refused(result, 2, "wider_resnet38.pth.tar is not there", "--snapshot PLACE", "none draws all weights anew")
    assert not (tmp_path / "run").exists()


@pytest.mark.faults
def test_a_run_that_goes_on_needs_no_trunk(zygote: Zygote, tiny: Tiny) -> None:
    arguments = tiny.arguments("trunkless", *WANTS_TRUNK, "--set", "training.steps=2")
    assert zygote.train(*arguments, "--snapshot", "none")["codes"] == [0]
    assert zygote.train(*arguments)["codes"] == [0]


def test_a_slip_that_would_leave_no_image_to_validate_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    slip = ("reference_quirks.validation_images_dropped=true", "batch.batch_per_gpu=1")
    with pytest.raises(UsageError, match="4 processes would leave out all 3 validation images"):
        plan_job(
            name="tiny",
            recipe=load_recipe(str(tiny.recipe), changes=slip),
            data_root=tiny.data,
            root=tiny.data,
            output=tmp_path / "run",
            topology=Topology(device=torch.device("cpu"), processes=4),
            site=SiteConfig(),
        )


def test_too_little_memory_names_the_batch(
    cli: Cli, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_config: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("abet.training.session.build_model", full)
    refused(
        train(cli, tiny, tmp_path / "run"), 3, "batch.batch_per_gpu 4 with crops of 32x48 pixels: not enough memory"
    )


def test_a_set_whose_labels_are_all_ignored_is_an_error(cli: Cli, tiny: Tiny, tmp_path: Path) -> None:
    tiny_data(tmp_path / "data")
    for path in (tmp_path / "data" / "gtFine" / "train").rglob("*.png"):
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(path)
    result = cli("train", tiny.recipe, "--data-root", tmp_path / "data", "--output", tmp_path / "run")
    refused(result, 3, "every pixel of all 10 labels is ignored")


def test_images_smaller_than_the_crop_are_padded(zygote: Zygote, tiny: Tiny) -> None:
    more = ["--set", "augmentation.crop_height=96", "--set", "training.steps=1"]
    assert zygote.train(*tiny.arguments("padded", *more))["codes"] == [0]


def damage_one(data: Path, place: int = 3) -> Path:
    victim = sorted((data / "leftImg8bit" / "train").rglob("*.png"))[place]
    victim.write_bytes(victim.read_bytes()[:200])
    return victim


def test_a_corrupt_image_is_named(zygote: Zygote, tiny: Tiny, tmp_path: Path) -> None:
    tiny_data(tmp_path / "data")
    victim = damage_one(tmp_path / "data")
    result = zygote.train(*tiny.arguments("corrupt", "--data-root", tmp_path / "data"))
    assert result["codes"] == [3]
    assert victim.name in result["log"]
    assert "Traceback" not in result["log"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_is_replaced_and_counted_when_that_is_asked_for(
    zygote: Zygote, tiny: Tiny, tmp_path: Path, workers: int
) -> None:
    tiny_data(tmp_path / "data")
    victim = damage_one(tmp_path / "data")
    more = ["--data-root", tmp_path / "data", "--skip-corrupt", "--set", f"data.workers_per_process={workers}"]
    result = zygote.train(*tiny.arguments(f"skipping-{workers}", *more))
    assert result["codes"] == [0], result["log"]
    assert f"skipped: {victim}" in result["log"]
    skipped = [row["skipped"] for row in read_metrics(tiny.runs / f"skipping-{workers}") if row["kind"] == "train"]
    assert skipped[-1] >= 1
    assert skipped == sorted(skipped)


def test_a_loss_that_is_not_finite_leaves_its_batch_and_the_state_before_it(zygote: Zygote, tiny: Tiny) -> None:
    result = zygote.train(*tiny.arguments("exploding", "--set", "optimiser.learning_rate=1e30"))
    assert result["codes"] == [3], result["log"]
    run = tiny.runs / "exploding"
    (record,) = (run / "failed_batches").iterdir()
    content = json.loads(record.read_text())
    assert len(content["files"]) == 4
    assert all((tiny.data / name).is_file() for name in content["files"])
    assert final_state(run)["step"] == f"step-{content['step']:08d}"
    saved = checkpoint.read(max((run / CHECKPOINTS).glob("step-*"))).tensors
    statistics = [value for name, value in saved.items() if name.endswith("num_batches_tracked")]
    assert all(int(value) == content["step"] for value in statistics), "the failed batch left no trace"
    assert "optimiser.learning_rate" in result["log"]


@pytest.mark.faults
def test_every_rank_names_its_files_when_the_loss_is_not_finite(zygote: Zygote, tiny: Tiny) -> None:
    more = ["--set", "optimiser.learning_rate=1e30", "--set", "batch.batch_per_gpu=2"]
    result = zygote.train(*tiny.arguments("exploding-2", *more), processes=2)
    assert result["codes"] == [3, 3], result["log"]
    records = [json.loads(path.read_text()) for path in (tiny.runs / "exploding-2" / "failed_batches").iterdir()]
    assert sorted(record["rank"] for record in records) == [0, 1]
    assert len({name for record in records for name in record["files"]}) == 4
    assert all(len(record["losses_here"]) == 1 for record in records)


@pytest.mark.faults
def test_a_full_disk_during_a_commit_loses_nothing_committed(zygote: Zygote, tiny: Tiny, finished: Path) -> None:
    result = zygote.train(*tiny.arguments("full"), mishap=("full disk", 3))
    assert result["codes"] == [1], result["log"]
    assert "no space left" in result["log"]
    assert "Traceback" not in result["log"]
    assert final_state(tiny.runs / "full")["step"] == "step-00000002"
    assert zygote.train(*tiny.arguments("full"))["codes"] == [0]
    assert final_state(tiny.runs / "full") == final_state(finished)


@pytest.mark.faults
def test_a_trainer_that_lost_its_run_to_a_later_one_commits_nothing(zygote: Zygote, tiny: Tiny) -> None:
    result = zygote.train(*tiny.arguments("taken"), mishap=("take over", 3))
    assert result["codes"] == [3], result["log"]
    assert "a later trainer took over" in result["log"]
    assert final_state(tiny.runs / "taken")["step"] == "step-00000002"


def other_snapshot(folder: Path, **changes: Any) -> Path:
    weights = random_weights(**changes)
    checkpoint.save(weights, folder)
    return folder


@pytest.mark.faults
def test_a_snapshot_of_other_classes_needs_a_word_and_the_log_says_what_was_drawn_anew(
    zygote: Zygote, tiny: Tiny, tmp_path: Path
) -> None:
    first = zygote.train(*tiny.arguments("plain", "--set", "model.temperature_model=none"))
    assert first["codes"] == [0], first["log"]
    more = ["--snapshot", tiny.runs / "plain", "--set", "training.steps=1"]
    kept = zygote.train(*tiny.arguments("kept", *more, "--set", "model.temperature_model=none"))
    assert "re-initialised" not in kept["log"]
    wrong = zygote.train(*tiny.arguments("wrong", *more, "--set", "training.reinitialise_classifier=false"))
    assert wrong["codes"] == [3]
    assert "the snapshot's head is 'none', the recipe's 'learned'" in wrong["log"]
    assert "training.reinitialise_classifier=true" in wrong["log"]
    right = zygote.train(*tiny.arguments("right", *more))
    assert right["codes"] == [0], right["log"]
    assert "re-initialised: h.h.weight, temperature.0.weight" in right["log"]
    again = zygote.train(*tiny.arguments("right", *more, "--snapshot", tmp_path / "other"))
    assert again["codes"] == [0], again["log"]
    assert "is not read again" in again["log"]
    config = yaml.safe_load((tiny.runs / "right" / "config.yaml").read_text())
    assert config["snapshot"] == (tiny.runs / "plain").resolve().as_posix()


def test_a_snapshot_of_another_network_is_refused(cli: Cli, tiny: Tiny, tmp_path: Path) -> None:
    snapshot = other_snapshot(tmp_path / "larger")
    refused(train(cli, tiny, tmp_path / "run", "--snapshot", snapshot), 3, "does not fit the recipe's network")


@pytest.mark.faults
def test_a_killed_loader_process_takes_the_run_down_with_one_readable_error(zygote: Zygote, tiny: Tiny) -> None:
    more = ["--set", "data.workers_per_process=1", "--set", "training.steps=400"]
    result = zygote.train(*tiny.arguments("loader", *more), mishap=("kill loader", 3))
    assert result["codes"] == [1], result["log"]
    assert "killed by SIGKILL" in result["log"]
    assert "data.workers_per_process" in result["log"]
    assert "Traceback" not in result["log"]
