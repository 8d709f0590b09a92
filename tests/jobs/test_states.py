"""What SLURM says of jobs, read from the very text of squeue and sacct."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from jobs.executors.states import TaskState, UnansweredError, output_of, query

SACCT = """41|COMPLETED|0:0
42_0|FAILED|3:0
42_1|COMPLETED|0:0
42_[2-3]|PENDING|0:0
43|CANCELLED by 1000|0:15
44|TIMEOUT|0:0
45|PENDING|0:0
"""
SQUEUE = """42_2|RUNNING|None
42_3|PENDING|Resources
45|PENDING|Dependency
"""


def answers(sacct: str, squeue: str) -> tuple[list[Sequence[str]], object]:
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        asked.append(command)
        return {"sacct": sacct, "squeue": squeue}[command[0]]

    return asked, run


def test_the_living_and_the_ended() -> None:
    asked, run = answers(SACCT, SQUEUE)
    assert query(["41", "42", "43", "44", "45", "41"], run=run) == {  # type: ignore[arg-type]
        "41": {"": TaskState("COMPLETED", "0:0")},
        "42": {
            "0": TaskState("FAILED", "3:0"),
            "1": TaskState("COMPLETED", "0:0"),
            "2": TaskState("RUNNING", "", live=True),
            "3": TaskState("PENDING", "Resources", live=True),
        },
        "43": {"": TaskState("CANCELLED", "0:15")},
        "44": {"": TaskState("TIMEOUT", "0:0")},
        "45": {"": TaskState("PENDING", "Dependency", live=True)},
    }
    # One question each, whatever the number of jobs
    assert [command[0] for command in asked] == ["sacct", "squeue"]
    assert all("41,42,43,44,45" in command for command in asked)


def test_nobody_is_asked_about_nothing() -> None:
    asked, run = answers("", "")
    assert query([], run=run) == {}  # type: ignore[arg-type]
    assert asked == []


def test_a_site_without_accounting() -> None:
    def run(command: Sequence[str]) -> str:
        if command[0] == "sacct":
            raise UnansweredError("Slurm accounting storage is disabled")
        return SQUEUE

    assert query(["45"], run=run)["45"] == {"": TaskState("PENDING", "Dependency", live=True)}


def script(folder: Path, text: str) -> str:
    path = folder / "squeue"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_number_that_slurm_has_forgotten_is_no_trouble(tmp_path: Path) -> None:
    forgotten = script(tmp_path, "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert output_of([forgotten]) == ""


def test_a_controller_that_does_not_answer_is_said(tmp_path: Path) -> None:
    error = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    with pytest.raises(UnansweredError, match="Unable to contact slurm controller"):
        output_of([script(tmp_path, f"echo '{error}' >&2; exit 1")])
    with pytest.raises(UnansweredError, match="No such file"):
        output_of([str(tmp_path / "none")])
