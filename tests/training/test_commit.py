"""Commits: whatever happens in their middle, a reader finds the old step or the new one, whole."""

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from abet.checkpoint import Best, read_best, resolve, step_folder, step_folders
from abet.errors import AbetError, CheckpointError
from abet.files import sha256_of
from abet.run import step_name
from abet.training.commit import commit, discard_partial, newest, require_newest, resumed_best, take_over
from abet.training.ownership import LostOwnership, Ownership
from abet.training.state import read_state
from tests.training.committed import FIRST, NEW, OLD, contents, same, steps
from tests.training.faults import injected
from tests.training.states import state_at


def test_a_committed_state_is_read_back(tmp_path: Path) -> None:
    folder = commit(Ownership.take(tmp_path / "run"), NEW, keep_last=2)
    assert folder == tmp_path / "run" / "checkpoints" / "step-00000040"
    assert newest(tmp_path / "run") == (folder, [])
    assert same(read_state(folder), NEW)


def test_latest_and_best_say_what_is_there(before: Path) -> None:
    latest = json.loads((before / "checkpoints" / "latest.json").read_text())
    assert latest == {"step": 30, "manifest_sha256": sha256_of(step_folder(before, 30) / "manifest.json")}
    assert json.loads((before / "checkpoints" / "best.json").read_text()) == {"step": 10, "miou": 0.5}


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
    with pytest.raises(CheckpointError, match=r"step-00000030: .*state\.pt is missing.*start anew in another --output"):
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


def test_a_start_notices_what_another_trainer_committed_while_it_read(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    take_over(run, OLD[30]).check()
    commit(Ownership.take(run), NEW, keep_last=2)
    for resumed in (OLD[30], None):
        with pytest.raises(AbetError, match=r"step-00000040 now.*run the same command again") as caught:
            take_over(run, resumed)
        assert caught.value.exit_code == 1
    take_over(tmp_path / "new", None).check()


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


def copied_from_s3(before: Path, run: Path, **generations: int) -> Path:
    """The run as `abet sync` brings it from S3: each step is named after the trainer that wrote it, too."""
    shutil.copytree(before, run)
    for step, folder in step_folders(run).items():
        folder.rename(folder.with_name(step_name(step, generations[f"step_{step}"])))
    return run


def test_a_copy_of_a_run_in_s3_goes_on_under_its_next_generation(before: Path, tmp_path: Path) -> None:
    run = copied_from_s3(before, tmp_path / "run", step_10=1, step_20=1, step_30=2)
    assert newest(run)[0] == run / "checkpoints" / "step-00000030-g0002"
    (run / "owner.json").write_text('{"generation": 2, "host": "x", "pid": 1, "started": "x"}')
    folder = commit(take_over(run, OLD[30]), NEW, keep_last=2)
    assert folder.name == "step-00000040-g0003"
    assert sorted(path.name for path in folder.parent.glob("step-*")) == ["step-00000030-g0002", "step-00000040-g0003"]
    assert newest(run) == (folder, [])


def test_newer_is_what_a_later_trainer_wrote_though_it_has_the_lower_step(before: Path, tmp_path: Path) -> None:
    run = copied_from_s3(before, tmp_path / "run", step_10=1, step_20=3, step_30=2)
    assert newest(run)[0] == run / "checkpoints" / "step-00000020-g0003"
    shutil.copytree(step_folder(run, 20), run / "checkpoints" / "step-00000020-g0001")
    (step_folder(run, 20) / "state.pt").write_bytes(b"")
    assert newest(run)[0] == run / "checkpoints" / "step-00000030-g0002"
    shutil.rmtree(step_folder(run, 30))
    assert newest(run)[0] == run / "checkpoints" / "step-00000020-g0001"
    take_over(run, OLD[20]).check()


def test_a_step_that_is_being_copied_elsewhere_is_not_removed(before: Path, tmp_path: Path) -> None:
    run = shutil.copytree(before, tmp_path / "run")
    commit(Ownership.take(run), NEW, keep_last=1, in_use=20)
    assert steps(run) == [40, 20]


def test_a_step_of_a_way_that_was_left_is_written_anew(before: Path, tmp_path: Path) -> None:
    """An earlier trainer came further than the one after it, from which the run goes on."""
    run = copied_from_s3(before, tmp_path / "run", step_10=1, step_20=2, step_30=1)
    (run / "checkpoints" / "best.json").unlink()
    folder = commit(take_over(run, OLD[20]), OLD[30], keep_last=2)
    assert folder.name == "step-00000030-g0004"
    assert sorted(path.name for path in folder.parent.glob("step-*-g*")) == [
        "step-00000010-g0001",
        "step-00000020-g0002",
        "step-00000030-g0004",
    ]
    assert newest(run) == (folder, [])
    assert resolve(run) == step_folder(run, 10)  # the best
    (run / "checkpoints" / "best.json").unlink()
    assert resolve(run) == folder


def test_latest_and_best_follow_the_run_and_not_the_way_that_was_left(before: Path, tmp_path: Path) -> None:
    run = copied_from_s3(before, tmp_path / "run", step_10=1, step_20=2, step_30=1)
    (run / "checkpoints" / "best.json").write_text('{"step": 30, "miou": 0.99}')
    folder = commit(take_over(run, OLD[20]), state_at(25, best=None), keep_last=2)
    latest = json.loads((run / "checkpoints" / "latest.json").read_text())
    assert latest == {"step": 25, "manifest_sha256": sha256_of(folder / "manifest.json")}
    assert read_best(run) is None
    assert resolve(run) == folder


def test_a_damaged_step_of_a_copy_from_s3_is_replaced_under_the_trainer_s_own_generation(
    before: Path, tmp_path: Path
) -> None:
    run = copied_from_s3(before, tmp_path / "run", step_10=1, step_20=2, step_30=2)
    (step_folder(run, 30) / "state.pt").write_bytes(b"")
    folder = commit(take_over(run, OLD[20]), OLD[30], keep_last=2)
    assert [path.name for path in folder.parent.glob("step-00000030*")] == ["step-00000030-g0004"]
    assert newest(run) == (folder, [])
