"""``training.compile``: a run of inductor's kernels ends near the run without them, and goes on without them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from abet import checkpoint
from abet.training.tracking import read_metrics
from tests.conftest import unavailable
from tests.training.conftest import ROOT, Tiny

STEPS = 3
SAME_ROUNDING = 1e-3
"""Of losses, weights and running statistics of three steps at the rate 0.01."""
CHANGES = (
    *(f"training.steps={STEPS}", "training.validate_every_steps=3", "training.checkpoint_every_steps=2"),
    *("training.keep_last=2", "optimiser.learning_rate=0.01", "model.trunk.dropout=[0,0,0,0,0,0]"),
)


def run(tiny: Tiny, name: str, *more: object) -> "subprocess.CompletedProcess[str]":
    changes = [option for change in CHANGES for option in ("--set", change)]
    command = [sys.executable, "-m", "abet", "train", *map(str, (*tiny.arguments(name, *changes), *more))]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.faults  # a compiler's minute
def test_a_compiled_run_ends_near_the_plain_one_and_resumes_uncompiled(tiny: Tiny) -> None:
    if shutil.which("g++") is None:
        unavailable("no C++ compiler (g++), which inductor's kernels need")
    compiled, plain = ("--set", "training.compile=true"), tiny.runs / "uncompiled"
    for name, more in (("uncompiled", ()), ("compiled", compiled)):
        result = run(tiny, name, *more)
        assert result.returncode == 0, result.stderr
    losses = [
        [row["loss"] for row in read_metrics(tiny.runs / name) if row["kind"] == "train"]
        for name in ("uncompiled", "compiled")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=SAME_ROUNDING)
    expect_alike(tiny.runs / "compiled", plain)

    shutil.rmtree(checkpoint.step_folder(tiny.runs / "compiled", STEPS))
    refused = run(tiny, "compiled")
    assert refused.returncode == 2
    assert "for training.compile pass --allow-topology-change" in refused.stderr
    result = run(tiny, "compiled", "--allow-topology-change")
    assert result.returncode == 0, result.stderr
    assert "resumed" in result.stderr + result.stdout
    expect_alike(tiny.runs / "compiled", plain)


def expect_alike(run: Path, plain: Path) -> None:
    """The last weights of both, by name."""
    ours, theirs = (checkpoint.read(checkpoint.step_folder(each, STEPS)).tensors for each in (run, plain))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=SAME_ROUNDING, atol=SAME_ROUNDING, msg=name)
