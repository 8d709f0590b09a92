"""What a node knows of the job it belongs to, from SLURM's environment. Standard library alone."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from abet.errors import AbetError

FIRST_PORT, PORTS = 20_000, 12_000
"""Rendezvous ports follow from the job's number: two jobs that share a node meet at different ones. Below what systems
hand out to outgoing connections."""
SLACK_SECONDS: Final = 60
"""SLURM sends the signal before the time limit up to a minute early."""

Run = Callable[[Sequence[str]], str]
"""Runs a command and returns its standard output."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """This node among those of the job."""

    job_id: str
    node: str
    node_rank: int = 0
    nodes: int = 1
    rendezvous: str = ""
    """HOST:PORT on node 0, for several nodes."""
    restarts: int = 0
    """How often the scheduler has started this job again."""
    requeues: bool = False
    """Whether there is a scheduler that starts a stopped job again."""
    end_time: float | None = None
    """When the time limit is reached, in seconds since the epoch."""
    preempted: bool = False
    """Whether somebody more important wants the node."""
    cancelled: bool = False
    """Whether somebody wants the job to end for good."""

    def at_time_limit(self, grace_seconds: int) -> bool:
        """Whether a stop signal now means the time limit, and not that somebody else needs the node."""
        return self.end_time is not None and time.time() >= self.end_time - grace_seconds - SLACK_SECONDS


def output_of(command: Sequence[str]) -> str:
    """Standard output of a command. Raises OSError or subprocess.SubprocessError."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def slurm_cluster(environment: Mapping[str, str] = os.environ, *, run: Run = output_of) -> Cluster:
    """This node as SLURM describes it; outside of a job, a node of its own."""
    nodes = int(environment.get("SLURM_JOB_NUM_NODES") or environment.get("SLURM_NNODES") or 1)
    end = environment.get("SLURM_JOB_END_TIME", "")
    job, restarts = _job_id(environment), int(environment.get("SLURM_RESTART_COUNT") or 0)
    return Cluster(
        job_id=job,
        node=environment.get("SLURMD_NODENAME") or os.uname().nodename,
        node_rank=int(environment.get("SLURM_NODEID") or 0),
        nodes=nodes,
        rendezvous=f"{_address_of_first(environment, run)}:{_port(job, restarts)}" if nodes > 1 else "",
        restarts=restarts,
        requeues=bool(environment.get("SLURM_JOB_ID")),
        end_time=float(end) if end.isdecimal() else None,
    )


def _job_id(environment: Mapping[str, str]) -> str:
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environment.get("SLURM_JOB_ID", "local")


def _port(job: str, restarts: int) -> int:
    """Another one at each start: what kept the last from meeting need not keep this one."""
    return FIRST_PORT + (sum(int(part) for part in job.split("_") if part.isdecimal()) + 101 * restarts) % PORTS


def _address_of_first(environment: Mapping[str, str], run: Run) -> str:
    """How other nodes reach node 0: its NodeAddr, which need not be its name.

    Raises:
        AbetError: the controller does not answer.
    """
    for pause in (1, 5, 15, None):
        try:
            name = run(["scontrol", "show", "hostnames", environment["SLURM_JOB_NODELIST"]]).split()[0]
            found = re.search(r"\bNodeAddr=(\S+)", run(["scontrol", "-o", "show", "node", name]))
            return found[1] if found else name
        except (OSError, subprocess.SubprocessError) as error:
            if pause is None:
                raise AbetError(f"scontrol does not say where node 0 is ({error}); submit the job again") from None
            time.sleep(pause)
    raise AssertionError


def asked(cluster: Cluster, *, run: Run = output_of) -> Cluster:
    """The same, by what the controller says now: limits change, and only it knows of a preemption.

    Where it does not answer, what was known at the start still counts.
    """
    if not cluster.requeues:
        return cluster
    try:
        line = run(["scontrol", "-o", "show", "job", cluster.job_id])
    except (OSError, subprocess.SubprocessError):
        return cluster
    told = dict(re.findall(r"\b(EndTime|PreemptTime|JobState)=(\S+)", line))
    with suppress(KeyError, ValueError):  # a job without a limit
        cluster = replace(cluster, end_time=datetime.fromisoformat(told["EndTime"]).timestamp())
    return replace(
        cluster,
        preempted=told.get("PreemptTime", "None") not in ("None", "Unknown"),
        cancelled="CANCELLED" in told.get("JobState", ""),
    )


def requeue_by_scontrol(cluster: Cluster) -> None:
    """Ask SLURM to start this job (or this task of its array) again."""
    subprocess.run(["scontrol", "requeue", cluster.job_id], check=True, timeout=60)
