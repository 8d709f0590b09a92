"""How a job stands: from SLURM's word and from the diary."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from jobs import attempts
from jobs.cluster import Cluster
from jobs.executors.states import TaskState
from jobs.records import Record, new_record, process_start, write
from jobs.spec import JobSpec
from jobs.status import ENDED, Status, exit_code, status, statuses
from jobs.watching import print_statuses

JOB = JobSpec(name="job", kind="train", command=("train", "x"))
ARRAY = JobSpec(name="eval", kind="evaluate", command=("evaluate", "{shard}"), shards=(2, 5))
RUNNING = TaskState("RUNNING", live=True)
PENDING = TaskState("PENDING", "Resources", live=True)


def record(folder: Path, spec: JobSpec = JOB, **values: Any) -> Record:
    return write(new_record(folder, spec, "slurm")).update(**{"number": "41", **values})


def attempt(folder: Path, number: int = 0, end: tuple[int, str, str, bool] | None = None) -> None:
    attempts.begin(folder, Cluster(job_id="41", node="n1", restarts=number), name="job")
    if end:
        code, reason, cause, again = end
        attempts.end(folder, number, code, reason, cause=cause, again=again)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ((0, "", "done", False), Status("done", "", None, 1)),
        ((2, "below target: mIoU 0.1", "refused", False), Status("below target", "below target: mIoU 0.1", None, 1)),
        ((3, "damaged", "refused", False), Status("refused", "damaged", None, 1)),
        ((1, "given up", "failed", False), Status("failed", "given up", None, 1)),
        ((143, "saved", "stopped", False), Status("stopped", "saved", None, 1)),
        ((143, "too short", "timeout", False), Status("failed", "too short", None, 1)),
    ],
)
def test_the_diary_says_how_it_ended(tmp_path: Path, end: tuple[int, str, str, bool], expected: Status) -> None:
    job = record(tmp_path)
    attempt(job.folder, end=end)
    assert status(job, {}) == expected
    assert status(job, {"": TaskState("FAILED", "1:0")}) == expected
    assert expected.ended
    assert exit_code(expected) == (0 if expected.state == "done" else 1)


def test_while_it_lives_slurm_knows_better(tmp_path: Path) -> None:
    job = record(tmp_path)
    assert status(job, {"": PENDING}) == Status("waiting", "Resources")
    attempt(job.folder)
    assert status(job, {"": RUNNING}) == Status("running", "", None, 1)
    attempts.end(job.folder, 0, 143, "saved", cause="timeout", again=True)
    assert status(job, {"": PENDING}) == Status("waiting", "again, after timeout; Resources", None, 1)
    attempt(job.folder, 1)
    assert status(job, {"": RUNNING}) == Status("running", "attempt 2", None, 2)
    assert not status(job, {"": RUNNING}).ended


def test_the_step_that_is_kept(tmp_path: Path) -> None:
    job = record(tmp_path)
    attempt(job.folder)
    (job.folder / "progress.json").write_text('{"step": 120}')
    assert status(job, {"": RUNNING}).step == 120


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, "lost"),
        (TaskState("CANCELLED", "0:15"), "cancelled"),
        (TaskState("NODE_FAIL", "0:0"), "failed"),
        (TaskState("OUT_OF_MEMORY", "0:125"), "failed"),
        (TaskState("COMPLETED", "0:0"), "done"),
        (TaskState("RUNNING", "0:0"), "unknown"),
    ],
)
def test_a_silent_diary_leaves_slurms_last_word(tmp_path: Path, last: TaskState | None, expected: str) -> None:
    job = record(tmp_path)
    attempt(job.folder)
    found = status(job, {} if last is None else {"": last})
    assert found.state == expected
    assert found.detail


def test_a_job_cancelled_before_it_started_hints_at_its_pipeline(tmp_path: Path) -> None:
    found = status(record(tmp_path), {"": TaskState("CANCELLED", "0:0")})
    assert (found.state, "earlier job of its pipeline" in found.detail) == ("cancelled", True)


@pytest.mark.parametrize(
    ("last", "expected"),
    [(None, "lost"), (TaskState("CANCELLED", "0:0"), "cancelled"), (TaskState("COMPLETED", "0:0"), "lost")],
)
def test_a_job_that_was_to_start_again_and_did_not_waits_no_more(
    tmp_path: Path, last: TaskState | None, expected: str
) -> None:
    job = record(tmp_path)
    attempt(job.folder, end=(1, "crashed", "failed", True))
    assert status(job, {} if last is None else {"": last}).state == expected


def test_a_submission_that_was_cut_short(tmp_path: Path) -> None:
    found = status(record(tmp_path, number=None), {})
    assert (found.state, "submission" in found.detail) == ("lost", True)


def test_a_slurm_that_does_not_answer_makes_nothing_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bin" / "squeue"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2\nexit 1\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    running, done = record(tmp_path / "jobs"), record(tmp_path / "jobs")
    attempt(running.folder)
    attempt(done.folder, end=(0, "", "done", False))
    first, second, array = statuses([running, done, record(tmp_path / "jobs", ARRAY)])
    assert (first.state, "Unable to contact" in first.detail, first.ended) == ("unknown", True, False)
    assert second.state == "done"
    assert array.state == "unknown"


def test_an_array_is_as_good_as_its_worst_task(tmp_path: Path) -> None:
    job = record(tmp_path, ARRAY)
    done, refused = job.diaries()
    attempt(done, end=(0, "", "done", False))
    assert status(job, {"0": TaskState("COMPLETED", "0:0"), "1": RUNNING}).state == "running"
    attempt(refused, end=(3, "no such image", "refused", False))
    found = status(job, {})
    assert found == Status("refused", "1 done, 1 refused (shard 5: no such image)", None, 2)
    assert exit_code(found) == 1


def test_an_array_of_one_is_a_plain_job_for_slurm(tmp_path: Path) -> None:
    one = ARRAY.model_copy(update={"shards": (5,)})
    assert status(record(tmp_path, one), {"": PENDING}).state == "waiting"


def test_a_local_job_lives_as_long_as_its_process(tmp_path: Path) -> None:
    def local(**values: Any) -> Status:
        job = record(tmp_path, on="local", number=None, **values)
        attempt(job.folder, end=(1, "", "failed", True))  # about to start again
        return status(job, {})

    here, alive = socket.gethostname(), os.getppid()
    started = process_start(alive)
    assert local(pid=alive, pid_started=started, host=here).state == "running"
    assert local(pid=2**22 + 1, pid_started=started, host=here).state == "lost"
    # Another process got its number
    assert local(pid=alive, pid_started=(started or 0) + 1, host=here).state == "lost"
    assert local(pid=1, host="elsewhere") == Status("unknown", "it runs on elsewhere, or did: ask there", None, 1)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ((2, "another evaluation", "refused", False), ("refused", "1 refused, 1 not started (shard 2: another")),
        (None, ("lost", "1 lost, 1 not started (shard 2: its process is gone")),
        ((0, "", "done", False), ("lost", "1 done, 1 not started (its process is gone")),
    ],
)
def test_a_shard_that_was_never_begun_here_is_not_lost(
    tmp_path: Path, end: tuple[int, str, str, bool] | None, expected: tuple[str, str]
) -> None:
    job = record(tmp_path, ARRAY, on="local", number=None, pid=2**22 + 1, host=socket.gethostname())
    attempt(job.shard_folder(2), end=end)
    found = status(job, {})
    assert (found.state, found.detail[: len(expected[1])]) == expected
    assert (found.ended, exit_code(found)) == (True, 1)


def test_a_reason_that_several_shards_have_is_told_once(tmp_path: Path) -> None:
    job = record(tmp_path, ARRAY)
    for diary in job.diaries():
        attempt(diary, end=(3, "no such image", "refused", False))
    assert status(job, {}).detail == "2 refused (shards 2, 5: no such image)"


def test_every_ending_is_one_of_the_list() -> None:
    assert ENDED == ("done", "below target", "refused", "failed", "stopped", "cancelled", "lost")


def test_a_long_reason_is_shown_with_its_beginning_and_the_remedy_at_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "evaluated otherwise (different: threads):\n  " + 400 * "why " + "\n  leave out: --limit\n  add: --threads 2"
    print_statuses([record(tmp_path)], [Status("refused", said)])
    shown = capsys.readouterr().out
    assert "\\n" not in shown
    lines = (line.split("│") for line in shown.splitlines())
    told = " ".join(" ".join(cells[7] for cells in lines if len(cells) > 7).split())
    assert told.startswith("evaluated otherwise (different: threads): why why")
    assert "..." in told
    assert told.endswith("why; leave out: --limit; add: --threads 2")
    assert len(told) <= 200


@pytest.mark.parametrize("state", ["refused", "stopped", "below target"])
def test_where_a_reason_was_cut_the_place_of_the_whole_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    job = record(tmp_path)
    print_statuses([job], [Status(state, 100 * "why ")])
    assert f"logs of {job.job.id}: {job.logs}" in capsys.readouterr().out


def test_what_a_scheduler_says_of_a_job_that_waits_stands_nowhere_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_statuses([record(tmp_path)], [Status("waiting", 100 * "why ")])
    shown = capsys.readouterr().out
    assert shown.count("why") == 100
    assert "logs of" not in shown
