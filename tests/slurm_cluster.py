"""A real SLURM for tests: two nodes of eight pretended GPUs on this machine, started by the script that users use."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.s3_server import S3Server, free_ports, run_script

# What a job may not end up in once it has ended
UNFINISHED = frozenset({"PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "RESIZING", "CONFIGURING"})


def why_not() -> str | None:
    """Why SLURM cannot be had here; None where it can."""
    if os.getuid() != 0:
        return "SLURM's daemons need root"
    if not shutil.which("slurmctld") and not shutil.which("apt-get"):
        return "SLURM is not installed, and there is no apt-get to install it with"
    return None


def until(condition: Callable[[], bool], what: str, *, seconds: float) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)


class SlurmCluster:
    """SLURM and an S3 server, with their state in `root`, a folder with a short path.

    Attributes:
        s3: the S3 server.
        env: the variables with which SLURM's commands find this cluster.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "slurm"
        self.s3 = S3Server(root)
        self.port = free_ports(4)
        self.env = {"SLURM_CONF": str(self.state / "etc" / "slurm.conf")}

    def start(self) -> None:
        """Start what does not run, and wait until all nodes take jobs."""
        self._script("cluster-up.sh")

    def stop(self, *, purge: bool = False) -> None:
        """Cancel all jobs and end all daemons; with `purge` nothing remains."""
        self._script("cluster-down.sh", PURGE="1" if purge else "")

    def run(self, *command: object) -> str:
        """Run one of SLURM's commands; what it prints."""
        done = subprocess.run(
            list(map(str, command)), env=os.environ | self.env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def submit(self, commands: str, *options: object) -> str:
        """Submit bash commands with options of sbatch; the job's id."""
        return self.run("sbatch", "--parsable", *options, "--wrap", commands).strip()

    def job(self, job: str) -> dict[str, str]:
        """What the controller knows of a job: ``JobState``, ``Restarts``, ``Reason``..."""
        words = self.run("scontrol", "show", "job", "--oneliner", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def accounted(self, job: str) -> dict[str, str]:
        """Id -> state of a job, or of each task of an array, as accounting has it. An id that waits is ``1_[2-3]``."""
        table = self.run("sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State", "--jobs", job)
        return dict(line.split("|") for line in table.splitlines())

    def wait(self, job: str, *, tasks: int = 1, seconds: float = 60) -> dict[str, str]:
        """Wait until a job, or every one of the tasks of an array, has ended; what accounting says of it.

        Accounting follows by a second or two, meanwhile with one row for a whole array.
        """

        def ended() -> bool:
            if job in self.run("squeue", "--noheader", "--format=%F").split():
                return False
            states = self.accounted(job).values()
            return len(states) == tasks and not UNFINISHED.intersection(state.split()[0] for state in states)

        until(ended, f"job {job} ends", seconds=seconds)
        return self.accounted(job)

    def cancel_all(self) -> None:
        """Kill every job, with no time to save, and wait until the nodes are free."""

        def none_left() -> bool:
            self.run("scancel", "--quiet", "--state=PENDING")
            self.run("scancel", "--quiet", "--state=RUNNING", "--signal=KILL", "--full")
            self.run("scancel", "--quiet", "--state=RUNNING")
            return not self.run("squeue", "--noheader")

        until(none_left, "all jobs end", seconds=40)

    def _script(self, name: str, **env: str) -> None:
        run_script(name, ABET_CLUSTER_ROOT=self.root, ABET_S3_PORT=self.s3.port, ABET_SLURM_PORT=self.port, **env)
