"""Commits: whatever happens in their middle, a reader finds the old step or the new one, whole."""

import errno
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from abet import checkpoint
from abet.checkpoint import Best, read_best, resolve, step_folder, step_folders
from abet.errors import CheckpointError
from abet.files import sha256_of
from abet.training.commit import PARTIAL, commit, discard_partial, newest, require_newest, resumed_best
from abet.training.ownership import LostOwnership, Ownership
from abet.training.state import TrainState, read_state
from tests.training.faults import REMOVALS, WRITES, Killed, injected
from tests.training.states import state_at


def contents(run: Path) -> dict[str, str]:
    """Relative path -> digest of everything in a run directory but the owner's file and lock."""
    files = (path for path in run.rglob("*") if path.is_file() and "owner" not in path.name)
    return {path.relative_to(run).as_posix(): sha256_of(path) for path in sorted(files)}


def steps(run: Path) -> list[int]:
    return list(step_folders(run))


def same(first: TrainState, second: TrainState) -> bool:
    def tensors_equal(a: TrainState, b: TrainState, part: str) -> bool:
        mine, theirs = getattr(a, part), getattr(b, part)
        return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)

    rest = [(state.step, state.best, state.identity, state.scaler) for state in (first, second)]
    return rest[0] == rest[1] and all(tensors_equal(first, second, part) for part in ("model", "momentum"))


FIRST = Best(step=10, miou=0.5)
OLD = {step: state_at(step, best=FIRST) for step in (10, 20, 30)}
NEW = state_at(40, miou=0.625)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the best step 10 and the last steps 20 and 30."""
    run = tmp_path_factory.mktemp("before") / "run"
    for state in OLD.values():
        commit(Ownership.take(run), state, keep_last=2)
    assert steps(run) == [30, 20, 10]
    return run


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


def test_a_committed_state_is_read_back(tmp_path: Path) -> None:
    folder = commit(Ownership.take(tmp_path / "run"), NEW, keep_last=2)
    assert folder == tmp_path / "run" / "checkpoints" / "step-00000040"
    assert newest(tmp_path / "run") == (folder, [])
    assert same(read_state(folder), NEW)


def test_latest_and_best_say_what_is_there(before: Path) -> None:
    latest = json.loads((before / "checkpoints" / "latest.json").read_text())
    assert latest == {"step": 30, "manifest_sha256": sha256_of(step_folder(before, 30) / "manifest.json")}
    assert json.loads((before / "checkpoints" / "best.json").read_text()) == {"step": 10, "miou": 0.5}


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


def test_a_kill_between_the_rename_and_latest_json_resumes_from_the_newer_step(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    old = (run / "checkpoints" / "latest.json").read_bytes()
    commit(Ownership.take(run), NEW, keep_last=2)
    (run / "checkpoints" / "latest.json").write_bytes(old)
    assert newest(run) == (step_folder(run, 40), [])


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.pt", "manifest.json"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "empty"])
def test_a_damaged_step_is_passed_over_by_name_and_reason(before: Path, tmp_path: Path, name: str, damage: str) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    path = step_folder(run, 30) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 2
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"flipped": bytes(content), "truncated": content[:-5], "empty": b""}[damage])
    folder, (line,) = newest(run)
    assert folder == step_folder(run, 20)
    assert line.startswith("step-00000030: ")
    assert str(name if damage != "flipped" or name != "manifest.json" else "") in line


def test_a_folder_that_is_not_ours_is_no_checkpoint(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    checkpoints = run / "checkpoints"
    for name in ("step-40", "step-00000050x", ".step-00000060.0123456789abcdef.partial", "step-000000070"):
        shutil.copytree(step_folder(run, 30), checkpoints / name)
    (checkpoints / "step-00000080").write_text("a file")
    assert newest(run) == (step_folder(run, 30), [])
    shutil.copytree(step_folder(run, 20), checkpoints / "step-00000090")
    assert newest(run) == (step_folder(run, 30), ["step-00000090: holds step 20"])


def test_a_run_without_checkpoints_has_no_newest_and_one_with_damaged_ones_alone_is_an_error(
    before: Path, tmp_path: Path
) -> None:
    assert newest(tmp_path / "absent") == require_newest(tmp_path / "absent") == (None, [])
    run = shutil.copytree(before, tmp_path / "run")
    assert require_newest(run) == newest(run)
    for folder in step_folders(run).values():
        (folder / "state.pt").unlink()
    assert newest(run)[0] is None
    with pytest.raises(CheckpointError, match=r"step-00000030: .*state\.pt is missing.*--resume never"):
        require_newest(run)


def test_a_later_step_that_is_gone_is_said(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    shutil.rmtree(step_folder(run, 30))
    folder, (line,) = newest(run)
    assert folder == step_folder(run, 20)
    assert line == "step-00000030: named by latest.json, but it is not there"


def inodes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def test_a_step_that_is_there_is_kept_as_it_is(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    there = inodes(step_folder(run, 30))
    (run / "checkpoints" / "latest.json").unlink()
    ownership = Ownership.take(run)
    with injected() as faults:
        commit(ownership, OLD[30], keep_last=2)
    assert inodes(step_folder(run, 30)) == there
    assert "save_tensors" not in faults.calls
    assert contents(run) == contents(before)


def test_a_damaged_step_is_replaced_when_it_is_committed_again(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    (step_folder(run, 30) / "state.pt").write_bytes(b"")
    commit(Ownership.take(run), OLD[30], keep_last=2)
    assert contents(run) == contents(before)


def test_the_newest_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    ownership, best = Ownership.take(tmp_path), None
    kept = []
    for step, miou in [(10, None), (20, 0.5), (30, None), (40, 0.25), (50, 0.75), (60, None), (70, None)]:
        state = state_at(step, best=best)
        if miou is not None and (best is None or miou > best.miou):
            state = state_at(step, miou=miou)
        commit(ownership, state, keep_last=2)
        best = state.best
        kept.append(steps(tmp_path))
    assert kept == [[10], [20, 10], [30, 20], [40, 30, 20], [50, 40], [60, 50], [70, 60, 50]]


def test_at_no_time_are_there_more_than_the_kept_ones_and_the_new_one(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    most = 0

    def count(name: str, paths: tuple[Path, ...]) -> None:
        nonlocal most
        most = max(most, len(list((run / "checkpoints").glob("*step-*"))))

    with injected() as faults:
        faults.before = count  # type: ignore[method-assign]
        commit(Ownership.take(run), NEW, keep_last=2)
    assert most == 2 + 1 + 1  # kept, best, new


def test_pruning_never_removes_the_only_step_that_verifies(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    for step in (20, 30):
        (step_folder(run, step) / "model.safetensors").write_bytes(b"")
    commit(Ownership.take(run), state_at(15, best=FIRST), keep_last=1)
    assert newest(run)[0] == step_folder(run, 15)


def test_an_older_commit_moves_neither_latest_nor_a_better_best(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    ownership = Ownership.take(run)
    commit(ownership, NEW, keep_last=2)
    wanted = {name: (run / "checkpoints" / name).read_bytes() for name in ("latest.json", "best.json")}
    commit(ownership, state_at(35, miou=0.5625), keep_last=2)
    assert {name: (run / "checkpoints" / name).read_bytes() for name in wanted} == wanted
    assert newest(run)[0] == step_folder(run, 40)


def test_latest_and_best_leave_steps_that_are_damaged_or_gone(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    ownership = Ownership.take(run)
    commit(ownership, NEW, keep_last=2)
    (step_folder(run, 40) / "model.safetensors").write_bytes(b"")
    commit(ownership, state_at(35, miou=0.5625), keep_last=2)
    assert json.loads((run / "checkpoints" / "latest.json").read_text())["step"] == 35
    assert read_best(run) == Best(step=35, miou=0.5625)


def test_damaged_hints_are_written_again(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    for name in ("latest.json", "best.json"):
        (run / "checkpoints" / name).write_text("{")
    assert newest(run) == (step_folder(run, 30), [])
    commit(Ownership.take(run), OLD[30], keep_last=2)
    assert contents(run) == contents(before)


def test_a_best_whose_step_was_never_committed_is_not_named(tmp_path: Path) -> None:
    commit(Ownership.take(tmp_path), state_at(20, best=Best(step=15, miou=0.5)), keep_last=1)
    assert not (tmp_path / "checkpoints" / "best.json").exists()


def test_the_best_score_of_a_step_that_was_saved_before_its_validation_is_not_lost(tmp_path: Path) -> None:
    ownership = Ownership.take(tmp_path)
    commit(ownership, state_at(10, miou=0.5), keep_last=2)
    unvalidated = state_at(20, best=Best(step=10, miou=0.5))
    commit(ownership, unvalidated, keep_last=2)  # stopped by a signal
    commit(ownership, state_at(20, miou=0.75), keep_last=2)  # resumed and validated
    state = read_state(step_folder(tmp_path, 20))
    assert state.best == unvalidated.best
    assert resumed_best(tmp_path, state) == read_best(tmp_path) == Best(step=20, miou=0.75)


def test_a_best_score_beyond_the_resumed_step_is_not_its_past(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    commit(Ownership.take(run), NEW, keep_last=2)
    assert resumed_best(run, OLD[30]) == FIRST
    assert resumed_best(tmp_path / "absent", OLD[30]) == FIRST
    assert resumed_best(run, replace(OLD[30], step=40, best=None)) == NEW.best


def test_of_two_trainers_the_older_commits_nothing(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    older = Ownership.take(run)
    newer = Ownership.take(run)
    with pytest.raises(LostOwnership):
        commit(older, NEW, keep_last=1)
    with pytest.raises(LostOwnership):
        discard_partial(older)
    assert contents(run) == contents(before)
    commit(newer, NEW, keep_last=2)
    assert newest(run)[0] == step_folder(run, 40)


def test_a_trainer_that_starts_while_another_commits_never_meets_half_of_it(before: Path, tmp_path: Path) -> None:
    """The commits of an old trainer race with a new one's start, clean-up and commit."""
    run = shutil.copytree(before, tmp_path / "run")
    older, lost = Ownership.take(run), threading.Event()

    def go_on() -> None:
        for step in range(31, 1000):
            try:
                commit(older, state_at(step, best=FIRST), keep_last=2)
            except LostOwnership:
                lost.set()
                return

    thread = threading.Thread(target=go_on)
    thread.start()
    newer = Ownership.take(run)
    assert discard_partial(newer) == []
    folder, skipped = newest(run)
    assert skipped == []
    state = read_state(folder)
    commit(newer, state_at(state.step + 1, best=FIRST), keep_last=2)
    thread.join()
    assert lost.is_set()
    assert newest(run) == (step_folder(run, state.step + 1), [])


def test_only_what_a_trainer_left_half_written_is_removed(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    token = "0123456789abcdef"
    ours = [
        *(
            run / "checkpoints" / f".{name}"
            for name in (f"step-00000040.{token}.partial", f"latest.{token}.partial.json")
        ),
        run / f".owner.{token}.partial.json",
    ]
    theirs = [run / "checkpoints" / ".notes.partial", run / f".mine.{token}.partial", run / "checkpoints" / "keep"]
    for path in [*ours, *theirs]:
        path.touch() if path.suffix == ".json" else path.mkdir()
    assert sorted(discard_partial(Ownership.take(run))) == sorted(path.name for path in ours)
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in theirs)
    assert newest(run) == (step_folder(run, 30), [])
