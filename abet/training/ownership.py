"""Who may commit to a run directory: the trainer that started last, and nobody else.

    ownership = Ownership.take(run)
    with ownership.exclusive():  # raises LostOwnership when a later trainer took over
        ...

Each start raises ``generation`` in ``owner.json``; no clock and no lease decides anything. The lock is the kernel's
(flock), so that it ends with the process that holds it, however that ends.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from abet.checkpoint import flush_folder, naming
from abet.errors import CheckpointError, DataError
from abet.files import read_json, write_json
from abet.run import OWNER
from abet.settings import Strict

LOCK = ".owner.lock"


class LostOwnership(CheckpointError):  # noqa: N818
    """A later trainer owns the run directory: this one must stop and commit nothing."""


class Owner(Strict):
    """What ``owner.json`` says."""

    generation: int = Field(ge=1, description="how many trainers have started in this directory")
    host: str
    pid: int
    started: str = Field(description="UTC, for people: nothing is decided by it")


@dataclass(frozen=True)
class Ownership:
    """The right of one trainer to commit to ``run``."""

    run: Path
    owner: Owner

    @classmethod
    def take(cls, run: Path) -> "Ownership":
        """Become the owner of ``run`` (made if absent), ending the ownership of whoever has it now.

        Waits while another trainer is in the middle of a commit. Raises OSError where files cannot be locked.
        """
        run.mkdir(parents=True, exist_ok=True)
        with _locked(run):
            previous = _read(run)
            owner = Owner(
                generation=previous.generation + 1 if previous else 1,
                host=socket.gethostname(),
                pid=os.getpid(),
                started=datetime.now(UTC).isoformat(timespec="milliseconds"),
            )
            with naming(run / OWNER):
                write_json(run / OWNER, owner.model_dump())
            flush_folder(run)
        return cls(run, owner)

    def check(self) -> None:
        """Raise LostOwnership, naming the holder, when ``owner.json`` is another trainer's."""
        holder = _read(self.run)
        # Also one of a lower generation, after a damaged owner.json: whoever wrote last started last
        if holder is not None and holder != self.owner:
            raise LostOwnership(
                f"{self.run}: a later trainer took over (host {holder.host}, process {holder.pid}, started "
                f"{holder.started}, generation {holder.generation} after our {self.owner.generation}); this one "
                "committed nothing more. Follow that one, or stop it and start again"
            )

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep every other trainer from starting or committing in the block. Raises as `check`."""
        with _locked(self.run):
            self.check()
            yield


def _read(run: Path) -> Owner | None:
    """The owner of a run; None when there is none, or its file is damaged."""
    try:
        return Owner.model_validate(read_json(run / OWNER))
    except (DataError, ValidationError):
        return None


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    path = run / LOCK
    with path.open("ab") as file:
        with naming(path):
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # said aloud: a loader process forked meanwhile would keep it locked beyond our closing the file
            fcntl.flock(file, fcntl.LOCK_UN)
