"""A run that is longer than its time limit goes on after it, as often as it takes, to the same bits."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from jobs.records import Record
from tests.cluster.job_site import JobSite, note, ranks
from tests.slurm_cluster import until
from tests.training.conftest import Tiny, final_state
from tests.training.tiny import tiny_recipe
from tests.trees import make_cityscapes

pytestmark = pytest.mark.cluster

# Steps long enough for a hand to be laid on the run before its last one
STEPS, EVERY, CROP = 120, 40, {"crop_height": 128, "crop_width": 256}


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("long")
    for split, count, seed in (("train", 6, 0), ("val", 2, 100)):
        make_cityscapes(folder / "data", split=split, count=count, size=(128, 256), seed=seed)
    training = {"steps": STEPS, "validate_every_steps": STEPS, "checkpoint_every_steps": EVERY, "log_every_steps": 20}
    recipe = tiny_recipe(folder / "long.yaml", {"training": training, "augmentation": CROP})
    return Tiny(recipe, folder / "data", folder / "runs")


def hold_until_signalled(site: JobSite, record: Record) -> None:
    """Stop the training until SLURM speaks of its time limit: no machine is too fast for it.

    SLURM lets a step continue (SIGCONT) before it sends the signal.
    """
    site.wait_step(record, EVERY)
    (pid,) = ranks(str(record.job.number)).values()
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: not _stopped(pid), "SLURM's signal arrives", seconds=90)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _stopped(pid: int) -> bool:
    try:
        return "State:\tT" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_run_goes_on_after_its_time_limit(job_site: JobSite, long_run: Tiny, table: list[str]) -> None:
    site = job_site.write({"cityscapes": str(long_run.data)})
    limits = ("--time-limit-minutes", 1, "--grace-seconds", 15)
    options = ("--option=--device", "--option=cpu", "--option=--threads", "--option=1")
    (record,) = site.submit(long_run.recipe, "--run", "long", "--gpus", 0, "--snapshot", "none", *limits, *options)
    hold_until_signalled(site, record)
    assert site.wait_end(record, seconds=600).state == "done", site.log(record)
    starts = site.attempts(record)
    assert [start.cause for start in starts[:-1]] == ["timeout"] * (len(starts) - 1)
    assert len(starts) > 1
    assert [start.first_step for start in starts[1:]] == [start.last_step for start in starts[:-1]], "nothing repeated"
    site.run("-m", "abet", "train", *long_run.arguments("alone", "--device", "cpu"))
    here, there = final_state(long_run.runs / "alone"), site.final("long")
    assert {name: here[name] for name in there["files"]} == there["files"]
    fault = "time limit, one node of one process"
    note(table, site, record, fault, "identical", repeated=0)
