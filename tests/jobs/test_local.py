"""Jobs on this machine, for real: run to their ends, tried again, their output kept."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from abet.errors import UsageError
from abet.metrics.components import PROTOCOL
from abet.scores.fitted import NAME as FITTED
from abet.scores.fitted import unpack as read_fitted
from abet.site import SiteConfig
from jobs import attempts, catalogue
from jobs.catalogue import Request
from jobs.executors import local
from jobs.executors.local import LocalExecutor, require_room
from jobs.records import records
from jobs.spec import JobSpec
from tests.conftest import Cli
from tests.jobs.conftest import HOSTILE, PYTHON, ROOT, Jobs, program
from tests.test_exits import wait_until
from tests.trees import make_cityscapes, make_road_anomaly

MERGE = JobSpec(name="job", kind="merge", command=("merge", HOSTILE))


@pytest.fixture
def abet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: Callable[[], list[list[str]]]
) -> Callable[[], list[list[str]]]:
    """A Python whose abet notes its arguments."""
    monkeypatch.setattr(sys, "executable", str(program(tmp_path / HOSTILE / "python", PYTHON)))
    return noted


def test_a_job_gets_its_arguments_as_they_are(site: SiteConfig, abet: Callable[[], list[list[str]]]) -> None:
    assert LocalExecutor(site=site).submit([MERGE]) == 0
    assert abet() == [["-m", "abet", "merge", HOSTILE]]
    (record,) = records(site.jobs)
    assert (record.job.on, record.job.pid) == ("local", os.getpid())
    assert attempts.read(record.folder).attempts[0].cause == "done"


def test_training_runs_under_the_launcher(site: SiteConfig, abet: Callable[[], list[list[str]]]) -> None:
    request = Request(processes=2, changes=("batch.batch_per_gpu=2",))
    spec = catalogue.training("demo_pretrain", request, site)
    LocalExecutor(site=site).submit([spec])
    assert abet() == [["-m", "abet", "launch", "--processes", "2", "--", *spec.command]]


def test_shards_run_one_after_the_other(site: SiteConfig, abet: Callable[[], list[list[str]]]) -> None:
    array = JobSpec(name="eval", kind="evaluate", command=("evaluate", "{shard}/4"), shards=(2, 4))
    LocalExecutor(site=site).submit([array, MERGE])
    assert [words[2:] for words in abet()] == [["evaluate", "2/4"], ["evaluate", "4/4"], ["merge", HOSTILE]]


@pytest.mark.parametrize(("ends", "starts"), [("3", 1), ("143", 1), ("1", 3)])
def test_the_first_that_fails_for_good_is_the_last(
    site: SiteConfig,
    abet: Callable[[], list[list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    ends: str,
    starts: int,
) -> None:
    monkeypatch.setenv("ENDS", ends)
    job = MERGE.model_copy(update={"retries": 2})
    assert LocalExecutor(site=site).submit([job, MERGE]) == int(ends)
    assert len(abet()) == starts
    (record,) = records(site.jobs)
    last = attempts.read(record.folder).attempts[-1]
    assert (last.number, last.again) == (starts - 1, False)


@pytest.mark.parametrize(("nodes", "gpus"), [(1, 8), (2, 0)])
def test_a_job_that_this_machine_cannot_hold_is_refused_with_what_would_do(
    monkeypatch: pytest.MonkeyPatch, nodes: int, gpus: int
) -> None:
    monkeypatch.setattr(local, "GPU_NODES", "no-such-device*")
    with pytest.raises(UsageError) as error:
        require_room(MERGE.model_copy(update={"kind": "train", "nodes": nodes, "gpus_per_node": gpus}))
    for remedy in ("ON=local NODES=1 GPUS=0", "sbatch is on PATH", "NODES= and GPUS=", "--dry-run", "DRY_RUN=1"):
        assert remedy in str(error.value)


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    "job",
    [
        "mapillary_pretrain --snapshot none --output OUT",
        "evaluate --dataset road_anomaly --checkpoint /x.pth --output OUT",
        "components --dataset road_anomaly --checkpoint /x.pth --output OUT",
        "fit --checkpoint /x.pth",
        "calibrate --dataset road_anomaly --checkpoint /x.pth",
    ],
)
def test_what_would_do_instead_is_taken_by_the_same_job(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    monkeypatch.setattr(local, "GPU_NODES", "no-such-device*")
    metrics = tmp_path / "run" / "evaluation" / "road_anomaly" / "metrics.json"  # what components needs
    metrics.parent.mkdir(parents=True)
    metrics.write_text('{"scores": {"abet": {"protocols": {"smiyc-quantile-bins": {"best_f1_threshold": 1}}}}}')
    words = [str(tmp_path / "run") if word == "OUT" else word for word in job.split()]
    training = words[0] == "mapillary_pretrain"
    refused = jobs("submit", *words, "--on", "local")
    assert refused.code == 2, refused.err
    told = refused.err.partition("use ON=local ")[2].partition(" for the CPU")[0].split()
    assert told == (["NODES=1", "GPUS=0"] if training else ["GPUS=0"]), refused.err
    assert ("NODES=" in refused.err) == training
    options = [part for word in told for part in (f"--{word.partition('=')[0].lower()}", word.partition("=")[2])]
    taken = jobs("submit", *words, "--on", "local", "--dry-run", *options)
    assert taken.code == 0, taken.err


def test_a_machine_with_gpus_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "GPU_NODES", "null")  # one device of that name
    with pytest.raises(UsageError, match=r"this machine has 1 .* GPUS=1"):
        require_room(MERGE.model_copy(update={"gpus_per_node": 8}))
    require_room(MERGE.model_copy(update={"gpus_per_node": 1}))


def test_nothing_starts_unless_everything_fits(
    site: SiteConfig, abet: Callable[[], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GPU_NODES", "no-such-device*")
    with pytest.raises(UsageError):
        LocalExecutor(site=site).submit([MERGE, MERGE.model_copy(update={"gpus_per_node": 8})])
    assert abet() == []
    assert not site.jobs.exists()


def test_the_dry_run_is_a_shell_line_per_job(site: SiteConfig, jobs: Jobs, abet: Callable[[], list[list[str]]]) -> None:
    words = ("--snapshot", f"/{HOSTILE}", "--gpus", 0, "--on", "local", "--dry-run")
    printed = jobs("submit", "mapillary_pretrain", *words)
    assert printed.code == 0, printed.err
    assert not site.jobs.exists()
    subprocess.run(["bash", "-c", printed.out], check=True)
    (child,) = abet()
    assert child[-2:] == ["--snapshot", f"/{HOSTILE}"]
    assert child[2:6] == ["launch", "--processes", "1", "--"]


# --- the real abet


def test_a_fit_lies_with_its_checkpoint_and_a_pass_that_is_refused_ends_at_once(
    site: SiteConfig, jobs: Jobs, tmp_path: Path, learned_checkpoint: Path
) -> None:
    shutil.copytree(learned_checkpoint, tmp_path / "weights")
    make_cityscapes(tmp_path / "scenes", count=2, size=(48, 64))
    words = ("--checkpoint", tmp_path / "weights", "--data-root", tmp_path / "scenes", "--gpus", 0, "--on", "local")
    done = jobs.real("submit", "fit", *words, "--option=--bank", "--option=19")
    assert done.code == 0, done.err
    found = read_fitted((tmp_path / "weights" / FITTED).read_bytes(), source="the job's")
    assert (found.header.images, found.header.settings.bank_vectors) == (2, 19)
    # Nothing there is labelled: no retry can help
    refused = jobs.real("submit", "calibrate", "--dataset", "road_anomaly", *words)
    assert refused.code == 3, refused.err
    fit, calibrate = (attempts.read(record.folder).attempts for record in records(site.jobs))
    assert [[start.cause for start in starts] for starts in (fit, calibrate)] == [["done"], ["refused"]]


def test_the_jobs_of_an_evaluation_in_two_passes_end_in_the_figures_of_one_process(
    site: SiteConfig, tmp_path: Path, learned_checkpoint: Path, cli: Cli
) -> None:
    make_road_anomaly(tmp_path / "scenes", count=2, size=(48, 64))
    options = ("--scores", "abet", "--samples", "0", "--device", "cpu", "--threads", "1")
    request = Request(checkpoint=learned_checkpoint, data_root=tmp_path / "scenes", components=True, options=options)
    metrics = []
    for shards in (1, 2):
        run, every = tmp_path / f"run-{shards}", range(1, shards + 1)
        for spec in catalogue.evaluation(
            "road_anomaly", replace(request, shards=shards), site, run=run, missing=every, lacking=every
        ):
            for command in [spec.for_shard(shard) for shard in spec.shards] or [spec.command]:
                assert (done := cli(*command)).code == 0, done.err
        metrics.append((run / "evaluation" / "road_anomaly" / "metrics.json").read_bytes())
    assert metrics[0] == metrics[1]
    assert json.loads(metrics[0])["scores"]["abet"]["protocols"][PROTOCOL]["siou"] is not None


def test_a_merge_of_what_is_damaged(site: SiteConfig, jobs: Jobs, tmp_path: Path, learned_checkpoint: Path) -> None:
    folder = tmp_path / "run" / "evaluation" / "road_anomaly"
    folder.mkdir(parents=True)
    for shard in (1, 2):
        (folder / f"shard-00{shard}-of-002.npz").write_text("damaged")
    words = (
        "--dataset",
        "road_anomaly",
        "--checkpoint",
        learned_checkpoint,
        "--output",
        tmp_path / "run",
        "--shards",
        2,
    )
    finished = jobs.real("submit", "evaluate", *words, "--gpus", 0, "--on", "local")
    assert finished.code == 3
    assert "2 of 2 shards are there and kept" in finished.err
    (record,) = records(site.jobs)
    (attempt,) = attempts.read(record.folder).attempts
    assert (attempt.code, attempt.cause) == (3, "refused")
    assert str(tmp_path / "run") in attempt.reason
    # The reason stands wherever somebody may look
    assert attempt.reason in finished.err
    assert attempt.reason in jobs("logs", "merge-road-anomaly").out
    status = jobs("status", record.job.id)
    assert (status.code, "refused" in status.out, str(record.logs) in status.out) == (1, True, True)


def test_cancelling_lets_it_save(site: SiteConfig, jobs: Jobs, tmp_path: Path) -> None:
    code = """
import signal, sys
from pathlib import Path
sys.executable = sys.argv[1]
from abet.site import load_site
from jobs.executors.local import LocalExecutor
from jobs.spec import JobSpec
job = JobSpec(name="job", kind="merge", command=("merge", "x"))
sys.exit(LocalExecutor(site=load_site()).submit([job]))
"""
    child = tmp_path / "python"
    child.write_text(
        f"#!/bin/bash\ntrap 'echo saved; exit 143' TERM\ntouch {tmp_path / 'ready'}\nwhile :; do sleep 0.05; done\n"
    )
    child.chmod(0o755)
    with subprocess.Popen([sys.executable, "-c", code, child], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until((tmp_path / "ready").exists)
            assert "running" in jobs("status").out
            assert "asked job-" in jobs("cancel", "job").out
            assert process.wait(timeout=20) == 143
        finally:
            process.kill()
    assert "saved" in jobs("logs", "job").out
    status = jobs("status", "job")
    assert (status.code, "stopped" in status.out) == (1, True)
    again = jobs("cancel", "job")
    assert (again.code, "has ended already (stopped)" in again.err) == (2, True)
