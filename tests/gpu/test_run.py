"""`abet train` and `abet evaluate` on a GPU: they run, resume, and end near what the CPU ends in."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from abet.checkpoint import read
from abet.run import CHECKPOINTS
from abet.training.tracking import read_metrics
from tests.training.conftest import ROOT, Tiny
from tests.training.conftest import tiny as tiny  # noqa: PLC0414
from tests.training.conftest import uniform as uniform  # noqa: PLC0414

pytestmark = pytest.mark.gpu

GPU = ("--device", "cuda")
WITHOUT_DROPOUT = ("--set", "model.trunk.dropout=[0,0,0,0,0,0]")


def abet(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "abet", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def train(job: Tiny, name: str, *more: object) -> list[dict[str, Any]]:
    """The rows that the run recorded of its training."""
    result = abet("train", *job.arguments(name, *more))
    assert result.returncode == 0, result.stderr
    return [row for row in read_metrics(job.runs / name) if row["kind"] == "train"]


def test_in_float32_the_run_starts_as_on_the_cpu(gpu: torch.device, uniform: Tiny) -> None:
    changes = (*WITHOUT_DROPOUT, "--set", "training.precision=float32")
    here, there = train(uniform, "here", *changes, "--device", "cpu"), train(uniform, "there", *changes, *GPU)
    assert there[0]["loss"] == pytest.approx(here[0]["loss"], rel=5e-3)  # float32 convolutions may be TF32
    assert [row["step"] for row in there] == [row["step"] for row in here]


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32"])
def test_each_arithmetic_trains_and_says_what_the_gpu_did(gpu: torch.device, uniform: Tiny, precision: str) -> None:
    rows = train(uniform, precision, *GPU, "--set", f"training.precision={precision}")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(row["gpu_memory_gib"] > 0 for row in rows)
    assert all(0 <= row["gpu_utilisation"] <= 1 for row in rows)


@pytest.mark.parametrize("option", ["training.activation_checkpointing=true", "training.compile=true"])
def test_less_memory_or_fused_kernels_end_near_the_plain_run(gpu: torch.device, tiny: Tiny, option: str) -> None:
    changes = (*GPU, *WITHOUT_DROPOUT, "--set", "optimiser.learning_rate=0.01")
    plain, other = train(tiny, f"beside {option}", *changes), train(tiny, option, *changes, "--set", option)
    assert [row["loss"] for row in other] == pytest.approx([row["loss"] for row in plain], rel=0.02)


def test_a_run_goes_on_from_its_last_checkpoint(gpu: torch.device, tiny: Tiny) -> None:
    arguments = ("train", *tiny.arguments("resumed", *GPU))
    assert abet(*arguments).returncode == 0
    newest = max((tiny.runs / "resumed" / CHECKPOINTS).glob("step-*"))
    wanted = read(newest).tensors
    shutil.rmtree(newest)
    again = abet(*arguments)
    assert again.returncode == 0, again.stderr
    assert "resumed" in again.stderr + again.stdout
    assert newest.is_dir()
    for name, value in read(newest).tensors.items():
        torch.testing.assert_close(value, wanted[name], rtol=0.05, atol=0.05, msg=name)


def test_an_evaluation_gives_the_figures_of_the_cpu(
    gpu: torch.device, learned_checkpoint: Path, tmp_path: Path
) -> None:
    scenes = ("--scenes", 0, "--scenes", "road_anomaly/test=3", "--height", 64, "--width", 96)
    made = abet("data", "synthesize", tmp_path / "data", *scenes)
    assert made.returncode == 0, made.stderr
    found = []
    for device in ("cpu", "cuda"):
        options = ("--checkpoint", learned_checkpoint, "--output", tmp_path / device, "--device", device)
        result = abet(
            "evaluate", "--dataset", "road_anomaly", "--data-root", tmp_path / "data" / "road_anomaly", *options
        )
        assert result.returncode == 0, result.stderr
        found.append(json.loads((tmp_path / device / "evaluation" / "road_anomaly" / "metrics.json").read_text()))
    ours, theirs = found[1]["scores"], found[0]["scores"]
    assert ours.keys() == theirs.keys()
    for key, figures in theirs.items():
        assert ours[key]["auroc"]["value"] == pytest.approx(figures["auroc"]["value"], abs=1e-3), key
