"""``make train-mapillary`` and the like: the right command, and values that arrive as they were given."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from abet.site import SiteConfig
from tests.conftest import unavailable
from tests.jobs.conftest import HOSTILE, NOTING, ROOT, program

# What make, or the shell that it starts, could read otherwise
AWKWARD = ("a b", "it's", 'say "x"', "a#b", "$(touch hacked) $HOME", "`touch hacked`", "a;b,c", "\\", "%", HOSTILE)

PASS = {"DATASET", "CHECKPOINT"}
TAKEN = {
    **{"train-mapillary": {"SNAPSHOT"}, "finetune": {"SNAPSHOT"}},
    **{"fit": PASS | {"FIT_ARGS"}, "calibrate": PASS | {"CALIBRATE_ARGS"}},
    **{"eval": PASS | {"SHARDS", "COMPONENTS", "EVAL_ARGS"}, "components": PASS | {"SHARDS", "COMPONENTS_ARGS"}},
    "pipeline": {"SNAPSHOT", "SHARDS", "COMPONENTS", "PRETRAIN", "FINETUNE"},
}
"""Target -> those variables that not every target takes."""


@dataclass(frozen=True)
class Make:
    """Runs targets with environments in which Python notes its arguments."""

    folder: Path

    def __call__(self, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["make", "-C", str(ROOT), f"VENV={self.folder / 'full'}", f"LIGHT={self.folder / 'light'}", *words],
            # not what a make around these tests was told
            env=os.environ | {"MAKEFLAGS": "", "NOTED": str(self.folder / "noted")} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def noted(self, *words: str, **environment: str) -> list[str]:
        """The arguments of the one command that it ran, without ``python -m jobs``."""
        (self.folder / "noted").unlink(missing_ok=True)
        done = self(*words, **environment)
        assert done.returncode == 0, done.stderr
        (line,) = (self.folder / "noted").read_text().splitlines()
        return list(json.loads(line))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    if not shutil.which("make"):
        unavailable("no make")
    for name in ("full", "light"):
        program(tmp_path / name / "bin" / "python", NOTING)
        (tmp_path / name / ".ready").touch()
    return Make(tmp_path)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("train-mapillary",), ["submit", "mapillary_pretrain"]),
        (
            (
                *("train-mapillary", "NODES=2", "GPUS=4", "ON=slurm", "PROFILE=lab", "RUN=a", "TIME_LIMIT_MINUTES=30"),
                "DRY_RUN=1",
            ),
            [
                *("submit", "mapillary_pretrain", "--on", "slurm", "--profile", "lab", "--nodes", "2", "--gpus", "4"),
                *("--time-limit-minutes", "30", "--run", "a", "--dry-run"),
            ],
        ),
        (
            ("finetune", "SNAPSHOT=s3://models/pre", "ALLOW_BELOW_TARGET=1"),
            ["submit", "cityscapes_finetune", "--snapshot", "s3://models/pre", "--allow-below-target"],
        ),
        (
            ("eval", "DATASET=road_anomaly", "CHECKPOINT=/x", "SHARDS=4", "EVAL_ARGS=--workers 2"),
            [
                *("submit", "evaluate", "--dataset", "road_anomaly", "--checkpoint", "/x", "--shards", "4"),
                *("--option=--workers", "--option=2"),
            ],
        ),
        (
            ("pipeline", "PRETRAIN=demo_pretrain", "FINETUNE=demo_finetune", "PROCESSES=2"),
            ["submit", "pipeline", "--pretrain", "demo_pretrain", "--finetune", "demo_finetune", "--processes", "2"],
        ),
        (
            ("eval", "DATASET=x", "JOB_ARGS=--retries 0 --cpus 3"),
            ["submit", "evaluate", "--dataset", "x", "--retries", "0", "--cpus", "3"],
        ),
        (
            ("eval", "DATASET=x", "SECRET=HF_TOKEN WANDB_API_KEY"),
            ["submit", "evaluate", "--dataset", "x", "--secret", "HF_TOKEN", "--secret", "WANDB_API_KEY"],
        ),
        (
            ("eval", "DATASET=x", "COMPONENTS=1", "SHARDS=4"),
            ["submit", "evaluate", "--dataset", "x", "--shards", "4", "--components"],
        ),
        (
            ("components", "DATASET=x", "CHECKPOINT=/x", "COMPONENTS_ARGS=--track obstacle-track"),
            [
                *("submit", "components", "--dataset", "x", "--checkpoint", "/x"),
                *("--option=--track", "--option=obstacle-track"),
            ],
        ),
        (("fit",), ["submit", "fit"]),
        (
            ("fit", "DATASET=mapillary", "CHECKPOINT=s3://a/run", "GPUS=0", "FIT_ARGS=--bank 9"),
            [
                *("submit", "fit", "--dataset", "mapillary", "--checkpoint", "s3://a/run", "--gpus", "0"),
                *("--option=--bank", "--option=9"),
            ],
        ),
        (
            ("calibrate", "DATASET=lost_and_found", "CALIBRATE_ARGS=--split train"),
            ["submit", "calibrate", "--dataset", "lost_and_found", "--option=--split", "--option=train"],
        ),
        (("pipeline", "COMPONENTS=1"), ["submit", "pipeline", "--components"]),
        (("pipeline", "SECRET=HF_TOKEN"), ["submit", "pipeline", "--secret", "HF_TOKEN"]),
        (("train-mapillary", "DRY_RUN=", "ALLOW_BELOW_TARGET="), ["submit", "mapillary_pretrain"]),
        (("status",), ["status"]),
    ],
)
def test_each_target_is_one_command(make: Make, words: tuple[str, ...], command: list[str]) -> None:
    assert make.noted(*words) == ["python", "-m", "jobs", *command]


def test_the_committed_files_of_both_schedulers_are_rendered_for_their_examples(make: Make) -> None:
    done = make("manifests")
    assert done.returncode == 0, done.stderr
    noted = [json.loads(line) for line in (make.folder / "noted").read_text().splitlines()]
    assert noted == [["python", "-m", "jobs", name, "--profile", "default"] for name in ("render", "manifests")]


def test_values_arrive_as_they_were_given(make: Make) -> None:
    for value in AWKWARD:
        words = make.noted("eval", f"DATASET={value}", f"CHECKPOINT={value}", f"RUN={value}")
        assert words[5:] == ["--dataset", value, "--checkpoint", value, "--run", value]
    assert make.noted("finetune", SNAPSHOT=HOSTILE)[5:] == ["--snapshot", HOSTILE]  # of the environment
    assert not (ROOT / "hacked").exists()


def test_a_line_break_is_refused(make: Make) -> None:
    done = make("train-mapillary", "RUN=a\ntouch hacked")
    assert done.returncode == 2
    assert "a value with a line break" in done.stderr
    assert not (ROOT / "hacked").exists()


@pytest.mark.parametrize(
    ("target", "example"),
    [("eval", "road_anomaly"), ("components", "road_anomaly"), ("calibrate", "lost_and_found")],
)
def test_a_pass_must_say_over_what(make: Make, target: str, example: str) -> None:
    done = make(target)
    assert done.returncode == 2
    assert f"make {target}: say which data set, for example DATASET={example}" in done.stderr
    assert not (make.folder / "noted").exists()


@pytest.mark.parametrize("name", ["DRY_RUN", "ALLOW_BELOW_TARGET", "COMPONENTS"])
@pytest.mark.parametrize("value", ["0", "no", "yes", "1 1", "$(shell touch hacked)"])
def test_a_switch_that_is_not_1_is_refused_before_anything_is_built(make: Make, name: str, value: str) -> None:
    (make.folder / "full" / ".ready").unlink()
    (make.folder / "light" / ".ready").unlink()
    for target in TAKEN:
        done = make(target, f"{name}={value}")
        assert done.returncode == 2
        assert f"{name} is a switch: 1 or nothing" in done.stderr
    assert not (make.folder / "noted").exists()
    assert not (ROOT / "hacked").exists()


@pytest.mark.parametrize("target", TAKEN)
def test_a_variable_that_a_target_does_not_take_is_refused(make: Make, target: str) -> None:
    every = {name for taken in TAKEN.values() for name in taken}
    for name in every - TAKEN[target]:
        done = make(target, f"{name}=1")
        assert done.returncode == 2
        assert f"{name} means nothing to {target}, which takes " in done.stderr
        assert "leave it out" in done.stderr
    assert not (make.folder / "noted").exists()
    make.noted(target, *(f"{name}=1" for name in TAKEN[target]))
    # One without a value is none, and one of the environment may be there for other reasons
    dataset = ("DATASET=x",) if "DATASET" in TAKEN[target] else ()
    make.noted(target, *dataset, *(f"{name}=" for name in every - TAKEN[target]))
    make.noted(target, *dataset, **dict.fromkeys(every - TAKEN[target], "1"))


def test_what_one_of_several_targets_takes_is_taken(make: Make) -> None:
    done = make("fit", "eval", "DATASET=x", "SHARDS=2", "FIT_ARGS=--bank 9")
    assert done.returncode == 0, done.stderr
    assert make("status", "SHARDS=2").returncode == 0


@pytest.mark.parametrize(("target", "environment"), [("setup", "full"), ("setup-light", "light")])
def test_a_python_that_is_too_old_is_refused(make: Make, tmp_path: Path, target: str, environment: str) -> None:
    (tmp_path / environment / ".ready").unlink()
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make(target, f"PYTHON={old}")
    assert done.returncode == 2
    assert "is older than Python 3.11; try: make PYTHON=python3.11" in done.stderr
    assert not (tmp_path / environment / ".ready").exists()


@pytest.mark.parametrize(
    ("words", "sbatch", "environment"),
    [
        (("train-mapillary",), True, "light"),
        (("train-mapillary",), False, "full"),
        (("train-mapillary", "ON=auto"), True, "light"),
        (("train-mapillary", "ON=auto"), False, "full"),
        (("train-mapillary", "ON=auto", "DRY_RUN=1"), False, "light"),
        (("train-mapillary", "ON=local"), True, "full"),
        (("train-mapillary", "ON=local", "DRY_RUN=1"), True, "light"),
        (("train-mapillary", "ON=slurm"), False, "light"),
        (("train-mapillary", "DRY_RUN=1"), False, "light"),
        (("status",), False, "light"),
    ],
)
def test_what_computes_is_built_only_for_jobs_that_run_here(
    make: Make, tmp_path: Path, words: tuple[str, ...], sbatch: bool, environment: str
) -> None:
    # The full environment is not there yet: make would build it
    (tmp_path / "full" / ".ready").unlink()
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "bash", "env", "python3"):
        (tools / name).symlink_to(shutil.which(name) or pytest.fail(name))
    if sbatch:
        program(tools / "sbatch", NOTING)
    command = [shutil.which("make") or "make", "-n", "-C", str(ROOT), f"LIGHT={tmp_path / 'light'}"]
    command += [f"VENV={tmp_path / 'full'}", *words]
    done = subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True, check=True)
    assert f"{tmp_path / environment}/bin/python -m jobs" in done.stdout
    assert ("-m venv" in done.stdout) is (environment == "full")


def test_a_dry_run_from_make_to_the_last_word(make: Make, site: SiteConfig) -> None:
    python = ROOT / ".venv" / "bin" / "python"
    if not python.exists():
        unavailable("no .venv: `make setup` builds it")
    (make.folder / "full" / "bin" / "python").write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
    done = make("train-mapillary", "ON=local", f"SNAPSHOT=/{HOSTILE}", "GPUS=0", "DRY_RUN=1")
    assert done.returncode == 0, done.stderr
    shown = done.stdout[done.stdout.index("# ---") :].splitlines()[1]
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {shown}"], capture_output=True, text=True, check=True
    ).stdout.split("\0")
    assert words[-3:] == ["--snapshot", f"/{HOSTILE}", ""]
