"""What users' sites throw at a job: hostile names, planted secrets, wrong buckets, keys that may only read."""

import os
from pathlib import Path

import pytest

from jobs.records import records
from jobs.status import statuses
from tests.cluster.job_site import JobSite
from tests.slurm_cluster import until
from tests.training.tiny import tiny_data, tiny_recipe

pytestmark = pytest.mark.cluster

HOSTILE = 'a b\'s "c" #d $(touch pwned) `e` \\f ;g é'
SHORT = ("--gpus", 0, "--snapshot", "none", "--time-limit-minutes", 10)
CPU = ("--option=--device", "--option=cpu", "--option=--threads", "--option=1")
SECRETS = {
    "WANDB_API_KEY": "planted-wandb-key-4712",
    "MY_TOKEN": "planted-token-4713",
}


def recipe_in(folder: Path) -> Path:
    return tiny_recipe(folder / "tiny.yaml", {"training": {"steps": 4, "validate_every_steps": 4}})


def test_hostile_names_of_folders_reach_the_job_unchanged(job_site: JobSite) -> None:
    folder = job_site.folder / HOSTILE
    folder.mkdir()
    recipe, data = recipe_in(folder), tiny_data(folder / "data set")
    # SLURM drops backslashes of a log's path, so the folder of records may have none
    jobs = job_site.folder / HOSTILE.replace("\\", "") / "jobs #1"
    site = job_site.write({"cityscapes": str(data)}, jobs=str(jobs), artifacts=str(folder / "runs"))
    site.run("-m", "jobs", "submit", recipe, "--run", "r", *SHORT, *CPU, "--on", "slurm")
    (record,) = records(jobs)
    until(lambda: statuses([record])[0].ended, "the job ends", seconds=120)
    assert statuses([record])[0].state == "done", "\n".join(path.read_text() for path in record.logs.glob("*_log.*"))
    assert (folder / "runs" / "r" / "checkpoints" / "step-00000004" / "manifest.json").is_file()
    assert not list(job_site.folder.rglob("pwned"))


def test_planted_secrets_are_found_nowhere(job_site: JobSite, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    site = job_site.write({"cityscapes": str(tiny_data(job_site.folder / "data"))})
    recipe = recipe_in(job_site.folder)
    dry = site.run(
        "-m", "jobs", "submit", recipe, *SHORT, *CPU, "--secret", "MY_TOKEN", "--on", "slurm", "--dry-run",
    )  # fmt: skip
    (record,) = site.submit(recipe, "--run", "secrets", *SHORT, *CPU, "--secret", "MY_TOKEN")
    assert site.wait_end(record).state == "done", site.log(record)
    run = site.storage("secrets")
    kept = {entry.name: run.read(entry.name)[0] for entry in run.list() if entry.bytes < 2**22}
    files = [path for path in site.folder.rglob("*") if path.is_file()]
    written = {str(path): path.read_bytes() for path in files} | kept | {"dry run": dry.stdout.encode()}
    assert any(b"MY_TOKEN" in content for content in written.values()), "its name is there"
    access, secret = keys_of(Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]))
    for value in (*SECRETS.values(), secret, access):
        assert [name for name, content in written.items() if value.encode() in content] == []


def keys_of(path: Path) -> tuple[str, str]:
    """The access and the secret key that the job really used."""
    pairs = dict(line.split(" = ") for line in path.read_text().splitlines() if " = " in line)
    return pairs["aws_access_key_id"].strip(), pairs["aws_secret_access_key"].strip()


def test_a_wrong_bucket_is_refused_at_submission(job_site: JobSite) -> None:
    site = job_site.write(
        {"cityscapes": str(tiny_data(job_site.folder / "data"))}, artifacts="s3://no-such-bucket-here/runs"
    )
    done = site.run("-m", "jobs", "submit", recipe_in(site.folder), *SHORT, "--on", "slurm", check=False)
    assert done.returncode == 2
    assert "no-such-bucket-here" in done.stderr
    assert "Traceback" not in done.stderr
    assert site.slurm.run("squeue", "--noheader") == ""


def test_keys_that_may_only_read_end_the_job_before_its_first_step(
    job_site: JobSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = job_site.write({"cityscapes": str(tiny_data(job_site.folder / "data"))})
    recipe = recipe_in(site.folder)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", site.slurm.s3.readonly_env["AWS_SHARED_CREDENTIALS_FILE"])
    done = site.run("-m", "jobs", "submit", recipe, "--run", "ro", *SHORT, "--on", "slurm", check=False)
    assert done.returncode == 2, "at submission"
    assert site.bucket in done.stderr
    # Whoever submits may have other keys than the nodes: the job itself finds out before its first step
    script = site.folder / "job.sh"
    runner = f"cd {Path(__file__).parents[2]} && .venv/bin/python -m abet"
    script.write_text(f"#!/bin/bash\n{runner} train {recipe} --output {site.artifacts}/ro --device cpu\n")
    monkeypatch.setenv("ABET_SITE", str(site.folder / "abet.site.yaml"))
    number = site.slurm.run("sbatch", "--parsable", f"--output={site.folder}/ro.log", script).strip()
    assert site.slurm.wait(number, seconds=90) == {number: "FAILED"}
    assert site.slurm.job(number)["ExitCode"] == "2:0"
    log = (site.folder / "ro.log").read_text()
    assert site.bucket in log
    assert "step 4" not in log
    assert site.read("ro/owner.json") is None
