"""What a place that was synchronised to knows of its files: their SHA-256, and the version that each was copied from.

The manifest is an object of the target, written last. Until then each file that is complete stands in a journal below
the user's cache folder, so that a sync that was killed goes on where it was.
"""

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from abet.files import write_bytes
from abet.progress import note
from abet.settings import Strict
from abet.storage import ABSENT, Conflict, NotFound, Storage

MANIFEST: Final = ".abet-manifest.json"
TRIES: Final = 10


class Record(Strict):
    """One file of a target."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"[0-9a-f]{64}")
    source: str = Field(description="where it was copied from, and the version that it had there")
    version: str = Field(description="the version of the copy; another one means that somebody else wrote it since")


Records = dict[str, Record]


class _Manifest(Strict):
    schema_: Literal[1] = Field(default=1, alias="schema")
    files: Records = Field(default_factory=dict)


def read_manifest(storage: Storage) -> tuple[Records, str]:
    """What the place's manifest says, and the manifest's version; nothing for one that is absent or damaged."""
    try:
        content, version = storage.read(MANIFEST)
    except NotFound:
        return {}, ABSENT
    try:
        return _Manifest.model_validate_json(content).files, version
    except ValidationError:
        note(f"{storage.place}: {MANIFEST} is damaged or of another version of abet; it is written anew")
        return {}, version


def write_manifest(storage: Storage, records: Records, version: str) -> None:
    """Replace the manifest. What another sync wrote meanwhile stays in it; a wrong record shows by its version.

    Raises:
        Conflict: others write it again and again.
    """
    for _ in range(TRIES):
        manifest = _Manifest(files=dict(sorted(records.items())))
        content = manifest.model_dump_json(by_alias=True, indent=1).encode() + b"\n"
        try:
            storage.write(MANIFEST, content, expect=version)
            return
        except Conflict:
            theirs, version = read_manifest(storage)
            records = theirs | records
    raise Conflict(f"{storage.place}: others write {MANIFEST} all the time; let one sync end, then run this one again")


def cache_folder() -> Path:
    """Where what can be computed again is kept: ``$XDG_CACHE_HOME/abet``, else ``~/.cache/abet``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(os.path.expanduser("~")) / ".cache") / "abet"  # noqa: PTH111


def cache_file(kind: str, *what: str) -> Path:
    """The cache's file about ``what`` on this machine: homes are shared by machines whose disks are not."""
    name = hashlib.sha256("\n".join((socket.gethostname(), *what)).encode()).hexdigest()[:32]
    return cache_folder() / kind / f"{name}.jsonl"


class Journal:
    """The files that a sync has completed since the last manifest, one line each. Losing it costs copies, no more."""

    def __init__(self, source: str, target: str) -> None:
        self._path = cache_file("sync", source, target)
        self._file: FileIO | None = None

    def read(self) -> Records:
        """What stands there; a line that was cut off is passed over."""
        found = {}
        with suppress(OSError):
            for line in self._path.read_bytes().splitlines():
                with suppress(ValueError, TypeError):
                    name, record = json.loads(line)
                    found[str(name)] = Record.model_validate(record)
        return found

    @contextmanager
    def open(self) -> Iterator[None]:
        """For the duration of `add`s; where the cache cannot be written, they do nothing."""
        with ExitStack() as stack:
            with suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = stack.enter_context(self._path.open("ab", buffering=0))
            yield
        self._file = None

    def add(self, name: str, record: Record) -> None:
        """One more file is complete; from any thread, each line is one write."""
        if file := self._file:
            with suppress(OSError, ValueError):  # closed: by a sync that is interrupted and waits no longer
                file.write(json.dumps([name, record.model_dump()]).encode() + b"\n")

    def clear(self) -> None:
        """The manifest knows it all now, or the target is gone."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


class Hashes:
    """SHA-256 of the files below a folder, remembered by their size, time and inode."""

    def __init__(self, folder: Path, *, anew: bool = False) -> None:
        self._folder = folder
        self.anew = anew
        self._path = cache_file("sha256", os.path.realpath(folder))
        self._known = {} if anew else self._load()
        self._changed = False

    def of(self, name: str, version: str) -> str:
        """The SHA-256 of a file that has the given version. Raises OSError when it cannot be read."""
        found = self._known.get(name)
        if found and found[0] == version:
            return found[1]
        with (self._folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.learn(name, version, digest)
        return digest

    def learn(self, name: str, version: str, digest: str) -> None:
        """Remember what is known already."""
        self._known[name] = (version, digest)
        self._changed = True

    def save(self) -> None:
        """Keep it for the next time; where the cache cannot be written, the next time takes longer."""
        if self._changed:
            lines = (json.dumps([name, *known]) for name, known in sorted(self._known.copy().items()))
            with suppress(OSError):
                write_bytes(self._path, "\n".join(lines).encode())

    def forget(self) -> None:
        """The folder is gone."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _load(self) -> dict[str, tuple[str, str]]:
        found = {}
        with suppress(OSError):
            for line in self._path.read_bytes().splitlines():
                with suppress(ValueError, TypeError):
                    name, version, digest = json.loads(line)
                    found[name] = (version, digest)
        return found
