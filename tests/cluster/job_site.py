"""A user's site on the one-machine cluster: submits jobs, finds their processes, and reads what they leave."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from abet.places import parse_place
from abet.remote import remote_steps
from abet.site import S3Settings
from abet.storage import NotFound, Storage, open_storage
from jobs import attempts
from jobs.attempts import Attempt
from jobs.records import Record, find, records
from jobs.status import Status, statuses
from tests.slurm_cluster import SlurmCluster, until

ROOT = Path(__file__).parents[2]
START_SECONDS = 150
"""Two nodes of two processes each, on a machine with two cores and other work."""


@dataclass(frozen=True)
class JobSite:
    """``folder`` holds the site file and the job records; artifacts lie in ``bucket``."""

    slurm: SlurmCluster
    folder: Path
    bucket: str
    s3: S3Settings
    env: dict[str, str] = field(default_factory=dict)

    @property
    def artifacts(self) -> str:
        return f"s3://{self.bucket}/runs"

    def write(self, data: dict[str, str], **values: Any) -> "JobSite":
        """Write the site file, with data roots and whatever differs."""
        site = {
            "data": data,
            "artifacts": self.artifacts,
            "scratch": str(self.folder / "scratch"),
            "jobs": str(self.folder / "jobs"),
            "profile": "one-machine",
            "s3": self.s3.model_dump(exclude_none=True),
            **values,
        }
        (self.folder / "abet.site.yaml").write_text(yaml.safe_dump(site))
        return self

    def run(self, *command: object, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command from the checkout with this site."""
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=ROOT,
            env={**os.environ, **self.slurm.env, "ABET_SITE": str(self.folder / "abet.site.yaml"), **self.env},
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def submit(self, *words: object) -> list[Record]:
        """``python -m jobs submit WORDS``; the records of what was submitted."""
        before = {record.job.id for record in records(self.folder / "jobs")}
        self.run("-m", "jobs", "submit", *words, "--on", "slurm")
        return [record for record in records(self.folder / "jobs") if record.job.id not in before]

    def record(self, record: Record) -> Record:
        return find(self.folder / "jobs", record.job.id)

    def status(self, record: Record) -> Status:
        return statuses([self.record(record)])[0]

    def attempts(self, record: Record, shard: int | None = None) -> tuple[Attempt, ...]:
        return attempts.read(record.folder if shard is None else record.shard_folder(shard)).attempts

    def wait_step(self, record: Record, step: int) -> None:
        """Until a checkpoint of that step or a later one is safely kept."""
        until(
            lambda: (attempts.read_step(record.folder) or 0) >= step or self.status(record).ended,
            f"{record.job.id} keeps step {step}\n{self.log(record)}",
            seconds=START_SECONDS,
        )
        assert (attempts.read_step(record.folder) or 0) >= step, f"{self.status(record)}\n{self.log(record)}"

    def wait_end(self, record: Record, seconds: float = 2 * START_SECONDS) -> Status:
        """Until nothing more happens by itself."""
        try:
            until(lambda: self.status(record).ended, f"{record.job.id} ends", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.status(record)}\n{self.log(record)}") from None
        return self.status(record)

    def log(self, record: Record) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(record.logs.glob("*_log.*"))
        )

    def storage(self, run: str) -> Storage:
        return open_storage(parse_place(f"{self.artifacts}/{run}"), self.s3)

    def final(self, run: str) -> dict[str, Any]:
        """What a training run ended in: the newest step, SHA-256 of its files, and every validation."""
        storage = self.storage(run)
        newest = remote_steps(storage)[0]
        manifest = json.loads(storage.read(f"{newest.folder}/manifest.json")[0])
        files = {
            entry["name"]: entry["sha256"] for entry in manifest["files"] if entry["name"].endswith(".safetensors")
        }
        rows = [json.loads(line) for line in storage.read("metrics.jsonl")[0].splitlines()]
        miou = {row["step"]: row["miou"] for row in rows if row["kind"] == "validation"}
        return {"step": manifest["step"], "files": files, "validations": miou}

    def resumed_at(self, run: str) -> list[int]:
        """The step that each start of a run went on from, by the run's own account."""
        return [start["first_step"] for start in json.loads(self.storage(run).read("run.json")[0])["starts"]]

    def read(self, name: str) -> bytes | None:
        """An object below the artifacts."""
        try:
            return open_storage(parse_place(self.artifacts), self.s3).read(name)[0]
        except NotFound:
            return None


def processes(number: str) -> Iterator[tuple[int, dict[str, str], list[str]]]:
    """(pid, environment, arguments) of every process of a SLURM job on this machine."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            environment = dict(
                pair.partition("=")[::2]
                for pair in (entry / "environ").read_bytes().decode(errors="replace").split("\0")
            )
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except (OSError, ValueError):
            continue
        if number in (environment.get("SLURM_JOB_ID"), environment.get("SLURM_ARRAY_JOB_ID")):
            yield int(entry.name), environment, arguments


def ranks(number: str) -> dict[int, int]:
    """Rank -> pid of the training processes of a job (their loaders and launchers left out)."""
    found: dict[int, int] = {}
    for pid, environment, arguments in processes(number):
        if "RANK" in environment and "abet" in arguments and "train" in arguments and "launch" not in arguments:
            rank = int(environment["RANK"])
            found[rank] = min(pid, found.get(rank, pid))
    return found


def supervisors(number: str) -> dict[int, int]:
    """Node -> pid of the supervisors of a job."""
    return {
        int(environment["SLURM_NODEID"]): pid
        for pid, environment, arguments in processes(number)
        if "submitit.core._submit" in arguments and "SLURM_NODEID" in environment and arguments[0].endswith(_PYTHONS)
    }


_PYTHONS = ("python", "python3", "python3.11", "python3.12", "python3.13")


def note(
    table: list[str],
    site: JobSite,
    record: Record,
    fault: str,
    bits: str,
    *,
    seconds: float | None = None,
    repeated: int | None = None,
) -> None:
    """Add a row to the table of faults."""
    starts = site.attempts(record)
    codes = ", ".join(f"{start.code} ({start.cause})" if start.code is not None else "silent" for start in starts)
    steps = "-" if repeated is None else str(repeated)
    again = "-" if seconds is None else f"{seconds:.0f}"
    table.append(f"| {fault} | {site.status(record).state} | {codes} | {steps} | {again} | {bits} |")
