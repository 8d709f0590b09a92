"""Whatever happens to a training job on SLURM, it ends in the state that the documentation says.

And whatever goes on ends bit for bit in what an undisturbed run of the same topology ends in. Two nodes of two
processes each, the run in S3. ``ABET_FAULT_TABLE=FILE`` writes what was observed.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abet.exits import STOPPED
from abet.remote import remote_steps
from jobs.records import Record
from tests.cluster.job_site import JobSite, note, ranks, supervisors
from tests.s3_server import S3Server
from tests.slurm_cluster import SlurmCluster, until
from tests.training.tiny import tiny_data, tiny_recipe

pytestmark = pytest.mark.cluster

STEPS = 30
EVERY = 5
"""Steps between two checkpoints."""
WIDE = ("--gpus", 0, "--nodes", 2, "--processes", 2, "--set", "batch.batch_per_gpu=1", "--snapshot", "none")
CPU = ("--option=--device", "--option=cpu", "--option=--threads", "--option=1")


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe whose steps are short, and its data."""
    folder = tmp_path_factory.mktemp("inputs")
    training = {"steps": STEPS, "validate_every_steps": 15, "checkpoint_every_steps": EVERY, "log_every_steps": 1}
    return tiny_recipe(folder / "tiny.yaml", {"training": training}), tiny_data(folder / "data")


@pytest.fixture
def site(job_site: JobSite, inputs: tuple[Path, Path]) -> JobSite:
    return job_site.write({"cityscapes": str(inputs[1])})


def start(site: JobSite, inputs: tuple[Path, Path], *more: object, run: str = "run") -> Record:
    (record,) = site.submit(inputs[0], "--run", run, "--time-limit-minutes", 30, *WIDE, *CPU, *more)
    return record


@pytest.fixture(scope="session")
def undisturbed(
    running_slurm: SlurmCluster,
    running_s3: S3Server,
    inputs: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What the run ends in when nobody touches it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (running_slurm.env | running_s3.env).items():
            patch.setenv(name, value)
        folder = tmp_path_factory.mktemp("undisturbed")
        site = JobSite(running_slurm, folder, running_s3.bucket(), running_s3.settings)
        record = start(site.write({"cityscapes": str(inputs[1])}), inputs)
        assert site.wait_end(record).state == "done", site.log(record)
        return site.final("run")


def seconds_until_again(site: JobSite, record: Record, since: float) -> float:
    """How long after ``since`` the next attempt has begun."""
    before = len(site.attempts(record))
    until(lambda: len(site.attempts(record)) > before, f"{record.job.id} starts again", seconds=200)
    return time.monotonic() - since


def reached(site: JobSite) -> int:
    """The last step that any start has done, by what it wrote on its node."""
    lines = [line for path in site.folder.glob("scratch/**/metrics.jsonl") for line in path.read_text().splitlines()]
    return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)


def preempt(site: JobSite, record: Record) -> None:
    """Somebody more important wants both nodes."""
    job = site.slurm.submit("sleep 1", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null")
    until(lambda: site.slurm.job(job)["JobState"] == "COMPLETED", "the important job runs", seconds=60)


def requeue(site: JobSite, record: Record) -> None:
    site.slurm.run("scontrol", "requeue", record.job.number)


def kill_a_rank(site: JobSite, record: Record) -> None:
    os.kill(ranks(str(record.job.number))[3], signal.SIGKILL)


def kill_a_supervisor(site: JobSite, record: Record) -> None:
    os.kill(supervisors(str(record.job.number))[1], signal.SIGKILL)


def lose_a_node(site: JobSite, record: Record) -> None:
    site.slurm.run("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
    # Its slurmd answers, so SLURM takes it back into service by itself


GOES_ON = {
    "preempted by a higher partition": (preempt, ("preempted",)),
    "scontrol requeue": (requeue, ("stopped",)),
    "a rank is killed": (kill_a_rank, ("failed",)),
    "the supervisor of node 1 is killed": (kill_a_supervisor, ("failed",)),
    "a node is lost": (lose_a_node, ("stopped", "failed", "")),
}
"""Fault -> what does it, and what the diary may say of the attempt that it ended."""


@pytest.mark.parametrize("fault", GOES_ON)
def test_the_job_goes_on_by_itself_and_ends_in_the_same_bits(
    fault: str,
    site: JobSite,
    inputs: tuple[Path, Path],
    undisturbed: dict[str, Any],
    table: list[str],
) -> None:
    happen, causes = GOES_ON[fault]
    record = start(site, inputs)
    site.wait_step(record, EVERY)
    before = time.monotonic()
    happen(site, record)
    seconds, done = seconds_until_again(site, record, before), reached(site)
    assert site.wait_end(record).state == "done", site.log(record)
    starts = site.attempts(record)
    assert starts[0].cause in causes
    assert starts[-1].code == 0
    repeated = done - went_on_to_the_same_bits(site, undisturbed)
    note(table, site, record, fault, "identical", seconds=seconds, repeated=repeated)


def went_on_to_the_same_bits(site: JobSite, undisturbed: dict[str, Any]) -> int:
    """The step at which a run that has ended went on after its last start."""
    assert site.final("run") == undisturbed
    resumed = site.resumed_at("run")[-1]
    assert resumed >= EVERY, "it went on, and did not begin anew"
    return resumed


def cancel_politely(site: JobSite, record: Record) -> None:
    site.run("-m", "jobs", "cancel", record.job.id)


def scancel(site: JobSite, record: Record) -> None:
    site.slurm.run("scancel", record.job.number)


def kill_the_first_supervisor(site: JobSite, record: Record) -> None:
    os.kill(supervisors(str(record.job.number))[0], signal.SIGKILL)


ENDS: dict[str, tuple[Callable[[JobSite, Record], None], tuple[str, ...]]] = {
    "jobs cancel": (cancel_politely, ("stopped",)),
    "scancel": (scancel, ("stopped",)),
    "the supervisor of node 0 is killed": (kill_the_first_supervisor, ("failed", "lost")),
}


@pytest.mark.parametrize("fault", ENDS)
def test_the_job_ends_and_submitted_again_it_goes_on_to_the_same_bits(
    fault: str,
    site: JobSite,
    inputs: tuple[Path, Path],
    undisturbed: dict[str, Any],
    table: list[str],
) -> None:
    happen, states = ENDS[fault]
    record = start(site, inputs)
    site.wait_step(record, EVERY)
    happen(site, record)
    status = site.wait_end(record)
    assert status.state in states, site.log(record)
    assert len(site.attempts(record)) == 1
    if states == ("stopped",):
        assert site.attempts(record)[0].code == STOPPED
    done = reached(site)
    time.sleep(8)  # longer than SLURM lets a requeued job wait
    assert site.status(record).state == status.state
    again = start(site, inputs)
    assert site.wait_end(again).state == "done", site.log(again)
    repeated = done - went_on_to_the_same_bits(site, undisturbed)
    note(table, site, record, fault, "submitted again: identical", repeated=repeated)


def test_an_s3_server_that_dies_during_an_upload_and_comes_back_costs_nothing(
    site: JobSite, inputs: tuple[Path, Path], undisturbed: dict[str, Any], table: list[str]
) -> None:
    record = start(site, inputs)
    site.wait_step(record, EVERY)
    site.slurm.s3.kill()
    time.sleep(6)
    site.slurm.s3.start()
    assert site.wait_end(record).state == "done", site.log(record)
    assert len(site.attempts(record)) == 1
    assert site.final("run") == undisturbed
    note(table, site, record, "the S3 server is killed, and back after 6 s", "identical")


def test_of_two_jobs_on_one_run_the_newer_wins_and_the_older_names_it(
    site: JobSite, inputs: tuple[Path, Path], undisturbed: dict[str, Any], table: list[str]
) -> None:
    old = start(site, inputs, "--name", "old")
    site.wait_step(old, EVERY)
    held = ranks(str(old.job.number)).values()
    for pid in held:
        os.kill(pid, signal.SIGSTOP)  # as if its nodes hung
    new = start(site, inputs, "--name", "new")
    site.wait_step(new, 2 * EVERY)
    for pid in held:
        os.kill(pid, signal.SIGCONT)
    ending = site.wait_end(old)
    assert ending.state == "refused", site.log(old)
    assert site.attempts(old)[0].code == 3
    assert "generation 2" in ending.detail
    assert site.wait_end(new).state == "done", site.log(new)
    assert remote_steps(site.storage("run"))[0].generation == 2
    assert site.final("run") == undisturbed
    note(table, site, old, "hung, while a second job takes over the run", "of the second: identical")
