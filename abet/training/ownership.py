"""Who may commit to a run: the trainer that started last, and nobody else.

    ownership = Ownership.take(run)
    with ownership.exclusive():  # raises LostOwnership when a later trainer took over
        ...

Each start raises ``generation`` in ``owner.json``; no clock and no lease decides anything, so whoever is requeued is
never locked out by its own dead predecessor. In a folder the lock is the kernel's (flock), so that it ends with the
process that holds it, however that ends. S3 has no locks: there a write is made conditional on what was read.
"""

import fcntl
import hashlib
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from pydantic import Field, ValidationError

from abet.checkpoint import flush_folder, naming, newest_generation
from abet.errors import CheckpointError
from abet.files import write_json
from abet.places import Place
from abet.remote import remote_steps
from abet.run import OWNER
from abet.settings import Strict
from abet.storage import ABSENT, Conflict, NotFound, Storage, StorageRefused

LOCK: Final = ".owner.lock"
WRITES: Final = 10
"""So often a conditional write to S3 that somebody else was faster at is tried, with a short pause before each."""
LONGEST_PAUSE_SECONDS: Final = 0.2
POLL_SECONDS: Final = 0.1


class LostOwnership(CheckpointError):  # noqa: N818
    """A later trainer owns the run directory: this one must stop and commit nothing."""


class Owner(Strict):
    """What ``owner.json`` says."""

    generation: int = Field(ge=1, description="how many trainers have started in this directory")
    host: str
    pid: int
    started: str = Field(description="UTC, for people: nothing is decided by it")
    uncopied: tuple[str, ...] = Field(
        default=(), description="of a run in S3: names of the earlier trainers since which it has gained no checkpoint"
    )

    @property
    def name(self) -> str:
        """Tells this trainer from all others: also from those of a run that was removed and begun anew."""
        digest = hashlib.sha256(json.dumps(self.model_dump()).encode()).hexdigest()[:8]
        return f"g{self.generation:04d}-{digest}"

    @classmethod
    def after(cls, generation: int, uncopied: tuple[str, ...] = ()) -> "Owner":
        """This process, as the one that comes after ``generation``."""
        return cls(
            uncopied=uncopied,
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
    def take(cls, run: Path, *, patience_seconds: float | None = None) -> "Ownership":
        """Become the owner of ``run`` (made if absent), ending the ownership of whoever has it now.

        Waits while another trainer is in the middle of a commit, at most so long.

        Raises:
            TimeoutError: that one is still in it.
            OSError: files cannot be locked here.
        """
        run.mkdir(parents=True, exist_ok=True)
        with _locked(run, patience_seconds):
            previous = _read(run)
            # The names of the steps, too: the file may be damaged, or one that was brought back from an old copy
            owner = Owner.after(max(previous.generation if previous else 0, newest_generation(run)))
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

    @classmethod
    def take(cls, storage: Storage) -> "RemoteOwnership":
        """Become the owner of the run, ending the ownership of whoever has it now; decides by nothing that is older.

        Raises:
            StorageRefused: the server grants no conditional write, though nobody else is there.
        """
        for _ in range(WRITES):
            content, version = _read_remote(storage)
            owner = _successor(_parse(content), storage)
            try:
                storage.write(OWNER, json.dumps(owner.model_dump(), indent=1).encode() + b"\n", expect=version)
            except Conflict:  # another trainer has started since
                pause_before_next_try()
                continue
            return cls(storage, owner)
        raise refuses_conditions(storage, OWNER)

    def check(self) -> None:
        """Raise LostOwnership, naming the holder, when ``owner.json`` is another trainer's."""
        self.owner.require(_parse(_read_remote(self.storage)[0]), self.storage.place)


def _successor(previous: Owner | None, storage: Storage) -> Owner:
    """This process as the next owner of the run in ``storage``."""
    steps = remote_steps(storage)
    # The names of the steps, too: the file may be damaged, or one that was brought back from an old copy
    seen = max([step.generation for step in steps] + ([previous.generation] if previous else []), default=0)
    earlier = (*previous.uncopied, previous.name) if previous else ()
    newest = max((step.generation for step in steps if step.committed), default=0)
    return Owner.after(seen, tuple(name for name in earlier if generation_of(name) >= newest))


def generation_of(name: str) -> int:
    """Of an `Owner.name`."""
    return int(name[1:].partition("-")[0])


def pause_before_next_try() -> None:
    """Of a conditional write: short, and not the same for everybody."""
    time.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))


def refuses_conditions(storage: Storage, name: str) -> StorageRefused:
    """What is wrong with a server that says each time anew that a file is not what it had just said that it is."""
    return StorageRefused(
        f"{storage.place}/{name}: S3 refused {WRITES} writes on the condition that the file is what had just been read "
        "(If-Match): the server does not honour such conditions; `abet doctor` tries it: use a server that does"
    )


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
def _locked(run: Path, patience_seconds: float | None = None) -> Iterator[None]:
    """Raises TimeoutError, where patience has an end."""
    path = run / LOCK
    with path.open("ab") as file:
        with naming(path):
            _lock(file, patience_seconds)
        try:
            yield
        finally:
            # said aloud: a loader process forked meanwhile would keep it locked beyond our closing the file
            fcntl.flock(file, fcntl.LOCK_UN)


def _lock(file: IO[bytes], patience_seconds: float | None) -> None:
    if patience_seconds is None:
        fcntl.flock(file, fcntl.LOCK_EX)
        return
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"still locked after {patience_seconds:g} s") from None
        time.sleep(POLL_SECONDS)
