"""`abet train` as its users see it: what it leaves, how it goes on, and what it refuses before anything is lost."""

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from abet import checkpoint
from abet.run import CHECKPOINTS
from abet.training.tracking import read_metrics
from tests.conftest import Cli, Finished, random_weights
from tests.training.conftest import Tiny, Zygote, final_state
from tests.training.tiny import tiny_data
from tests.trees import make_road_anomaly


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command changes of the process is put back."""
    monkeypatch.setattr(torch, "set_num_threads", lambda _number: None)


@pytest.fixture(scope="module")
def finished(zygote: Zygote, tiny: Tiny) -> Path:
    """A run that went through undisturbed."""
    result = zygote.train(*tiny.arguments("finished"))
    assert result["codes"] == [0], result["log"]
    return tiny.runs / "finished"


def train(cli: Cli, tiny: Tiny, run: Path, *more: object) -> Finished:
    return cli("train", tiny.recipe, "--data-root", tiny.data, "--output", run, *more)


def refused(result: Finished, code: int, *said: str) -> None:
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    for text in said:
        assert text in result.err


def test_a_run_directory_explains_the_run(finished: Path, tiny: Tiny) -> None:
    config = yaml.safe_load((finished / "config.yaml").read_text())
    recipe = yaml.safe_load(tiny.recipe.read_text())
    assert {key: config[key] for key in recipe} == recipe
    assert config["data_root"] == tiny.data.resolve().as_posix()
    (start,) = json.loads((finished / "run.json").read_text())["starts"]
    assert (start["first_step"], start["generation"], start["processes"]) == (0, 1, 1)
    rows = read_metrics(finished)
    assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if row["kind"] == "validation"] == [3, 6]
    assert sorted(path.name for path in (finished / "pictures").iterdir()) == [
        "step-00000003.png",
        "step-00000006.png",
    ]


def test_the_newest_checkpoints_and_the_best_are_kept(finished: Path) -> None:
    best = json.loads((finished / CHECKPOINTS / "best.json").read_text())
    miou = {row["step"]: row["miou"] for row in read_metrics(finished) if row["kind"] == "validation"}
    assert best == {"step": max(miou, key=lambda step: miou[step]), "miou": max(miou.values())}
    kept = {int(path.name[5:]) for path in (finished / CHECKPOINTS).glob("step-*")}
    assert kept == {4, 6, best["step"]}


def test_the_learning_rate_falls_along_a_straight_line(finished: Path) -> None:
    rates = [row["lr"] for row in read_metrics(finished) if row["kind"] == "train"]
    assert rates == pytest.approx([0.1 * (1 - step / 6) for step in range(6)])


def test_training_lowers_the_loss(zygote: Zygote, tiny: Tiny) -> None:
    more = ("--set", "training.steps=30", "--set", "model.trunk.dropout=[0,0,0,0,0,0]")
    result = zygote.train(*tiny.arguments("longer", *more))
    assert result["codes"] == [0], result["log"]
    losses = [row["loss"] for row in read_metrics(tiny.runs / "longer") if row["kind"] == "train"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_a_trained_run_is_evaluated_by_its_name_into_itself(cli: Cli, finished: Path, tmp_path: Path) -> None:
    make_road_anomaly(tmp_path / "data")
    result = cli(
        "evaluate", "--checkpoint", finished, "--dataset", "road_anomaly", "--data-root", tmp_path / "data"
    )  # fmt: skip
    assert result.code == 0, result.err
    metrics = json.loads((finished / "evaluation" / "road_anomaly" / "metrics.json").read_text())
    assert metrics["checkpoint"]["uri"].startswith(f"{finished.resolve()}/{CHECKPOINTS}/step-")
    assert cli("report", finished, "--output", tmp_path / "report.html").code == 0


def test_a_finished_run_has_nothing_more_to_do(zygote: Zygote, tiny: Tiny, finished: Path) -> None:
    before = final_state(finished)
    result = zygote.train(*tiny.arguments("finished"))
    assert result["codes"] == [0]
    assert final_state(finished) == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--set", "training.seed=1"], ["training.seed was 0 and is 1", "--set training.seed=0", "--snapshot"]),
        (["--set", "training.steps=7"], ["training.steps was 6 and is 7"]),
        (["--resume", "never"], ["holds checkpoints up to step-00000006", "choose another --output"]),
    ],
)
def test_a_resume_as_another_job_is_refused(
    cli: Cli, tiny: Tiny, finished: Path, more: list[str], said: list[str]
) -> None:
    before, owner = final_state(finished), (finished / "owner.json").read_bytes()
    refused(train(cli, tiny, finished, "--threads", 1, *more), 2, *said)
    assert final_state(finished) == before
    assert (finished / "owner.json").read_bytes() == owner, "a start that is refused ends nobody's ownership"


def test_other_images_or_another_number_of_processes_are_another_job(
    zygote: Zygote, tiny: Tiny, finished: Path, tmp_path: Path
) -> None:
    more = ["--set", "batch.batch_per_gpu=2"]
    result = zygote.train(*tiny.arguments("finished", *more), processes=2)
    assert 2 in result["codes"], result["log"]
    assert "processes was 1 and is 2" in result["log"]
    assert "--allow-topology-change" in result["log"]
    tiny_data(tmp_path / "other", count=11)
    result = zygote.train(*tiny.arguments("finished", "--data-root", tmp_path / "other"))
    assert result["codes"] == [2]
    assert "training_list_sha256 (the training images or their labels)" in result["log"]


def test_a_run_goes_on_with_another_number_of_processes_when_that_is_meant(zygote: Zygote, tiny: Tiny) -> None:
    stopped = zygote.train(*tiny.arguments("elastic"), kill=(0, stop_after(zygote, tiny, 4)))
    assert stopped["codes"] == [-9]
    more = ["--set", "batch.batch_per_gpu=2", "--allow-topology-change"]
    result = zygote.train(*tiny.arguments("elastic", *more), processes=2)
    assert result["codes"] == [0, 0], result["log"]
    assert "no longer bit-identical" in result["log"]
    assert final_state(tiny.runs / "elastic")["step"] == "step-00000006"


def stop_after(zygote: Zygote, tiny: Tiny, steps: int) -> int:
    """The event before which ``steps`` optimiser steps are on record."""
    result = zygote.train(*tiny.arguments(f"counted-{steps}"))
    return [number for number, event in enumerate(result["events"]) if event == "step"][steps]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_saves_and_the_run_goes_on_to_the_same_weights(
    zygote: Zygote, tiny: Tiny, finished: Path, number: signal.Signals
) -> None:
    name = f"stopped-{number.name}"
    result = zygote.train(*tiny.arguments(name), mishap=(number.name, 5))
    assert result["codes"] == [143], result["log"]
    assert f"stopped by {number.name} after step 5" in result["log"]
    assert final_state(tiny.runs / name)["step"] == "step-00000005"
    assert zygote.train(*tiny.arguments(name))["codes"] == [0]
    assert final_state(tiny.runs / name) == final_state(finished)
    assert [row["step"] for row in read_metrics(tiny.runs / name) if row["kind"] == "train"] == [1, 2, 3, 4, 5, 6]


def test_a_signal_that_reaches_one_rank_stops_all_at_the_same_step(zygote: Zygote, tiny: Tiny) -> None:
    more = ["--set", "batch.batch_per_gpu=2"]
    result = zygote.train(*tiny.arguments("one-rank", *more), processes=2, mishap=("SIGTERM", 4), rank=1)
    assert result["codes"] == [143, 143], result["log"]
    assert final_state(tiny.runs / "one-rank")["step"] == "step-00000004"


def test_two_processes_learn_what_one_learns_from_the_same_global_batch(zygote: Zygote, tiny: Tiny) -> None:
    """Synchronised statistics, averaged gradients, losses over the valid pixels of both: only rounding differs.

    Rounding grows in training as any small change does (ASPP's pooled features have one value per crop), so the bound
    is tight after one step at the full rate, and after 20 steps at a small one ten times below what statistics of each
    process alone would make of it.
    """
    rate = ["--set", "optimiser.learning_rate=1e-4"]
    first = weights_of(zygote, tiny, "one-step", 1, 1), weights_of(zygote, tiny, "two-step", 2, 1)
    last = [weights_of(zygote, tiny, f"{processes}-last", processes, 20, *rate) for processes in (1, 2)]
    alone = weights_of(zygote, tiny, "alone", 2, 20, *rate, "--set", "training.sync_batch_norm=false")
    assert difference(*first) < 1e-5
    assert difference(*last) < 3e-3
    assert difference(last[0], alone) > 10 * difference(*last)


def weights_of(
    zygote: Zygote, tiny: Tiny, name: str, processes: int, steps: int, *more: object
) -> Mapping[str, torch.Tensor]:
    """What that many steps without dropout end in."""
    changes = (f"training.steps={steps}", "model.trunk.dropout=[0,0,0,0,0,0]", f"batch.batch_per_gpu={4 // processes}")
    options = [option for change in changes for option in ("--set", change)]
    result = zygote.train(*tiny.arguments(name, *options, *more), processes=processes)
    assert result["codes"] == [0] * processes, result["log"]
    return checkpoint.read(checkpoint.step_folder(tiny.runs / name, steps)).tensors


def difference(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """The largest of any weight or running statistic."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_accumulated_gradients_are_those_of_the_whole_batch_but_for_its_statistics(zygote: Zygote, tiny: Tiny) -> None:
    """Two passes of two crops take the mean over all valid pixels; only batch statistics see half a batch."""
    result = zygote.train(*tiny.arguments("accumulated", "--set", "batch.batch_per_gpu=2"))
    assert result["codes"] == [0], result["log"]
    rows = [row for row in read_metrics(tiny.runs / "accumulated") if row["kind"] == "train"]
    whole = [row for row in read_metrics(tiny.runs / "finished") if row["kind"] == "train"]
    assert rows[0]["loss"] == pytest.approx(whole[0]["loss"], rel=0.1)
    assert rows[0]["loss"] != whole[0]["loss"]


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
    refused(train(cli, tiny, run, "--set", "batch.global_batch=12", "--set", "batch.batch_per_gpu=12"), 3, "10 images")
    refused(train(cli, tiny, run, "--snapshot", tmp_path / "none"), 3, str(tmp_path / "none"))
    refused(cli("train", tiny.recipe, "--output", run), 2, "--data-root")
    assert not run.exists()


def test_a_folder_of_other_things_is_never_written_into(cli: Cli, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("x")
    refused(train(cli, tiny, tmp_path / "thesis"), 2, "not a run directory")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter1.tex"]


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


def test_a_full_disk_during_a_commit_loses_nothing_committed(zygote: Zygote, tiny: Tiny, finished: Path) -> None:
    result = zygote.train(*tiny.arguments("full"), mishap=("full disk", 3))
    assert result["codes"] == [1], result["log"]
    assert "no space left" in result["log"]
    assert "Traceback" not in result["log"]
    assert final_state(tiny.runs / "full")["step"] == "step-00000002"
    assert zygote.train(*tiny.arguments("full"))["codes"] == [0]
    assert final_state(tiny.runs / "full") == final_state(finished)


def test_a_trainer_that_lost_its_run_to_a_later_one_commits_nothing(zygote: Zygote, tiny: Tiny) -> None:
    result = zygote.train(*tiny.arguments("taken"), mishap=("take over", 3))
    assert result["codes"] == [3], result["log"]
    assert "a later trainer took over" in result["log"]
    assert final_state(tiny.runs / "taken")["step"] == "step-00000002"


def other_snapshot(folder: Path, **changes: Any) -> Path:
    weights = random_weights(**changes)
    checkpoint.save(weights, folder)
    return folder


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


def test_a_snapshot_of_another_network_is_refused(cli: Cli, tiny: Tiny, tmp_path: Path) -> None:
    snapshot = other_snapshot(tmp_path / "larger")
    refused(train(cli, tiny, tmp_path / "run", "--snapshot", snapshot), 3, "does not fit the recipe's network")


def test_a_killed_loader_process_takes_the_run_down_with_one_readable_error(zygote: Zygote, tiny: Tiny) -> None:
    more = ["--set", "data.workers_per_process=1", "--set", "training.steps=400"]
    result = zygote.train(*tiny.arguments("loader", *more), mishap=("kill loader", 3))
    assert result["codes"] == [1], result["log"]
    assert "killed by SIGKILL" in result["log"]
    assert "data.workers_per_process" in result["log"]
    assert "Traceback" not in result["log"]
