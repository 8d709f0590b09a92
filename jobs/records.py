"""What was submitted: a folder per job below ``jobs:`` of the site file.

``job.json`` (the description, where it went and under which number), ``logs/``, and the diary of `jobs.attempts`.
"""

import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from abet.errors import UsageError, unknown_name
from abet.files import read_json, write_json
from abet.settings import Strict
from jobs.spec import JobSpec

JOB_FILE: Final = "job.json"
LOGS: Final = "logs"
Where = Literal["local", "slurm", "kubernetes"]


class Submitted(Strict):
    """What ``job.json`` says."""

    id: str
    on: Where
    spec: JobSpec
    number: str | None = Field(
        default=None,
        description="what the scheduler calls it (on Kubernetes KIND/NAME); empty: not handed over yet",
    )
    context: str | None = Field(default=None, description="of kubectl, on Kubernetes; empty: it had none")
    namespace: str | None = Field(default=None, description="on Kubernetes; empty: that of the context")
    pid: int | None = Field(default=None, description="of a local job")
    pid_started: int | None = Field(default=None, description="its start, by `process_start`: pids are used again")
    host: str | None = None
    submitted: str


@dataclass(frozen=True)
class Record:
    """One job's folder."""

    folder: Path
    job: Submitted

    @property
    def logs(self) -> Path:
        """Where its output goes."""
        return self.folder / LOGS

    def diaries(self) -> list[Path]:
        """The folders with attempts: its own, or one for each shard."""
        return [self.shard_folder(shard) for shard in self.job.spec.shards] or [self.folder]

    def shard_folder(self, shard: int) -> Path:
        """Diary of one task of an array."""
        return self.folder / f"shard-{shard:03d}"

    def update(self, **changes: object) -> "Record":
        """The same with other values, written to its file."""
        return write(Record(self.folder, self.job.model_copy(update=changes)))


def new_record(jobs: Path, spec: JobSpec, on: Where) -> Record:
    """A record that is not written yet. Raises UsageError for a folder whose path a scheduler would not take."""
    if re.search(r"[%\\\n\r\0]", str(jobs)):
        raise UsageError(
            f"{str(jobs)!r}: schedulers expand % in paths, drop backslashes and end at line breaks; choose another "
            "`jobs:`"
        )
    now = datetime.now(UTC)
    job_id = f"{spec.name}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    submitted = Submitted(id=job_id, on=on, spec=spec, submitted=now.isoformat(timespec="microseconds"))
    return Record(jobs / job_id, submitted)


def write(record: Record) -> Record:
    """Write ``job.json``."""
    write_json(record.folder / JOB_FILE, record.job.model_dump(mode="json"))
    return record


def records(jobs: Path) -> list[Record]:
    """All that were submitted, oldest first; what is no record is left out."""
    found = []
    for path in jobs.glob(f"*/{JOB_FILE}"):
        try:
            found.append(Record(path.parent, Submitted.model_validate(read_json(path))))
        except (ValueError, ValidationError, OSError):
            continue
    return sorted(found, key=lambda record: (record.job.submitted, record.job.id))


def process_start(pid: int) -> int | None:
    """When a process of this machine was started, in clock ticks since the boot; None when there is none.

    Where /proc is not to be had, 0 for one that lives.
    """
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        if Path("/proc/self").exists():
            return None
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return 0


def find(jobs: Path, name: str) -> Record:
    """The record of a job by its id, its scheduler's number, or its name (the newest of that name).

    Raises:
        UsageError: there is none; says the nearest.
    """
    known = records(jobs)
    for key in ("id", "number"):
        if match := [record for record in known if getattr(record.job, key) == name]:
            return match[-1]
    if match := [record for record in known if record.job.spec.name == name]:
        return match[-1]
    if not known:
        raise UsageError(f"no job {name!r}: nothing was submitted from here yet (no record in {jobs})")
    raise unknown_name(kind=f"job (in {jobs})", name=name, choices=_newest_names(known))


def _newest_names(known: Sequence[Record]) -> list[str]:
    return [record.job.id for record in reversed(known)][:10]
