"""Secrets are names: their values are in nothing that we write, print or hand over."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from abet.site import SiteConfig
from jobs.records import records
from tests.jobs.conftest import PYTHON, ROOT, Jobs, program, write_site
from tests.training.tiny import tiny_data, tiny_recipe

PLANTED = {
    "AWS_ACCESS_KEY_ID": "plantedAKIA0000",
    "AWS_SECRET_ACCESS_KEY": "planted/secret+key",
    "AWS_SESSION_TOKEN": "planted-session",
    "WANDB_API_KEY": "planted-wandb",
    "HF_TOKEN": "planted-hf",
    "MY_SECRET": "planted-mine",
}
NAMED = [word for name in PLANTED for word in ("--secret", name)]


@pytest.fixture(autouse=True)
def _plant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)


def holders(folder: Path) -> list[Path]:
    """Files below ``folder`` in which a planted value stands."""
    values = [value.encode() for value in PLANTED.values()]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if any(value in path.read_bytes() for value in values)]


def clean(text: str) -> bool:
    assert text
    return not any(value in text for value in PLANTED.values())


@pytest.mark.parametrize("on", ["local", "slurm"])
@pytest.mark.parametrize("job", [("mapillary_pretrain",), ("pipeline",)])
def test_what_a_dry_run_prints(site: SiteConfig, jobs: Jobs, on: str, job: tuple[str, ...]) -> None:
    printed = jobs("submit", *job, *NAMED, "--on", on, "--dry-run")
    assert printed.code == 0, printed.err
    assert clean(printed.out + printed.err)
    if on == "slurm":
        (exported,) = {line for line in printed.out.splitlines() if line.startswith("#SBATCH --export=")}
        assert set(PLANTED) < set(exported.partition("=")[2].split(","))


def test_variables_that_nobody_named_are_not_handed_over(site: SiteConfig, jobs: Jobs) -> None:
    printed = jobs("submit", "mapillary_pretrain", "--on", "slurm", "--dry-run").out
    assert [name for name in PLANTED if name in printed] == []


def test_scripts_records_pickles_and_logs_of_a_job_on_slurm(
    site: SiteConfig,
    jobs: Jobs,
    fake_slurm: Callable[[], dict[str, str]],
    noted: Callable[[], list[list[str]]],
    tmp_path: Path,
) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text(json.dumps({"python": str(program(tmp_path / "python", PYTHON)), "environment": ["HF_TOKEN"]}))
    submitted = jobs("submit", "mapillary_pretrain", *NAMED, "--on", "slurm", "--profile", profile)
    assert submitted.code == 0, submitted.err
    environment = os.environ | {"SLURM_JOB_ID": "101", "SLURM_PROCID": "0"}
    done = subprocess.run(
        ["bash", "-c", fake_slurm()["101"]], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (record,) = records(site.jobs)
    assert set(record.job.spec.secrets) == set(PLANTED)
    kinds = {path.suffix for path in record.folder.rglob("*") if path.is_file()}
    assert kinds >= {".json", ".jsonl", ".pkl", ".sh"}
    assert holders(tmp_path) == []
    assert clean(submitted.out + submitted.err + done.stdout + done.stderr)
    for command in ("status", "logs"):
        printed = jobs(command, record.job.id)
        assert clean(printed.out + printed.err)
    assert noted()


@pytest.mark.faults  # a real training run
def test_all_that_a_real_run_leaves_behind(tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    site = write_site(tmp_path / "site" / "abet.site.yaml", data={"cityscapes": str(tiny_data(tmp_path / "data"))})
    monkeypatch.setenv("ABET_SITE", str(site))
    recipe = tiny_recipe(tmp_path / "tiny.yaml")
    words = ("--snapshot", "none", "--gpus", 0, "--on", "local", "--run", "night", "--allow-below-target")
    finished = jobs.real("submit", recipe, *NAMED, *words)
    assert finished.code == 0, finished.err
    run = site.parent / "runs" / "night"
    for name in ("run.json", "metrics.jsonl", "config.yaml"):
        assert (run / name).exists()
    assert holders(tmp_path) == []
    assert clean(finished.out + finished.err)


def test_a_planted_value_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("nothing here")
    (tmp_path / "b").write_bytes(b"\x80\x04planted-mine\x94")
    assert holders(tmp_path) == [tmp_path / "b"]


def test_children_get_the_values_all_the_same(tmp_path: Path) -> None:
    code = "import os, sys; sys.exit(0 if os.environ['WANDB_API_KEY'] == 'planted-wandb' else 1)"
    words = ["--name", "job", "--record", str(tmp_path / "record"), "--runner", f'{sys.executable} -c "{code}"', "x"]
    done = subprocess.run([sys.executable, "-m", "jobs.supervisor", *words], cwd=ROOT, check=False)
    assert done.returncode == 0
