"""`abet train` as its users see it: what it leaves, and how it goes on."""

import json
import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from abet import checkpoint
from abet.run import CHECKPOINTS
from abet.training.tracking import read_metrics
from tests.conftest import Cli
from tests.training.conftest import Tiny, Zygote, final_state, refused, train
from tests.training.tiny import tiny_data
from tests.trees import make_road_anomaly

pytestmark = pytest.mark.usefixtures("one_thread")


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


@pytest.mark.faults
def test_training_lowers_the_loss(zygote: Zygote, tiny: Tiny) -> None:
    more = (
        "--set",
        "training.steps=20",
        "--set",
        "training.validate_every_steps=20",
        "--set",
        "model.trunk.dropout=[0,0,0,0,0,0]",
    )
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


def test_a_finished_run_has_nothing_more_to_do_but_what_a_kill_in_its_last_commit_left_out(
    zygote: Zygote, tiny: Tiny, finished: Path
) -> None:
    before = final_state(finished)
    (finished / CHECKPOINTS / "best.json").unlink()
    (finished / "report.html").touch()  # people's own files make it no other folder
    (finished / "notes.txt").touch()
    result = zygote.train(*tiny.arguments("finished"))
    assert result["codes"] == [0], result["log"]
    assert final_state(finished) == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--set", "training.seed=1"], ["training.seed was 0 and is 1", "--set training.seed=0", "--snapshot"]),
        (["--set", "training.steps=7"], ["training.steps was 6 and is 7"]),
        (["--resume", "never"], ["holds checkpoints up to step 6", "choose another --output"]),
    ],
)
def test_a_resume_as_another_job_is_refused(
    cli: Cli, tiny: Tiny, finished: Path, more: list[str], said: list[str]
) -> None:
    before, owner = final_state(finished), (finished / "owner.json").read_bytes()
    refused(train(cli, tiny, finished, "--threads", 1, *more), 2, *said)
    assert final_state(finished) == before
    assert (finished / "owner.json").read_bytes() == owner, "a start that is refused ends nobody's ownership"


@pytest.mark.faults
def test_recomputed_activations_end_in_the_same_bits_and_may_begin_with_a_resume(
    zygote: Zygote, tiny: Tiny, finished: Path
) -> None:
    recompute = ("--set", "training.activation_checkpointing=true")
    result = zygote.train(*tiny.arguments("recomputed"), mishap=("SIGTERM", 3))
    assert result["codes"] == [143], result["log"]
    result = zygote.train(*tiny.arguments("recomputed", *recompute))
    assert result["codes"] == [0], result["log"]
    assert final_state(tiny.runs / "recomputed") == final_state(finished)


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


@pytest.mark.faults
def test_a_run_goes_on_with_another_number_of_processes_when_that_is_meant(zygote: Zygote, tiny: Tiny) -> None:
    stopped = zygote.train(*tiny.arguments("elastic"), mishap=("SIGKILL", 4))
    assert stopped["codes"] == [-9]
    more = ["--set", "batch.batch_per_gpu=2", "--allow-topology-change"]
    result = zygote.train(*tiny.arguments("elastic", *more), processes=2)
    assert result["codes"] == [0, 0], result["log"]
    assert "no longer bit-identical" in result["log"]
    assert final_state(tiny.runs / "elastic")["step"] == "step-00000006"


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (signal.SIGTERM, 5),
        pytest.param(signal.SIGUSR2, 3, marks=pytest.mark.faults),
        pytest.param(signal.SIGTERM, 6, marks=pytest.mark.faults),
    ],
)
def test_a_signal_saves_and_the_run_goes_on_to_the_same_end(
    zygote: Zygote, tiny: Tiny, finished: Path, number: signal.Signals, step: int
) -> None:
    """Steps 3 and 6 are saved before their validation, which is made up for: once."""
    name = f"stopped-{step}"
    result = zygote.train(*tiny.arguments(name), mishap=(number.name, step))
    assert result["codes"] == [143], result["log"]
    assert f"stopped by {number.name} after step {step}" in result["log"]
    assert final_state(tiny.runs / name)["step"] == f"step-{step:08d}"
    for _ in range(2 if step == 6 else 1):
        assert zygote.train(*tiny.arguments(name))["codes"] == [0]
    assert final_state(tiny.runs / name) == final_state(finished)
    assert [row["step"] for row in read_metrics(tiny.runs / name) if row["kind"] == "train"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.faults
def test_a_signal_that_reaches_one_rank_stops_all_at_the_same_step(zygote: Zygote, tiny: Tiny) -> None:
    more = ["--set", "batch.batch_per_gpu=2"]
    result = zygote.train(*tiny.arguments("one-rank", *more), processes=2, mishap=("SIGTERM", 4), rank=1)
    assert result["codes"] == [143, 143], result["log"]
    assert final_state(tiny.runs / "one-rank")["step"] == "step-00000004"


@pytest.mark.faults
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
    assert difference(*first) < 1e-4
    assert difference(*last) < 3e-3
    assert difference(last[0], alone) > 10 * difference(*last)


@pytest.mark.faults
def test_losses_of_images_take_the_same_step_on_two_processes(zygote: Zygote, uniform: Tiny) -> None:
    """The reference's would be half as large: it averages sums over the images of a process over the processes."""
    one, two = (weights_of(zygote, uniform, f"{processes}-step", processes, 1) for processes in (1, 2))
    assert difference(one, two) < 1e-4


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


def test_a_run_is_validated_by_its_name_to_the_figures_that_it_recorded(
    cli: Cli, finished: Path, tiny: Tiny, tmp_path: Path
) -> None:
    output = tmp_path / "figures.json"
    result = cli("validate", finished, "--dataset", "cityscapes", "--data-root", tiny.data, "--output", output)
    assert result.code == 0, result.err
    figures = json.loads(output.read_text())
    best = json.loads((finished / CHECKPOINTS / "best.json").read_text())
    assert figures["checkpoint"]["uri"].endswith(f"step-{best['step']:08d}")
    row = next(row for row in read_metrics(finished) if row["kind"] == "validation" and row["step"] == best["step"])
    assert figures["miou"] == pytest.approx(best["miou"], abs=1e-3)  # threads and kernels round unlike
    for name in ("iou", "precision", "recall", "share"):
        assert len(row[name]) == 19, name
    assert row["share"] == [line["share"] for line in figures["classes"]]


def test_a_recipe_can_validate_on_squares(zygote: Zygote, tiny: Tiny) -> None:
    more = ("--set", "data.validation_height=24", "--set", "training.steps=1")
    result = zygote.train(*tiny.arguments("squares", *more))
    assert result["codes"] == [0], result["log"]
    (row,) = [row for row in read_metrics(tiny.runs / "squares") if row["kind"] == "validation"]
    assert row["pixels"] == 3 * 24 * 24  # the ignored corner is cut off
