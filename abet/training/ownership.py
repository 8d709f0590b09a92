"""Who may commit to a run: the trainer that started last, and nobody else.

    ownership = Ownership.take(run)
    with ownership.exclusive():  # raises LostOwnership when a later trainer took over
        ...

Each start raises ``generation`` in ``owner.json``; no clock and no lease decides anything, so whoever is requeued is
never locked out by its own dead predecessor. In a folder the lock is the kernel's (flock), so that it ends with the
process that holds it, however that ends. S3 has no locks: there a write is made conditional on what was read.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from abet.checkpoint import flush_folder, naming
from abet.errors import CheckpointError
from abet.files import write_json
from abet.places import Place
from abet.remote import remote_steps
from abet.run import OWNER
from abet.settings import Strict
from abet.storage import ABSENT, Conflict, NotFound, Storage

LOCK = ".owner.lock"


class LostOwnership(CheckpointError):  # noqa: N818
    """A later trainer owns the run directory: this one must stop and commit nothing."""


class Owner(Strict):
    """What ``owner.json`` says."""

    generation: int = Field(ge=1, description="how many trainers have started in this directory")
    host: str
    pid: int
    started: str = Field(description="UTC, for people: nothing is decided by it")

    @classmethod
    def after(cls, generation: int) -> "Owner":
        """This process, as the one that comes after ``generation``."""
        return cls(
            generation=generation + 1,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def require(self, holder: "Owner | None", place: Place) -> None:
        """Raises LostOwnership unless ``holder``, what ``owner.json`` of ``place`` says now, is this one."""
        # Also one of a lower generation, after a damaged owner.json: whoever wrote last started last
        if holder is not None and holder != self:
            raise LostOwnership(
                f"{place}: a later trainer took over (host {holder.host}, process {holder.pid}, started "
                f"{holder.started}, generation {holder.generation} after our {self.generation}); this one committed "
                "nothing more. Follow that one, or stop it and start again"
            )


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
            owner = Owner.after(previous.generation if previous else 0)
            with naming(run / OWNER):
                write_json(run / OWNER, owner.model_dump())
            flush_folder(run)
        return cls(run, owner)

    def check(self) -> None:
        """Raise LostOwnership, naming the holder, when ``owner.json`` is another trainer's."""
        self.owner.require(_read(self.run), self.run)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep every other trainer from starting or committing in the block. Raises as `check`."""
        with _locked(self.run):
            self.check()
            yield


@dataclass(frozen=True)
class RemoteOwnership:
    """The right of one trainer to commit to the run in ``storage``."""

    storage: Storage
    owner: Owner
    predecessor: Owner | None
    """Whose ownership ended with the start of this one; None when nobody's did."""

    @classmethod
    def take(cls, storage: Storage) -> "RemoteOwnership":
        """Become the owner of the run, ending the ownership of whoever has it now; reads nothing else before that."""
        while True:  # ends: each turn more means that another trainer has started since the last
            content, version = _read_remote(storage)
            predecessor = _parse(content)
            # Without a legible owner the names of the steps tell which generations there were
            seen = (
                predecessor.generation if predecessor else max((s.generation for s in remote_steps(storage)), default=0)
            )
            owner = Owner.after(seen)
            try:
                storage.write(OWNER, json.dumps(owner.model_dump(), indent=1).encode() + b"\n", expect=version)
            except Conflict:
                continue
            return cls(storage, owner, predecessor)

    def check(self) -> None:
        """Raise LostOwnership, naming the holder, when ``owner.json`` is another trainer's."""
        self.owner.require(_parse(_read_remote(self.storage)[0]), self.storage.place)


def _read_remote(storage: Storage) -> tuple[bytes, str]:
    try:
        return storage.read(OWNER)
    except NotFound:
        return b"", ABSENT


def _parse(content: bytes) -> Owner | None:
    """None where there is no owner, or its file is damaged."""
    try:
        return Owner.model_validate_json(content)
    except ValidationError:
        return None


def _read(run: Path) -> Owner | None:
    """The owner of a run; None when there is none, or its file is damaged."""
    try:
        return _parse((run / OWNER).read_bytes())
    except FileNotFoundError:
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
