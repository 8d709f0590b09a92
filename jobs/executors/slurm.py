"""SLURM by submitit: one task per node, and the task is the supervisor."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from abet.errors import AbetError, UsageError
from abet.site import SiteConfig
from jobs.cluster import slurm_cluster
from jobs.executors.parameters import exported_names, submitit_parameters, task_of
from jobs.profile import ROOT, SlurmProfile
from jobs.records import Record, new_record, write
from jobs.runtime import runner_of
from jobs.signals import listening
from jobs.spec import JobSpec
from jobs.supervisor import Task, say, supervise

TIMEOUTS: Final = 10_000
"""submitit's own cap is out of the way: the supervisor tells timeouts from preemptions and knows when to give up."""


class Supervised(submitit.helpers.Checkpointable):
    """The task that submitit runs on each node; it can be started again as it is."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(self) -> None:
        """Supervise one attempt; ends the process with the job's exit code, or by submitit's way of starting again."""
        with listening() as received:  # first of all: until now signals are submitit's
            try:
                cluster = slurm_cluster()
                outcome = supervise(self.task, cluster, received)
            except AbetError as error:
                raise SystemExit(f"abet: error: {error}") from None  # prints it; exit code 1
            say(outcome, cluster)
        if outcome.again:
            # submitit requeues from its signal handler alone, which is back in place by now
            os.kill(os.getpid(), signal.SIGUSR2)
            time.sleep(60)  # the handler ends the process
        if outcome.code:
            sys.stdout.flush()
            raise SystemExit(outcome.code)


def host_python(profile: SlurmProfile) -> str | None:
    """Shell word of the Python that runs the task on a bare node; None: the one that submits."""
    return shlex.quote(str(Path(profile.host_python).expanduser())) if profile.host_python else None


class _Executor(submitit.SlurmExecutor):
    """Renders on machines without SLURM, too."""

    @classmethod
    def affinity(cls) -> int:
        return 2

    def script(self, tasks: int) -> str:
        """The batch script as it goes to sbatch."""
        if tasks > 1:
            self.parameters["map_count"] = tasks
        return self._make_submission_file_text(self._submitit_command_str, uid="")


@dataclass(frozen=True, kw_only=True)
class SlurmExecutor:
    """Jobs on the cluster of a profile."""

    site: SiteConfig
    profile: SlurmProfile

    def render(self, specs: Sequence[JobSpec]) -> str:
        """Exactly what would be submitted: the script of every job, and what its supervisors run."""
        parts = []
        for spec in specs:
            record = new_record(self.site.jobs, spec, "slurm")
            after = [f"<number of {name}>" for name in spec.after]
            tasks = self._tasks(record)
            script = self._executor(record, after).script(len(tasks))
            told = [f"# {line}" for task in tasks[:1] for line in json.dumps(asdict(task), indent=1).splitlines()]
            more = [f"# and {len(tasks) - 1} more, for the other shards"] if len(tasks) > 1 else []
            parts.append("\n".join([f"# --- {spec.name}: sbatch", script, "# the supervisor runs:", *told, *more, ""]))
        return "\n".join(parts)

    def submit(self, specs: Sequence[JobSpec]) -> list[Record]:
        """Hand all jobs over, in order; each waits for those of ``after``.

        Raises:
            UsageError: SLURM refuses one.

        Whatever ends it early (a refusal, a full disk, Ctrl-C), those before are cancelled again, so that nothing half
        submitted runs.
        """
        if not shutil.which("sbatch"):
            raise UsageError("sbatch is not on PATH: submit on a login node of the cluster, or use --on local")
        self._require_runner()
        done: dict[str, Record] = {}
        handed_over: list[str] = []
        for spec in specs:
            record = new_record(self.site.jobs, spec, "slurm")
            try:
                write(record)
                number = self._hand_over(record, [str(done[name].job.number) for name in spec.after])
                handed_over.append(number)
                done[spec.name] = record.update(number=number)
            except BaseException:
                _take_back(handed_over)
                shutil.rmtree(record.folder, ignore_errors=True)
                raise
        return list(done.values())

    def _hand_over(self, record: Record, after: Sequence[str]) -> str:
        executor = self._executor(record, [f"{number}" for number in after])
        try:
            jobs = executor.submit_array([Supervised(task) for task in self._tasks(record)])
        except (FailedJobError, FailedSubmissionError) as error:
            reason = str(error).strip().splitlines()
            said = next((line for line in reversed(reason) if "sbatch" in line or "error" in line.lower()), reason[-1])
            raise UsageError(
                f"SLURM refused {record.job.spec.name}: {said}; check partition, account and options in the profile"
            ) from None
        return str(jobs[0].job_id).partition("_")[0]

    def _executor(self, record: Record, after: Sequence[str]) -> _Executor:
        spec = record.job.spec
        executor = _Executor(record.logs, max_num_timeout=TIMEOUTS, python=host_python(self.profile))
        parameters = submitit_parameters(
            spec,
            self.profile,
            exported=exported_names(spec, self.profile),
            dependency=f"afterok:{':'.join(after)}" if after else None,
            parallel=max(1, len(spec.shards)),
        )
        executor.update_parameters(**parameters)
        return executor

    def _tasks(self, record: Record) -> list[Task]:
        spec = record.job.spec
        runner = runner_of(self.profile, spec, image=self.site.image, scratch=self.site.scratch_folder)
        words = (*runner.prefix, *runner.abet)
        if not spec.shards:
            return [task_of(spec, runner=words, record=str(record.folder), command=spec.command)]
        return [
            task_of(spec, runner=words, record=str(record.shard_folder(shard)), command=spec.for_shard(shard))
            for shard in spec.shards
        ]

    def _require_runner(self) -> None:
        python = ROOT / Path(self.profile.python).expanduser()
        if self.profile.container.runtime == "none" and not python.exists():
            raise UsageError(
                f"{python}: no such Python; jobs need the full install on the nodes: `make setup` in this checkout, or "
                "`python:` in the profile"
            )


def _take_back(numbers: Sequence[str]) -> None:
    """Cancel all of them; one that stays is said, and does not keep the others."""
    for number in numbers:
        try:
            cancel_number(number, now=True)
        except AbetError as error:
            print(f"abet: warning: SLURM job {number} is still there: {error}", file=sys.stderr, flush=True)


def cancel_number(number: str, *, now: bool) -> None:
    """End a job: at once, or politely (what runs saves first; what still waits is removed).

    Raises:
        AbetError: SLURM does not do it.
    """
    polite = [["scancel", "--state=PENDING", number], ["scancel", "--signal=TERM", number]]
    for order in [["scancel", number]] if now else polite:
        try:
            done = subprocess.run(order, check=False, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            raise AbetError(f"{order[0]} {number}: {error}; try again where SLURM answers") from None
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise AbetError(f"{' '.join(order)}: {said[-1]}; look at it by `python -m jobs status`, then try again")
