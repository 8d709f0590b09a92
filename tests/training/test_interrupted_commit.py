"""A commit that is killed, or runs out of disk, at any of its calls."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from abet import checkpoint
from abet.checkpoint import read_best, resolve, step_folder
from abet.training.commit import PARTIAL, commit, discard_partial, newest
from abet.training.ownership import Ownership
from abet.training.state import read_state
from tests.training.committed import FIRST, NEW, OLD, contents, same, steps
from tests.training.faults import REMOVALS, WRITES, Killed, injected
from tests.training.states import state_at


@pytest.fixture(scope="module")
def after(before: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What that run holds after the next commit, which nothing disturbed."""
    run = tmp_path_factory.mktemp("after") / "run"
    shutil.copytree(before, run)
    commit(Ownership.take(run), NEW, keep_last=2)
    assert newest(run) == (step_folder(run, 40), [])
    assert steps(run) == [40, 30]
    return contents(run)


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of runs are copied and removed."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


def damaged_copy(before: Path, run: Path) -> None:
    """The run with a folder for step 40 that a reader must not take."""
    shutil.copytree(before, run)
    shutil.copytree(step_folder(run, 30), step_folder(run, 40))


ATOMIC = ("write_bytes", "fsync", "replace", "unlink")
"""Calls of one atomic write; the last removes a temporary file that is gone."""


def test_the_files_are_on_the_disk_before_the_manifest_and_the_manifest_before_the_name(tmp_path: Path) -> None:
    ownership = Ownership.take(tmp_path)
    with injected() as faults:
        commit(ownership, NEW, keep_last=1)
    assert faults.calls == [
        *("mkdir", "fsync"),  # checkpoints/
        "mkdir",  # the hidden folder
        *("save_tensors", "fsync"),
        *("save_tensors", "fsync"),
        *("write_bytes", "fsync"),
        *ATOMIC,  # the manifest
        *("fsync", "rename", "fsync"),
        *(*ATOMIC, "fsync"),  # latest.json
        *(*ATOMIC, "fsync"),  # best.json
    ]


def check_readable(run: Path) -> str:
    """A reader finds the old step or the new one, and a best one; returns the name of the newest."""
    folder, skipped = newest(run)
    assert folder is not None
    state = read_state(folder)
    assert same(state, OLD[30] if state.step == 30 else NEW)
    assert [line for line in skipped if "step-00000040" not in line] == []
    best = checkpoint.read(resolve(run))
    step = 10 if read_best(run) == FIRST else 40
    assert all(torch.equal(best.tensors[name], value) for name, value in state_at(step).model.items())
    return folder.name


def check_resumable(run: Path, after: dict[str, str]) -> None:
    """The next start removes what is half-written, repeats the commit, and stands where an undisturbed run stands."""
    with injected():
        ownership = Ownership.take(run)
        discard_partial(ownership)
        commit(ownership, NEW, keep_last=2)
    assert contents(run) == after


def undisturbed_calls(run: Path) -> list[str]:
    """What the commit of the new step does to the disk; ends the run."""
    ownership = Ownership.take(run)
    with injected() as faults:
        commit(ownership, NEW, keep_last=2)
    shutil.rmtree(run)
    return faults.calls


Prepare = Callable[[Path, Path], object]
PREPARED = pytest.mark.parametrize("prepare", [shutil.copytree, damaged_copy], ids=["absent", "damaged"])


@PREPARED
@pytest.mark.parametrize("kind", ["kill", "torn"])
@pytest.mark.faults
def test_a_kill_at_any_call_leaves_the_old_step_or_the_new_one(
    before: Path, after: dict[str, str], quick_path: Path, kind: str, prepare: Prepare
) -> None:
    prepare(before, quick_path / "run")
    calls = undisturbed_calls(quick_path / "run")
    found = []
    for at in [at for at, name in enumerate(calls) if kind == "kill" or name in WRITES]:
        run = quick_path / str(at)
        prepare(before, run)
        ownership = Ownership.take(run)
        with injected(kind, at), pytest.raises(Killed):
            commit(ownership, NEW, keep_last=2)
        found.append(check_readable(run))
        check_resumable(run, after)
        shutil.rmtree(run)
    assert len(found) > (30 if kind == "kill" else 5)
    assert set(found) == {"step-00000030", "step-00000040"}


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["full", "blip"])
def test_a_full_disk_at_any_call_loses_nothing_leaves_nothing_and_names_the_path(
    before: Path, after: dict[str, str], quick_path: Path, kind: str
) -> None:
    damaged_copy(before, quick_path / "run")
    calls = undisturbed_calls(quick_path / "run")
    for at in [at for at, name in enumerate(calls) if name not in REMOVALS]:
        run = quick_path / str(at)
        damaged_copy(before, run)
        ownership = Ownership.take(run)
        with injected(kind, at), pytest.raises(OSError, match="No space left") as caught:
            commit(ownership, NEW, keep_last=2)
        assert caught.value.errno == errno.ENOSPC
        assert str(run) in caught.value.filename
        assert ".partial/" not in f"{caught.value.filename} {caught.value.filename2}"
        assert [path for path in run.rglob("*") if PARTIAL.fullmatch(path.name)] == []
        check_readable(run)
        check_resumable(run, after)
        shutil.rmtree(run)
