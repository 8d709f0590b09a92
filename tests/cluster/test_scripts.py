"""The committed batch scripts do what a submission by submitit does, without our Python on the login node."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from abet.site import SiteConfig
from jobs import attempts, sbatch
from jobs.attempts import Attempt
from jobs.profile import load_profile
from tests.cluster.job_site import ROOT, JobSite, ranks
from tests.slurm_cluster import until
from tests.training.tiny import tiny_data, tiny_recipe

pytestmark = pytest.mark.cluster

STEPS, EVERY = 30, 5
EXAMPLE = {"mapillary": "/data/mapillary", "cityscapes": "/data/cityscapes", "road_anomaly": "/data/ra"}


@pytest.fixture
def script(job_site: JobSite, monkeypatch: pytest.MonkeyPatch) -> Path:
    """slurm/pretrain.sbatch as it is, but for the resources: one node and two processes of this machine."""
    folder = job_site.folder
    site = SiteConfig.model_validate({"data": EXAMPLE})
    text = sbatch.render("pretrain.sbatch", site, load_profile("one-machine"))
    recipe = tiny_recipe(
        folder / "tiny.yaml",
        {"training": {"steps": STEPS, "validate_every_steps": 15, "checkpoint_every_steps": EVERY}},
    )
    for old, new in (
        ("--gpus-per-node=8", "--gpus-per-node=2"),
        ("--cpus-per-task=64", "--cpus-per-task=2"),
        ("--processes 8", "--processes 2"),
        ("train mapillary_pretrain", f"train {recipe}"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = folder / "pretrain.sbatch"
    path.write_text(text)
    job_site.write({"cityscapes": str(tiny_data(folder / "data"))})
    monkeypatch.setenv("ABET_SITE", str(folder / "abet.site.yaml"))
    monkeypatch.setenv("ABET_ROOT", str(ROOT))
    monkeypatch.setenv("ABET_JOBS", str(folder / "jobs"))
    return path


def sbatch_it(site: JobSite, script: Path, *words: object) -> str:
    """`sbatch SCRIPT WORDS` with nothing of ours but the file; the number of the job."""
    done = subprocess.run(
        ["sbatch", "--parsable", f"--output={site.folder}/%x-%j.log", script, *map(str, words)],
        cwd=site.folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def diary(site: JobSite, number: str) -> tuple[Attempt, ...]:
    return attempts.read(site.folder / "jobs" / f"mapillary-pretrain-{number}").attempts


WORDS = ("--device", "cpu", "--threads", "1", "--set", "batch.batch_per_gpu=2")


def test_a_script_goes_on_after_the_signal_as_submitit_does(job_site: JobSite, script: Path) -> None:
    number = sbatch_it(job_site, script, *WORDS, "--output", f"{job_site.artifacts}/script")
    record = job_site.folder / "jobs" / f"mapillary-pretrain-{number}"
    until(lambda: (attempts.read_step(record) or 0) >= EVERY, "a checkpoint is kept", seconds=150)
    job_site.slurm.run("scancel", "--signal=USR2", number)
    assert job_site.slurm.wait(number, seconds=200) == {number: "COMPLETED"}
    first, second = diary(job_site, number)
    assert (first.code, first.cause, first.again) == (143, "preempted", True)
    assert (second.code, second.first_step) == (0, first.last_step)
    assert job_site.final("script")["step"] == STEPS


def test_a_cancelled_script_has_saved_and_does_not_start_again(job_site: JobSite, script: Path) -> None:
    number = sbatch_it(job_site, script, *WORDS, "--output", f"{job_site.artifacts}/script")
    record = job_site.folder / "jobs" / f"mapillary-pretrain-{number}"
    until(lambda: (attempts.read_step(record) or 0) >= EVERY, "a checkpoint is kept", seconds=150)
    job_site.slurm.run("scancel", number)
    assert job_site.slurm.wait(number, seconds=100)[number].startswith("CANCELLED")
    (only,) = diary(job_site, number)
    assert (only.code, only.cause, only.again) == (143, "stopped", False)


def test_a_preemption_that_says_sigterm_alone_is_no_end(job_site: JobSite, script: Path) -> None:
    kept = [line for line in script.read_text().splitlines() if not line.startswith("#SBATCH --signal")]
    script.write_text("\n".join([*kept, ""]))
    number = sbatch_it(job_site, script, *WORDS, "--output", f"{job_site.artifacts}/script")
    record = job_site.folder / "jobs" / f"mapillary-pretrain-{number}"
    until(lambda: (attempts.read_step(record) or 0) >= EVERY, "a checkpoint is kept", seconds=150)
    job_site.slurm.run(
        "sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1"
    )
    assert job_site.slurm.wait(number, seconds=200) == {number: "COMPLETED"}
    assert [(start.code, start.cause) for start in diary(job_site, number)] == [(143, "preempted"), (0, "done")]


def test_a_script_starts_again_after_a_killed_rank_and_ends_with_the_code_of_a_refusal(
    job_site: JobSite, script: Path
) -> None:
    number = sbatch_it(job_site, script, *WORDS, "--output", f"{job_site.artifacts}/script")
    record = job_site.folder / "jobs" / f"mapillary-pretrain-{number}"
    until(lambda: (attempts.read_step(record) or 0) >= EVERY, "a checkpoint is kept", seconds=150)
    os.kill(ranks(number)[1], signal.SIGKILL)
    assert job_site.slurm.wait(number, seconds=200) == {number: "COMPLETED"}
    assert [start.cause for start in diary(job_site, number)] == ["failed", "done"]
    refused = sbatch_it(job_site, script, *WORDS, "--output", "s3://no-such-bucket-here/script")
    assert job_site.slurm.wait(refused, seconds=100) == {refused: "FAILED"}
    assert job_site.slurm.job(refused)["ExitCode"] == "2:0"
    assert "no-such-bucket-here" in diary(job_site, refused)[-1].reason


def test_outside_of_a_checkout_a_script_says_what_to_do(
    job_site: JobSite, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ABET_ROOT")
    number = sbatch_it(job_site, script)
    assert job_site.slurm.wait(number) == {number: "FAILED"}
    time.sleep(0.5)
    assert "set ABET_ROOT" in (job_site.folder / f"mapillary-pretrain-{number}.log").read_text()


def test_the_committed_scripts_are_accepted_by_slurm(job_site: JobSite) -> None:
    for path in sorted((ROOT / "slurm").glob("*.sbatch")):
        done = subprocess.run(["sbatch", "--test-only", path, "x", "y"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{path.name}: {done.stderr}"
    assert shutil.which("sbatch")
