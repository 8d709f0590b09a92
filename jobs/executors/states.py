"""What SLURM says of jobs: squeue for those that live, sacct (where there is accounting) for those that ended."""

import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from abet.errors import AbetError

Run = Callable[[Sequence[str]], str]


@dataclass(frozen=True)
class TaskState:
    """One task of an array, or a whole job."""

    state: str
    """SLURM's word: PENDING, RUNNING, COMPLETED, ..."""
    reason: str = ""
    """Why it waits, or its exit code and signal."""
    live: bool = False


class UnansweredError(AbetError):
    """SLURM cannot be asked just now, or not from here."""


def output_of(command: Sequence[str]) -> str:
    """Standard output. Raises UnansweredError where the command is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise UnansweredError(f"{command[0]}: {error}") from None
    if done.returncode and "Invalid job id" not in done.stderr:  # squeue of a single number that it has forgotten
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UnansweredError(f"{command[0]}: {said[-1]}")
    return done.stdout


def query(numbers: Iterable[str], *, run: Run = output_of) -> dict[str, dict[str, TaskState]]:
    """Number -> task ("" for a job that is no array) -> its state; numbers that SLURM has forgotten are absent.

    Raises:
        UnansweredError: squeue does not answer.
    """
    wanted = ",".join(dict.fromkeys(numbers))
    found: dict[str, dict[str, TaskState]] = {}
    if not wanted:
        return found
    try:
        accounted = run(["sacct", "-n", "-P", "-X", "-j", wanted, "-o", "JobID,State,ExitCode"])
    except UnansweredError:  # a site without accounting
        accounted = ""
    for line in accounted.splitlines():
        job, state, code = [*line.split("|"), "", ""][:3]
        _note(found, job, TaskState(state.partition(" ")[0], code))
    for line in run(["squeue", "-h", "-r", "-j", wanted, "-o", "%i|%T|%r"]).splitlines():
        job, state, reason = [*line.split("|"), "", ""][:3]
        _note(found, job, TaskState(state, "" if reason == "None" else reason, live=True))
    return found


def _note(found: dict[str, dict[str, TaskState]], job: str, state: TaskState) -> None:
    number, _, task = job.partition("_")
    if not number.isdecimal() or re.search(r"[^0-9]", task):  # 12_[3-7]: squeue tells those one by one
        return
    found.setdefault(number, {})[task] = state
