"""``python -m jobs``: what it takes, what it refuses, and what it says."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from abet.promote import Promotion
from abet.site import SiteConfig
from jobs import catalogue
from jobs.cli import TAKEN, app
from jobs.executors import local
from tests.jobs.conftest import HOSTILE, ROOT, Jobs


def test_eight_gpus_without_a_scheduler_are_refused(
    jobs: Jobs, site: SiteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(local, "GPU_NODES", "no-such-device*")
    finished = jobs("submit", "mapillary_pretrain")
    assert (finished.code, finished.out) == (2, "")
    for remedy in ("ON=local", "GPUS=", "NODES=", "--dry-run"):
        assert remedy in finished.err


def test_auto_is_slurm_where_there_is_an_sbatch(
    jobs: Jobs, site: SiteConfig, fake_slurm: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("submit", "mapillary_pretrain", "--dry-run")
    assert "#SBATCH" in jobs(*words).out
    monkeypatch.setenv("PATH", "/nowhere")
    assert jobs(*words).out.startswith("# --- mapillary-pretrain\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mapilary_pretrain",), "did you mean 'mapillary_pretrain'"),
        (("eval",), "did you mean 'evaluate'"),
        (("evaluate",), "make: DATASET="),
        (("calibrate",), "calibrate needs --dataset (make: DATASET=)"),
        (("components",), "components needs --dataset (make: DATASET=)"),
        (("components", "--dataset", "road_anomaly", "--checkpoint", "x"), "no metrics.json"),
        (("fit", "--dataset", "cityscape", "--checkpoint", "x"), "did you mean 'cityscapes'"),
        (("evaluate", "--dataset", "road_anomly", "--checkpoint", "x"), "did you mean 'road_anomaly'"),
        (("mapillary_pretrain", "--profile", "defaul", "--on", "slurm"), "did you mean 'default'"),
        (("mapillary_pretrain", "--name", "My Job"), "'My Job': expected a-z"),
        (("mapillary_pretrain", "--name", "a\nb"), "'a\\nb': expected a-z"),
        (("mapillary_pretrain", "--snapshot", "a\nb"), "without line breaks"),
        (("mapillary_pretrain", "--output", "s4://x"), "expected a path on this machine or s3://bucket/prefix"),
        (("mapillary_pretrain", "--set", "training.step=3"), "did you mean 'training.steps'"),
        (("mapillary_pretrain", "--option", "a\nb"), "line break"),
        (("mapillary_pretrain", "--gpus", "7"), "works on 1, 2, 4, 8"),
        (("cityscapes_finetune",), "SNAPSHOT="),
        (("pipeline", "--finetune", "cityscape_finetune"), "did you mean 'cityscapes_finetune'"),
    ],
)
def test_what_cannot_be_meant_is_refused(jobs: Jobs, site: SiteConfig, words: tuple[str, ...], said: str) -> None:
    finished = jobs("submit", *words, "--dry-run")
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith("abet: error: ")
    assert said in finished.err


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("mapillary_pretrain", "--shards", "3"), "--shards"),
        (("evaluate", "--dataset", "road_anomaly", "--nodes", "2"), "--nodes"),
        (("evaluate", "--dataset", "road_anomaly", "--set", "a=b"), "--set"),
        (("report", "--data-root", "x"), "--data-root"),
        (("pipeline", "--output", "x"), "--output"),
        (("pipeline", "--data-root", "x"), "--data-root"),
        (("pipeline", "--name", "x"), "--name"),
        (("fit", "--run", "x"), "--run"),
        (("calibrate", "--dataset", "road_anomaly", "--shards", "2"), "--shards"),
        (("components", "--dataset", "road_anomaly", "--components"), "--components"),
    ],
)
def test_an_option_that_a_job_would_not_look_at_is_refused(
    jobs: Jobs, site: SiteConfig, words: tuple[str, ...], option: str
) -> None:
    finished = jobs("submit", *words, "--dry-run")
    assert finished.code == 2
    assert finished.err.startswith(f"abet: error: {option} means nothing to {words[0]}; it takes --on, ")


def test_every_option_means_something_to_some_job() -> None:
    (submit,) = (command for command in app.registered_commands if command.callback.__name__ == "submit")  # type: ignore[union-attr]
    options = set(submit.callback.__annotations__) - {"context", "job", "return"}  # type: ignore[union-attr]
    assert options == set(" ".join(TAKEN.values()).split())


@pytest.mark.parametrize("secret", ["WANDB_API_KEY=hunter2", "hunter2!"])
def test_the_value_of_a_secret_is_refused_and_not_repeated(jobs: Jobs, site: SiteConfig, secret: str) -> None:
    finished = jobs("submit", "mapillary_pretrain", "--secret", secret, "--dry-run")
    assert finished.code == 2
    assert "never their values" in finished.err
    assert "hunter2" not in finished.err + finished.out


@pytest.mark.parametrize("on", ["local", "slurm"])
def test_a_secret_that_is_not_set_is_found_out_before_it_is_missed(
    jobs: Jobs, site: SiteConfig, fake_slurm: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch, on: str
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    words = ("submit", "mapillary_pretrain", "--gpus", 0, "--secret", "WANDB_API_KEY", "--on", on)
    finished = jobs(*words)
    assert (finished.code, "export it" in finished.err) == (2, True)
    assert fake_slurm() == {}
    assert not site.jobs.exists()
    assert jobs(*words, "--dry-run").code == 0  # to look at it needs no secret


def test_paths_are_those_of_the_caller(jobs: Jobs, site: SiteConfig, tmp_path: Path) -> None:
    (tmp_path / HOSTILE).mkdir()
    recipe = Path(HOSTILE) / "mine.yaml"
    os.chdir(tmp_path)
    recipe.write_text((ROOT / "abet" / "recipes" / "demo_pretrain.yaml").read_text())
    words = ("--gpus", 0, "--snapshot", "start.pth", "--output", "run", "--on", "local", "--dry-run")
    printed = jobs("submit", recipe, *words)
    assert printed.code == 0, printed.err
    # A shell splits it into the words that the child gets
    show = f"show() {{ printf '%s\\0' \"$@\"; }}; {printed.out.splitlines()[1].replace(sys.executable, 'show', 1)}"
    child = subprocess.run(["bash", "-c", show], capture_output=True, text=True, check=True).stdout.split("\0")[:-1]
    assert child[-6:] == [
        *("train", str(tmp_path / recipe), "--output", str(tmp_path / "run")),
        *("--snapshot", str(tmp_path / "start.pth")),
    ]
    assert printed.out.startswith("# --- mine\n")


def test_the_checkpoint_of_an_evaluation_is_looked_up_once(
    jobs: Jobs, site: SiteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A promotion between two looks must not give the shards of one checkpoint to the run of another."""
    asked = []

    def newest(site: SiteConfig, num_classes: int = 19) -> Promotion:
        asked.append(num_classes)
        return Promotion(number=len(asked), checkpoint=Path(f"/runs/night-{len(asked)}"), sha256="")

    monkeypatch.setattr(catalogue, "newest_promoted", newest)
    shown = jobs("submit", "evaluate", "--dataset", "road_anomaly", "--on", "slurm", "--dry-run")
    assert shown.code == 0, shown.err
    assert asked == [19]
    assert "/runs/night-1" in shown.out


def test_a_grace_longer_than_the_job_is_refused(jobs: Jobs, site: SiteConfig) -> None:
    words = ("submit", "mapillary_pretrain", "--dry-run", "--time-limit-minutes", 4)
    finished = jobs(*words, "--grace-seconds", 240)
    assert finished.code == 2
    assert "240 does not fit into the time limit of 240 s" in finished.err
    assert jobs(*words, "--grace-seconds", 239).code == 0


def test_a_run_by_its_name(jobs: Jobs, site: SiteConfig) -> None:
    words = ("--checkpoint", "/x.pth", "--run", "tuesday", "--on", "local", "--dry-run")
    assert (
        f"--output {site.artifacts / 'tuesday'}" in jobs("submit", "evaluate", "--dataset", "road_anomaly", *words).out
    )
    assert f"report {site.artifacts / 'tuesday'}" in jobs("submit", "report", *words).out


def test_nothing_was_submitted_yet(jobs: Jobs, site: SiteConfig) -> None:
    assert "nothing was submitted from here yet" in jobs("status").err
    for command in ("status", "logs", "cancel"):
        finished = jobs(command, "job")
        assert finished.code == 2
        assert "nothing was submitted from here yet" in finished.err


def test_a_dry_run_needs_none_of_what_computes(site: SiteConfig) -> None:
    code = """
import sys
from jobs.cli import main
sys.argv = ["jobs", "submit", "mapillary_pretrain", "--dry-run", "--on", "slurm"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = ("torch", "numpy", "boto3", "botocore", "PIL", "scipy", "matplotlib", "safetensors", "jinja2")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_wrong_site_file_is_one_line(jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text("artefacts: x\n")
    monkeypatch.setenv("ABET_SITE", str(tmp_path / "site.yaml"))
    finished = jobs("submit", "mapillary_pretrain", "--dry-run")
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert "did you mean 'artifacts'" in finished.err
