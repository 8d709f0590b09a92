"""A run killed anywhere and resumed ends in the same weights, bit by bit, as one that nobody touched.

Its crops, loss and learning rate change from epoch to epoch.
"""

import os
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import Tiny, Zygote, final_state

POINTS = 10


Whole = Callable[[int], tuple[list[str], dict[str, Any]]]


@pytest.fixture(scope="session")
def uninterrupted(zygote: Zygote, uniform: Tiny) -> Whole:
    """Number of processes -> the events of rank 0 and the final state of a run that nobody touched."""

    @cache
    def run(processes: int) -> tuple[list[str], dict[str, Any]]:
        name = f"whole-{processes}"
        arguments = uniform.arguments(name, "--set", f"batch.batch_per_gpu={4 // processes}")
        result = zygote.train(*arguments, processes=processes)
        assert result["codes"] == [0] * processes, result["log"]
        return result["events"], final_state(uniform.runs / name)

    return run


def kill_and_resume(zygote: Zygote, uniform: Tiny, processes: int, name: str, kill: tuple[int, int]) -> dict[str, Any]:
    arguments = uniform.arguments(name, "--set", f"batch.batch_per_gpu={4 // processes}")
    killed = zygote.train(*arguments, processes=processes, kill=kill)
    assert killed["codes"][kill[0]] == -9, killed["log"]
    assert 0 not in killed["codes"], killed["log"]
    assert -1 not in killed["codes"], f"a process outlived its peer: {killed['log']}"
    resumed = zygote.train(*arguments, processes=processes)
    assert resumed["codes"] == [0] * processes, resumed["log"]
    return final_state(uniform.runs / name)


def commits(events: list[str]) -> list[int]:
    """Events within a commit, from the first change of the disk to the last."""
    inside, found = False, []
    for number, event in enumerate(events):
        if event.startswith("commit "):
            inside = event == "commit begins"
        elif inside:
            found.append(number)
    return found


@pytest.mark.faults
def test_a_run_killed_between_steps_and_one_killed_within_a_commit_end_alike(
    zygote: Zygote, uniform: Tiny, uninterrupted: Whole
) -> None:
    events, wanted = uninterrupted(1)
    steps = [number for number, event in enumerate(events) if event == "step"]
    for number in (steps[3], commits(events)[len(commits(events)) // 2]):
        assert kill_and_resume(zygote, uniform, 1, f"killed-1-{number}", (0, number)) == wanted


@pytest.mark.faults
@pytest.mark.parametrize("processes", [1, 4])
def test_ten_random_kill_points_end_in_the_same_weights(
    zygote: Zygote, uniform: Tiny, uninterrupted: Whole, processes: int
) -> None:
    """Half of them anywhere in the life of rank 0, half within a commit."""
    events, wanted = uninterrupted(processes)
    draw = random.Random(processes)
    points = draw.sample(range(len(events)), POINTS // 2) + draw.sample(commits(events), POINTS - POINTS // 2)
    rows = []
    for place, number in enumerate(points):
        found = kill_and_resume(zygote, uniform, processes, f"random-{processes}-{place}", (0, number))
        rows.append((number, events[number], events[:number].count("step"), found == wanted))
    write_table(processes, len(events), rows)
    assert [row for row in rows if not row[-1]] == []


@pytest.mark.faults
def test_a_killed_rank_that_is_not_the_first_takes_the_others_down_and_the_run_goes_on(
    zygote: Zygote, uniform: Tiny, uninterrupted: Whole
) -> None:
    _, wanted = uninterrupted(4)
    assert kill_and_resume(zygote, uniform, 4, "rank-2", (2, 4)) == wanted


def write_table(processes: int, events: int, rows: list[tuple[int, str, int, bool]]) -> None:
    """Append to the file that ``ABET_FAULT_TABLE`` names, as Markdown."""
    if not os.environ.get("ABET_FAULT_TABLE"):
        return
    lines = [
        f"\n{processes} process(es), {events} events in the uninterrupted run\n",
        "| killed before event | which was | steps done | weights, momentum and best step after resuming |",
        "|---|---|---|---|",
        *(f"| {n} | {event} | {steps} | {'identical' if same else 'DIFFERENT'} |" for n, event, steps, same in rows),
    ]
    with Path(os.environ["ABET_FAULT_TABLE"]).open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
