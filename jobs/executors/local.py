"""This machine: the jobs run one after the other, in the foreground, under the same supervisor."""

import os
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from abet.errors import UsageError
from abet.exits import DONE
from abet.site import SiteConfig
from jobs.cluster import Cluster
from jobs.executors.parameters import task_of
from jobs.records import Record, new_record, process_start
from jobs.runtime import bare_runner
from jobs.signals import listening
from jobs.spec import JobSpec
from jobs.supervisor import Outcome, Task, command_line, say, supervise

GPU_NODES = "nvidia[0-9]*"


def gpus_here() -> int:
    """GPUs of this machine, by their device nodes; no torch is needed to count them."""
    return len(list(Path("/dev").glob(GPU_NODES)))


@dataclass(frozen=True, kw_only=True)
class LocalExecutor:
    """Jobs on this machine."""

    site: SiteConfig

    def render(self, specs: Sequence[JobSpec]) -> str:
        """The commands that would run, in order."""
        lines = []
        for spec in specs:
            record = new_record(self.site.jobs, spec, "local")
            lines += [f"# --- {spec.name}"]
            lines += [shlex.join(command_line(task, _machine(record))) for task in self._tasks(record)]
        return "\n".join([*lines, ""])

    def submit(self, specs: Sequence[JobSpec]) -> int:
        """Run all jobs to their ends; stops at the first that does not succeed. Returns its exit code, or 0.

        Raises:
            UsageError: a job asks for more GPUs or nodes than this machine has; nothing is started.
        """
        for spec in specs:
            require_room(spec)
        for spec in specs:
            record = new_record(self.site.jobs, spec, "local")
            pid = os.getpid()
            record = record.update(pid=pid, pid_started=process_start(pid), host=socket.gethostname())
            print(f"abet job {record.job.id}: records and logs in {record.folder}", file=sys.stderr, flush=True)
            for task in self._tasks(record):
                outcome = _to_the_end(task, record)
                if outcome.code != DONE:
                    return outcome.code
        return DONE

    def _tasks(self, record: Record) -> Iterator[Task]:
        spec, runner = record.job.spec, bare_runner(sys.executable)
        words = (*runner.prefix, *runner.abet)
        if not spec.shards:
            yield task_of(spec, runner=words, record=str(record.folder), command=spec.command)
        for shard in spec.shards:
            folder = str(record.shard_folder(shard))
            yield task_of(spec, runner=words, record=folder, command=spec.for_shard(shard))


def _to_the_end(task: Task, record: Record) -> Outcome:
    machine = _machine(record)
    with listening() as received:
        while True:
            outcome = supervise(task, machine, received, copy_to=record.logs)
            say(outcome, machine)
            if not outcome.again:
                return outcome
            machine = replace(machine, restarts=machine.restarts + 1)


def _machine(record: Record) -> Cluster:
    return Cluster(job_id=record.job.id, node=socket.gethostname())


def require_room(spec: JobSpec) -> None:
    """Raises UsageError for a job that this machine cannot hold; says what would work instead."""
    there = gpus_here()
    if spec.nodes > 1 or spec.gpus_per_node > there:
        wanted = f"{spec.nodes} x {spec.gpus_per_node} GPUs" if spec.nodes > 1 else f"{spec.gpus_per_node} GPUs"
        fits = f"GPUS={min(there, spec.gpus_per_node)}" if there else "GPUS=0 for the CPU (very slow at full size)"
        # Every job but training is of one machine, and refuses to be told so
        one, some = ("NODES=1 ", "NODES= and GPUS= fit") if spec.kind == "train" else ("", "GPUS= fits")
        raise UsageError(
            f"{spec.name} asks for {wanted}; this machine has {there} and no scheduler: use ON=local {one}{fits}, "
            f"submit where sbatch is on PATH ({some} the job to the cluster), or look at it first with "
            "--dry-run (make: DRY_RUN=1)"
        )
