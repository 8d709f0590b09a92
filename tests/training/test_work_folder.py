"""Folders of earlier starts on a node: what is looked at, what is passed over, and what is removed when."""

import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from abet.training.commit import commit
from abet.training.ownership import Owner, Ownership
from abet.training.work_folder import alive, later_than, leftovers, link, remove_older, work_folder
from tests.training.committed import FIRST, OLD
from tests.training.states import state_at

ONE, TWO, THREE = (Owner(generation=number, host="x", pid=number, started="x") for number in (1, 2, 3))


def left_by(root: Path, owner: Owner, *steps: int) -> Path:
    """A work folder with committed steps."""
    run = work_folder(root, owner, 0)
    ownership = Ownership.take(run)
    for step in steps:
        commit(ownership, OLD.get(step) or state_at(step, best=FIRST), keep_last=3)
    return run


def after(*owners: Owner) -> Owner:
    """A start since whose predecessors nothing was gained in S3."""
    return Owner.after(owners[-1].generation, tuple(owner.name for owner in owners))


def test_a_start_that_committed_nothing_hides_no_earlier_one(tmp_path: Path) -> None:
    run = left_by(tmp_path, ONE, 10, 20)
    left_by(tmp_path, TWO)
    left = leftovers(tmp_path, after(ONE, TWO, THREE), 1)
    assert later_than(10, left) == {20: run / "checkpoints" / "step-00000020"}
    assert later_than(None, left).keys() == {10, 20}
    assert later_than(20, left) == {}


def test_of_two_starts_that_came_further_the_later_one_alone_counts(tmp_path: Path) -> None:
    left_by(tmp_path, ONE, 10, 20, 30)
    run = left_by(tmp_path, TWO, 20)
    assert later_than(10, leftovers(tmp_path, after(ONE, TWO), 0)) == {20: run / "checkpoints" / "step-00000020"}


def test_what_was_left_before_the_newest_checkpoint_in_s3_was_made_is_never_looked_at(tmp_path: Path) -> None:
    left_by(tmp_path, ONE, 10, 20)
    assert leftovers(tmp_path, after(ONE, TWO), 2) == []
    assert leftovers(tmp_path, after(TWO), 0) == [], "nor what no owner of the run has left"


def test_a_folder_with_what_may_be_the_only_copy_stays_until_the_run_has_come_as_far(tmp_path: Path) -> None:
    run = left_by(tmp_path, ONE, 10, 20)
    for step in (None, 10, 19):
        remove_older(tmp_path, THREE, step)
        assert run.is_dir()
    remove_older(tmp_path, ONE, 20)
    assert run.is_dir(), "of the same start"
    remove_older(tmp_path, THREE, 20)
    assert not run.exists()


def test_a_folder_that_is_worked_in_is_removed_by_nobody_from_its_first_moment_on(tmp_path: Path) -> None:
    run = work_folder(tmp_path, ONE, 0)
    with alive(run):
        remove_older(tmp_path, TWO, 10)
        assert (run / "checkpoints").is_dir()
    remove_older(tmp_path, TWO, 10)
    assert not run.exists()


def stop_within_a_commit(run: Path, held: "multiprocessing.synchronize.Event") -> None:
    with Ownership.take(run).exclusive():
        held.set()
        os.kill(os.getpid(), signal.SIGSTOP)


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Path]:
    """A work folder whose trainer was stopped, not ended, within a commit."""
    run = left_by(tmp_path, ONE, 10, 20)
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=stop_within_a_commit, args=(run, held))
    process.start()
    assert held.wait(20)
    yield run
    process.kill()
    process.join()


def test_a_start_does_not_wait_for_ever_for_a_trainer_that_is_stuck_within_a_commit(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("abet.training.work_folder.PATIENCE_SECONDS", 0.3)
    assert leftovers(tmp_path, after(ONE), 0) == []
    assert f"{stopped}: what is left there is not used: its trainer has been in the middle" in capsys.readouterr().err


def test_where_no_links_can_be_made_files_are_copied(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system alone")
    source = Path(tempfile.mkdtemp(dir=memory))
    try:
        (source / "model.safetensors").write_bytes(b"weights")
        link(source, tmp_path / "step")
    finally:
        shutil.rmtree(source)
    assert (tmp_path / "step" / "model.safetensors").read_bytes() == b"weights"
