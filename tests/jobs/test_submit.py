"""Submission by submitit, and the supervised task that it starts on a node; sbatch and srun stand in for SLURM's."""

import configparser
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from abet.errors import UsageError
from abet.site import SiteConfig
from jobs import attempts, catalogue
from jobs.catalogue import Request
from jobs.executors.slurm import SlurmExecutor
from jobs.pipeline import pipeline
from jobs.profile import Container, SlurmProfile
from jobs.records import records
from jobs.spec import JobSpec
from tests.jobs.conftest import HOSTILE, NOTING, PYTHON, ROOT, SBATCH, Jobs, program, write_site
from tests.s3_server import S3Server

Noted = Callable[[], list[list[str]]]
Scripts = Callable[[], dict[str, str]]


@dataclass(frozen=True)
class Slurm:
    """A cluster on which abet is a program that notes its arguments."""

    executor: SlurmExecutor
    scripts: Scripts
    noted: Noted

    def run(self, number: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Start a submitted job as slurmd would."""
        told = {"SLURM_JOB_ID": number, "SLURM_PROCID": "0", "SLURM_JOB_NUM_NODES": "1", "SLURMD_NODENAME": "n1"}
        return subprocess.run(
            ["bash", "-c", self.scripts()[number]],
            env=os.environ | told | environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def slurm(site: SiteConfig, fake_slurm: Scripts, noted: Noted, tmp_path: Path) -> Slurm:
    python = program(tmp_path / HOSTILE / "python", PYTHON)
    return Slurm(SlurmExecutor(site=site, profile=SlurmProfile(python=str(python))), fake_slurm, noted)


def option(script: str, name: str) -> str | None:
    return next((line.partition("=")[2] for line in script.splitlines() if line.startswith(f"#SBATCH --{name}=")), None)


def test_a_training_job_from_submission_to_its_end(slurm: Slurm, site: SiteConfig) -> None:
    spec = catalogue.training("mapillary_pretrain", Request(run=HOSTILE), site)
    (record,) = slurm.executor.submit([spec])
    assert record.job.number == "101"
    assert records(site.jobs) == [record]
    done = slurm.run("101")
    assert done.returncode == 0, done.stderr
    *_, child = slurm.noted()
    assert child == ["-m", "abet", "launch", "--processes", "8", "--", *spec.command]
    (attempt,) = attempts.read(record.folder).attempts
    assert (attempt.code, attempt.cause) == (0, "done")


@pytest.mark.parametrize(("ends", "again"), [("3", False), ("143", False), ("1", True)])
def test_how_the_task_ends(
    slurm: Slurm, site: SiteConfig, monkeypatch: pytest.MonkeyPatch, ends: str, again: bool
) -> None:
    monkeypatch.setenv("ENDS", ends)
    slurm.executor.submit([catalogue.training("mapillary_pretrain", Request(), site)])
    done = slurm.run("101")
    requeued = ["scontrol", "requeue", "101"] in slurm.noted()
    # Submitit, which starts a job again, ends with a code of its own
    assert (done.returncode, requeued) == (255 if again else int(ends), again)


def test_a_record_that_cannot_be_written_is_said_in_the_log(slurm: Slurm, site: SiteConfig) -> None:
    (record,) = slurm.executor.submit([catalogue.training("mapillary_pretrain", Request(), site)])
    (record.folder / "words").touch()
    done = slurm.run("101")
    assert done.returncode == 1
    assert "abet: error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert ["-m", "abet"] not in [words[:2] for words in slurm.noted()]


def test_an_array_runs_each_missing_shard_and_the_merge_waits(slurm: Slurm, site: SiteConfig) -> None:
    request = Request(checkpoint=Path("/run"), shards=8)
    specs = catalogue.evaluation("road_anomaly", request, site, run=Path("/run"), missing=[3, 7])
    array, merge = slurm.executor.submit(specs)
    assert (array.job.number, merge.job.number) == ("101", "102")
    assert option(slurm.scripts()["101"], "array") == "0-1%2"
    assert option(slurm.scripts()["101"], "dependency") is None
    assert option(slurm.scripts()["102"], "dependency") == "afterok:101"
    slurm.run("101", SLURM_JOB_ID="103", SLURM_ARRAY_JOB_ID="101", SLURM_ARRAY_TASK_ID="1")
    *_, child = slurm.noted()
    assert child[-2:] == ["--shard", "7/8"]
    assert [len(attempts.read(diary).attempts) for diary in array.diaries()] == [0, 1]


def test_an_array_of_one_shard_is_a_plain_job(slurm: Slurm, site: SiteConfig) -> None:
    request = Request(checkpoint=Path("/run"), shards=8)
    slurm.executor.submit(catalogue.evaluation("road_anomaly", request, site, run=Path("/run"), missing=[5]))
    assert option(slurm.scripts()["101"], "array") is None
    slurm.run("101")
    assert slurm.noted()[-1][-2:] == ["--shard", "5/8"]


def test_a_pipeline_is_tied_together_by_numbers(slurm: Slurm, site: SiteConfig) -> None:
    slurm.executor.submit(pipeline("mapillary_pretrain", "cityscapes_finetune", Request(shards=2), site))
    assert {number: option(script, "dependency") for number, script in slurm.scripts().items()} == {
        "101": None,
        "102": "afterok:101",
        "103": "afterok:102",
        "104": "afterok:103",
        "105": "afterok:102",
        "106": "afterok:105",
        "107": "afterok:104:106",
    }


def test_nothing_half_submitted_stays_behind(slurm: Slurm, site: SiteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUSED", "eval-road-anomaly")
    with pytest.raises(UsageError) as error:
        slurm.executor.submit(pipeline("mapillary_pretrain", "cityscapes_finetune", Request(shards=2), site))
    assert "SLURM refused eval-road-anomaly: " in str(error.value)
    assert "Invalid account" in str(error.value)
    assert "profile" in str(error.value)
    assert slurm.noted() == [["scancel", number] for number in ("101", "102", "103", "104")]
    assert "eval-road-anomaly" not in [record.job.spec.name for record in records(site.jobs)]


def test_one_that_cannot_be_cancelled_does_not_keep_the_others(
    slurm: Slurm, site: SiteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REFUSED", "eval-lost-and-found")
    program(tmp_path / "bin" / "scancel", NOTING + "sys.exit('scancel: error: no answer')")
    with pytest.raises(UsageError, match="SLURM refused"):
        slurm.executor.submit(pipeline("mapillary_pretrain", "cityscapes_finetune", Request(shards=2), site))
    assert slurm.noted() == [["scancel", number] for number in ("101", "102")]
    said = capsys.readouterr().err
    assert "SLURM job 101 is still there" in said
    assert "SLURM job 102 is still there" in said


@pytest.mark.parametrize("number", [102, 103])
def test_ctrl_c_takes_back_what_was_submitted(
    slurm: Slurm, site: SiteConfig, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = pipeline("mapillary_pretrain", "cityscapes_finetune", Request(shards=2), site)
    # sbatch of one job interrupts whoever submits, as Ctrl-C does
    stop = f"if number == {number}: import signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(5)\n"
    program(
        tmp_path / "bin" / "sbatch", SBATCH.replace("print(", stop.replace("{", "{{").replace("}", "}}") + "print(")
    )
    with pytest.raises(KeyboardInterrupt):
        slurm.executor.submit(specs)
    assert slurm.noted() == [["scancel", str(earlier)] for earlier in range(101, number)]
    assert len(records(site.jobs)) == number - 101


def test_a_record_that_cannot_be_written_takes_back_its_job(slurm: Slurm, site: SiteConfig, tmp_path: Path) -> None:
    # As a full disk: by the time that SLURM has answered, the record takes no more
    broken = f"[path.unlink() or path.mkdir() for path in Path({str(site.jobs)!r}).glob('*/job.json')]\n"
    program(tmp_path / "bin" / "sbatch", SBATCH + broken)
    with pytest.raises(IsADirectoryError):
        slurm.executor.submit([catalogue.training("mapillary_pretrain", Request(), site)])
    assert slurm.noted() == [["scancel", "101"]]


def test_in_a_container_the_task_runs_in_the_python_of_the_bare_node(slurm: Slurm, site: SiteConfig) -> None:
    inside = Container(runtime="apptainer", image="/x.sif")
    spec = catalogue.training("mapillary_pretrain", Request(), site)
    for python, words in ((None, sys.executable), ("~/it's/python", f"{Path.home()}/it's/python")):
        profile = SlurmProfile(container=inside, host_python=python)
        (record,) = SlurmExecutor(site=site, profile=profile).submit([spec])
        script = slurm.scripts()[str(record.job.number)]
        assert f" {shlex.quote(words)} -u -m submitit.core._submit " in script


def test_an_array_in_a_container_too(slurm: Slurm, site: SiteConfig) -> None:
    profile = SlurmProfile(container=Container(runtime="apptainer", image="/x.sif"), host_python="/node/python")
    specs = catalogue.evaluation(
        "road_anomaly", Request(checkpoint=Path("/run"), shards=2), site, run=Path("/run"), missing=[1, 2]
    )
    SlurmExecutor(site=site, profile=profile).submit(specs)
    assert " /node/python -u -m submitit.core._submit " in slurm.scripts()["101"]


def test_a_python_that_is_not_there_is_found_out_at_once(site: SiteConfig, fake_slurm: Scripts) -> None:
    executor = SlurmExecutor(site=site, profile=SlurmProfile(python="no/such/python"))
    with pytest.raises(UsageError, match="`make setup` in this checkout, or `python:` in the profile"):
        executor.submit([catalogue.training("mapillary_pretrain", Request(), site)])
    assert fake_slurm() == {}


def test_without_sbatch_there_is_nothing_to_submit_to(site: SiteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="login node"):
        SlurmExecutor(site=site, profile=SlurmProfile()).submit(
            [JobSpec(name="job", kind="merge", command=("merge", "x"))]
        )


def test_the_command_line_submits_and_says_what_next(
    jobs: Jobs, site: SiteConfig, slurm: Slurm, tmp_path: Path
) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text(json.dumps({"python": slurm.executor.profile.python}))
    finished = jobs("submit", "mapillary_pretrain", "--profile", profile)  # auto: there is an sbatch
    assert finished.code == 0, finished.err
    (record,) = records(site.jobs)
    assert finished.out == (
        f"submitted {record.job.id} as SLURM job 101; records and logs: {record.folder}\n"
        "follow it: python -m jobs logs -f JOB; how it stands: python -m jobs status\n"
    )


def test_artifacts_that_cannot_be_written_are_found_out_before_the_queue(
    jobs: Jobs, site: SiteConfig, slurm: Slurm
) -> None:
    site.artifacts.parent.mkdir(exist_ok=True)
    Path(str(site.artifacts)).touch()
    finished = jobs("submit", "mapillary_pretrain", "--on", "slurm")
    assert finished.code in (1, 2)
    assert str(site.artifacts) in finished.err
    assert slurm.scripts() == {}


def test_only_what_is_missing_is_submitted_again(jobs: Jobs, site: SiteConfig, slurm: Slurm, tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text(json.dumps({"python": slurm.executor.profile.python}))
    folder = tmp_path / "run" / "evaluation" / "road_anomaly"
    folder.mkdir(parents=True)
    for shard in (1, 2, 4):
        (folder / f"shard-{shard:03d}-of-004.npz").touch()
    words = ("--dataset", "road_anomaly", "--checkpoint", "/x", "--output", tmp_path / "run", "--shards", 4)
    finished = jobs("submit", "evaluate", *words, "--profile", profile)
    assert finished.code == 0, finished.err
    assert "3 of 4 shards are there and kept" in finished.err
    assert records(site.jobs)[0].job.spec.shards == (3,)
    # To look at it first shows the same
    shown = jobs("submit", "evaluate", *words, "--profile", profile, "--dry-run")
    assert "3 of 4 shards are there and kept" in shown.err
    assert "3/4" in shown.out
    assert "--array" not in shown.out


KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@pytest.fixture
def in_s3(slurm: Slurm, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile for a site whose artifacts lie in S3, with keys in the environment."""
    values = {"artifacts": str(s3.place("runs")), "s3": {"endpoint": s3.endpoint, "checksums": "when_required"}}
    monkeypatch.setenv("ABET_SITE", str(write_site(tmp_path / "s3-site.yaml", **values, jobs=str(tmp_path / "jobs"))))
    keys = configparser.ConfigParser()
    keys.read(os.environ["AWS_SHARED_CREDENTIALS_FILE"])
    for name in KEYS[:2]:
        monkeypatch.setenv(name, keys["default"][name.lower()])
    monkeypatch.delenv(KEYS[2], raising=False)
    profile = tmp_path / "mine.yaml"
    profile.write_text(json.dumps({"python": slurm.executor.profile.python}))
    return profile


def test_keys_that_would_not_reach_the_job_are_missed_before_it_waits(jobs: Jobs, slurm: Slurm, in_s3: Path) -> None:
    words = ("submit", "mapillary_pretrain", "--snapshot", "none", "--on", "slurm", "--profile", in_s3)
    finished = jobs(*words)
    assert (finished.code, finished.out) == (2, "")
    assert "--secret AWS_ACCESS_KEY_ID --secret AWS_SECRET_ACCESS_KEY (make: SECRET=" in finished.err
    assert "~/.aws/credentials" in finished.err
    assert os.environ[KEYS[1]] not in finished.err
    assert slurm.scripts() == {}
    half = jobs(*words, "--secret", KEYS[0])
    assert (half.code, "add --secret AWS_SECRET_ACCESS_KEY (" in half.err) == (2, True)
    assert jobs(*words, "--secret", KEYS[0], "--secret", KEYS[1]).code == 0
    in_s3.write_text(json.dumps({**json.loads(in_s3.read_text()), "environment": KEYS[:2]}))
    assert jobs(*words).code == 0


def test_keys_in_a_file_need_no_naming(jobs: Jobs, slurm: Slurm, in_s3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS[:2]:
        monkeypatch.delenv(name)
    finished = jobs("submit", "mapillary_pretrain", "--snapshot", "none", "--on", "slurm", "--profile", in_s3)
    assert finished.code == 0, finished.err
