"""A run in S3 whatever happens to its trainer, to its node and to S3: nothing committed is lost, nobody else harmed."""

import json
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abet.remote import remote_steps
from tests.training.conftest import Zygote, final_state, new_zygote
from tests.training.remote import Remote
from tests.training.test_kill_and_resume import write_table

POINTS = 10
S3_CALLS = ("list", "read", "write", "upload", "download", "delete")

pytestmark = pytest.mark.faults


def first_step(result: dict[str, Any]) -> int:
    """The step that a start went on from."""
    said = [line.rpartition(" ")[2] for line in result["log"].splitlines() if line.startswith("resumed s3://")]
    return int(said[0]) if said else 0


def steps_done(events: list[str]) -> int:
    return events.count("step")


def elsewhere(remote: Remote) -> Remote:
    """The same bucket from another machine."""
    folder = remote.folder / "elsewhere"
    folder.mkdir(exist_ok=True)
    return replace(remote, folder=folder)


def number_of(events: list[str], name: str, *, after: int) -> int:
    """The first event of a name after so many optimiser steps."""
    place = [number for number, event in enumerate(events) if event == "step"][after - 1]
    return events.index(name, place)


@pytest.fixture
def events(remote: Remote) -> list[str]:
    """Of a run that nobody touched. Copies are made beside training: their calls come a little later or earlier."""
    result = remote.train("undisturbed")
    assert result["codes"] == [0], result["log"]
    found: list[str] = result["events"]
    return found


@pytest.mark.parametrize("same_node", [True, False])
def test_a_checkpoint_that_was_committed_and_not_copied_is_lost_with_its_node_alone(
    remote: Remote, finished: Path, events: list[str], same_node: bool
) -> None:
    killed = remote.train("run", kill=(0, number_of(events, "upload", after=2)))
    assert killed["codes"] == [-9], killed["log"]
    there = remote if same_node else elsewhere(remote)
    resumed = there.train("run")
    assert resumed["codes"] == [0], resumed["log"]
    assert first_step(resumed) == (2 if same_node else 0)
    assert there.final_state("run") == final_state(finished)
    there.require_sound("run")
    assert there.work_folders("run") == []


def test_what_an_older_start_left_on_a_machine_is_never_used(remote: Remote, finished: Path, events: list[str]) -> None:
    """The run went on elsewhere since; and what was left is cleared away, though it had come further."""
    remote.train("run", kill=(0, number_of(events, "upload", after=2)))
    (left,) = remote.work_folders("run")
    assert [path.name for path in left.glob("checkpoints/step-*")] == ["step-00000002"]
    between = elsewhere(remote).train("run", mishap=("SIGTERM", 1))
    assert between["codes"] == [143], between["log"]
    resumed = remote.train("run")
    assert resumed["codes"] == [0], resumed["log"]
    assert first_step(resumed) == 1
    assert remote.final_state("run") == final_state(finished)
    assert not left.exists()


def test_a_checkpoint_that_was_not_copied_survives_starts_that_die_before_they_go_on_from_it(
    remote: Remote, finished: Path, events: list[str]
) -> None:
    """Killed right after the run became theirs, and right before they copied what was left."""
    first = (0, number_of(events, "upload", after=2))
    remote.train("rehearsal", kill=first)
    rehearsed: list[str] = remote.train("rehearsal")["events"]
    tried = rehearsed.index("delete")  # the end of the trial of keys and conditions
    taken = rehearsed.index("write", tried) + 1
    remote.train("run", kill=first)
    for generation, number in enumerate((taken, rehearsed.index("upload")), start=2):
        killed = remote.train("run", kill=(0, number))
        assert killed["codes"] == [-9], killed["log"]
        assert json.loads(remote.storage("run").read("owner.json")[0])["generation"] == generation
    assert [step for step in remote_steps(remote.storage("run")) if step.committed] == []
    resumed = remote.train("run")
    assert resumed["codes"] == [0], resumed["log"]
    assert first_step(resumed) == 2
    assert remote.final_state("run") == final_state(finished)
    remote.require_sound("run")
    assert remote.work_folders("run") == []


def test_the_last_step_is_copied_though_an_earlier_trainer_left_one_of_its_number(
    remote: Remote, finished: Path
) -> None:
    """The first came to the end, damaged; the second went on from before it and was stopped; so the third starts."""
    remote.train("run")
    newest = remote_steps(remote.storage("run"))[0]
    remote.storage("run").write(f"{newest.folder}/optimizer.safetensors", b"half", expect=None)
    there = elsewhere(remote)
    stopped = there.train("run", mishap=("SIGTERM", 5))
    assert stopped["codes"] == [143], stopped["log"]
    assert [(step.generation, step.step) for step in remote_steps(remote.storage("run"))][:2] == [(2, 5), (1, 6)]
    ended = there.train("run")
    assert ended["codes"] == [0], ended["log"]
    newest = remote_steps(remote.storage("run"))[0]
    assert (newest.generation, newest.step) == (3, 6)
    assert remote.final_state("run") == final_state(finished)
    remote.require_sound("run")


def test_of_two_processes_rank_0_is_killed_within_an_upload(remote: Remote) -> None:
    more = ("--set", "batch.batch_per_gpu=2")
    undisturbed = remote.train("undisturbed", *more, processes=2)
    assert undisturbed["codes"] == [0, 0], undisturbed["log"]
    number = number_of(undisturbed["events"], "upload", after=2) + 1
    killed = remote.train("run", *more, processes=2, kill=(0, number))
    assert killed["codes"] == [-9, 1], killed["log"]
    resumed = remote.train("run", *more, processes=2)
    assert resumed["codes"] == [0, 0], resumed["log"]
    assert first_step(resumed) == 2
    assert remote.final_state("run") == remote.final_state("undisturbed")
    remote.require_sound("run")


def kill_and_resume(remote: Remote, name: str, kill: int, same_node: bool) -> tuple[dict[str, Any], int, float]:
    """What the run ended in, the steps that were done twice, and how long the second start took."""
    killed = remote.train(name, kill=(0, kill))
    assert killed["codes"] == [-9], killed["log"]
    if not same_node:
        shutil.rmtree(remote.scratch, ignore_errors=True)
    started = time.monotonic()
    resumed = remote.train(name)
    assert resumed["codes"] == [0], resumed["log"]
    remote.require_sound(name)
    return remote.final_state(name), first_step(resumed), time.monotonic() - started


@pytest.mark.parametrize("same_node", [True, False])
def test_ten_random_kill_points_end_in_the_same_weights(
    remote: Remote, finished: Path, events: list[str], same_node: bool
) -> None:
    """Half of them anywhere in the life of the trainer, half before calls to S3."""
    draw = random.Random(same_node)
    calls = [number for number, event in enumerate(events) if event in S3_CALLS]
    points = draw.sample(range(len(events) - 10), POINTS // 2) + draw.sample(calls[:-5], POINTS - POINTS // 2)
    rows = []
    for place, number in enumerate(points):
        state, step, seconds = kill_and_resume(remote, f"run-{place}", number, same_node)
        event = f"{events[number]} (went on from {step}, {seconds:.1f} s)"
        rows.append((number, event, steps_done(events[:number]), state == final_state(finished)))
    write_table(1, len(events), rows)
    assert [row for row in rows if not row[-1]] == []


# --- two trainers


def test_a_trainer_that_lost_the_run_commits_nothing_more_and_names_the_holder(remote: Remote, finished: Path) -> None:
    result = remote.train("run", mishap=("take over", 3))
    assert result["codes"] == [3], result["log"]
    assert f"{remote.uri('run')}: a later trainer took over (host {socket.gethostname()}, process " in result["log"]
    assert "generation 2 after our 1" in result["log"]
    assert [step.step for step in remote_steps(remote.storage("run")) if step.committed and step.step > 2] == []
    later = remote.train("run")
    assert later["codes"] == [0], later["log"]
    assert remote.final_state("run") == final_state(finished)
    remote.require_sound("run")


def test_a_trainer_that_is_overtaken_between_two_commits_leaves_the_run_as_the_later_one_made_it(
    remote: Remote, finished: Path
) -> None:
    """The later one starts, trains to the end and ends meanwhile."""
    result = remote.train("run", mishap=("another trainer", 3))
    assert result["codes"] == [3], result["log"]
    assert f"{remote.uri('run')}: a later trainer took over (host {socket.gethostname()}, process " in result["log"]
    assert "generation 2 after our 1" in result["log"]
    remote.require_sound("run")
    assert remote_steps(remote.storage("run"))[0].generation == 2
    starts = json.loads(remote.storage("run").read("run.json")[0])["starts"]
    assert [start["generation"] for start in starts] == [1, 2]
    assert remote.final_state("run") == final_state(finished)


@pytest.fixture(scope="module")
def second_zygote(tmp_path_factory: pytest.TempPathFactory) -> Any:
    yield from new_zygote(tmp_path_factory.mktemp("second"))


@pytest.mark.parametrize("same_node", [True, False])
def test_of_two_trainers_at_once_the_newer_wins_and_the_run_is_the_undisturbed_one(
    remote: Remote, second_zygote: Zygote, same_node: bool
) -> None:
    steps = ("--set", "training.steps=60", "--set", "training.checkpoint_every_steps=1")
    progress = remote.folder / "progress.json"
    remote.begin("run", *steps, env={"ABET_PROGRESS_FILE": str(progress)})
    wait_until(lambda: progress.exists() and json.loads(progress.read_text())["step"] >= 4)
    newer = replace(remote if same_node else elsewhere(remote), zygote=second_zygote)
    newer.begin("run", *steps)
    older = remote.zygote.end()
    ended = newer.zygote.end()
    assert older["codes"] == [3], older["log"]
    assert "a later trainer took over" in older["log"]
    assert str(remote.uri("run")) in older["log"]
    assert ended["codes"] == [0], ended["log"]
    remote.require_sound("run")
    local = remote.zygote.train(*remote.tiny.arguments("sixty", *steps))
    assert local["codes"] == [0], local["log"]
    assert remote.final_state("run") == final_state(remote.tiny.runs / "sixty")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- S3 goes away


def is_dead(remote: Remote) -> bool:
    pid = (remote.server.state / "pid").read_text().strip()
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False).stdout
    return not state.strip() or state.startswith("Z")


def test_a_server_that_is_killed_within_an_upload_and_started_again_costs_nothing(
    remote: Remote, finished: Path
) -> None:
    env = {"S3_PID_FILE": str(remote.server.state / "pid")}
    remote.begin("run", mishap=("kill S3", 3), env=env)
    wait_until(lambda: is_dead(remote))
    time.sleep(1)
    remote.server.start()
    result = remote.zygote.end()
    assert result["codes"] == [0], result["log"]
    assert steps_done(result["events"]) == 6
    assert remote.final_state("run") == final_state(finished)
    remote.require_sound("run")


def test_a_server_that_stays_away_ends_the_run_whose_state_is_safe_here(remote: Remote, finished: Path) -> None:
    impatient = replace(remote, patience_seconds=0)
    env = {"S3_PID_FILE": str(remote.server.state / "pid")}
    result = impatient.train("run", mishap=("kill S3", 3), env=env)
    assert result["codes"] == [1], result["log"]
    (left,) = impatient.work_folders("run")
    assert f"It is safe in {left} on {socket.gethostname()}: run the same command again" in result["log"]
    assert "Traceback" not in result["log"]
    remote.server.start()
    resumed = impatient.train("run")
    assert resumed["codes"] == [0], resumed["log"]
    assert first_step(resumed) == steps_done(result["events"])
    assert remote.final_state("run") == final_state(finished)
    remote.require_sound("run")


def test_a_trainer_that_lost_its_folder_says_so_though_s3_does_not_answer(remote: Remote) -> None:
    """Code 3, which no scheduler tries again, and not 1."""
    impatient = replace(remote, patience_seconds=0)
    env = {"S3_PID_FILE": str(remote.server.state / "pid")}
    result = impatient.train("run", mishap=("take over here, and kill S3", 1), env=env)
    remote.server.start()
    assert result["codes"] == [3], result["log"]
    assert "a later trainer took over" in result["log"]


def test_a_damaged_step_in_s3_is_passed_over_and_replaced(remote: Remote, finished: Path) -> None:
    remote.train("run", mishap=("SIGTERM", 5))
    newest = remote_steps(remote.storage("run"))[0]
    remote.storage("run").write(f"{newest.folder}/optimizer.safetensors", b"half", expect=None)
    resumed = elsewhere(remote).train("run")
    assert resumed["codes"] == [0], resumed["log"]
    assert f"passed over {newest.folder}: " in resumed["log"]
    assert first_step(resumed) == 4
    assert remote.final_state("run") == final_state(finished)
    remote.require_sound("run")


def test_a_run_none_of_whose_checkpoints_is_sound_is_no_fresh_start(remote: Remote) -> None:
    remote.train("run", mishap=("SIGTERM", 2))
    (step,) = remote_steps(remote.storage("run"))
    remote.storage("run").delete([f"{step.folder}/state.pt"])
    result = elsewhere(remote).train("run")
    assert result["codes"] == [3], result["log"]
    assert "none of its checkpoints can be resumed" in result["log"]
