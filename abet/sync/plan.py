"""Which files a sync copies, keeps and deletes: decided from two listings, before anything is written."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from abet.errors import DataError
from abet.files import TEMPORARY
from abet.progress import progress
from abet.storage import Entry, S3Storage, Storage
from abet.storage.local import LOCK
from abet.sync.manifest import MANIFEST, Hashes, Record, Records
from abet.text import printable

THREADS = 8
NAME_BYTES = 229
"""Longest part of a name on disk: 255 bytes in most file systems, less what `abet.files.temporary_beside` adds."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two places of a sync."""

    storage: Storage
    entries: Mapping[str, Entry]
    records: Records
    """What its manifest, and for a target the journal, say of them."""
    hashes: Hashes | None
    """None in S3, where nothing can be hashed without fetching it."""

    @property
    def folder(self) -> Path | None:
        """The folder of a local place."""
        return self.storage.place if isinstance(self.storage.place, Path) else None

    def sha256(self, entry: Entry) -> str | None:
        """The file's SHA-256, if it is known or can be computed here."""
        record = self.records.get(entry.name)
        if record and record.version == entry.version and not (self.hashes and self.hashes.anew):
            return record.sha256
        return self.hashes.of(entry.name, entry.version) if self.hashes else None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done, by name."""

    copy: tuple[Entry, ...]
    keep: Records
    delete: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """How much is to be copied."""
        return sum(entry.bytes for entry in self.copy)


def identity(storage: Storage) -> str:
    """A place and the server that it is on: equal for all syncs from one source."""
    if isinstance(storage.place, Path):
        return os.path.realpath(storage.place)
    endpoint = storage.endpoint if isinstance(storage, S3Storage) else None
    return f"{storage.place} {endpoint or ''}"


def stamp(source: str, entry: Entry) -> str:
    """How a record names what it was copied from: a source's `identity`, shortened, and the version there."""
    return f"{hashlib.sha256(source.encode()).hexdigest()[:12]}:{entry.version}"


def listing(storage: Storage) -> dict[str, Entry]:
    """All files of a place but manifests, locks and what is half-written."""
    return {entry.name: entry for entry in storage.list() if not _is_ours(entry.name)}


def _is_ours(name: str) -> bool:
    last = name.rpartition("/")[2]
    return name == MANIFEST or last == LOCK or TEMPORARY.fullmatch(last) is not None


def make_plan(source: Side, target: Side, *, name: str, delete: bool) -> Plan:
    """Compare two places; ``name`` is the source's `identity`. Reads local files whose SHA-256 is not known."""
    keep, copy, unsure = {}, [], []
    for entry in source.entries.values():
        there = target.entries.get(entry.name)
        if there is None or there.bytes != entry.bytes:
            copy.append(entry)
        elif record := _unchanged(entry, there, source, target, name):
            keep[entry.name] = record
        else:
            unsure.append((entry, there))
    for entry, record in _compared(unsure, source, target, name):
        if record:
            keep[entry.name] = record
        else:
            copy.append(entry)
    gone = sorted(target.entries.keys() - source.entries.keys()) if delete else []
    return Plan(copy=tuple(sorted(copy)), keep=keep, delete=tuple(gone))


def _unchanged(entry: Entry, there: Entry, source: Side, target: Side, name: str) -> Record | None:
    """The record of a file that neither side has touched since it was copied."""
    record = target.records.get(entry.name)
    if record is None or record.version != there.version or record.source != stamp(name, entry):
        return None
    distrusted = any(side.hashes and side.hashes.anew for side in (source, target))
    return None if distrusted else record


def _compared(
    pairs: list[tuple[Entry, Entry]], source: Side, target: Side, name: str
) -> Iterator[tuple[Entry, Record | None]]:
    """Each pair's file with its record if the contents are known to be equal."""

    def compare(pair: tuple[Entry, Entry]) -> Record | None:
        entry, there = pair
        digest = target.sha256(there)
        if digest is None or digest != _source_sha256(entry, source, target, name):
            return None
        return Record(bytes=entry.bytes, sha256=digest, source=stamp(name, entry), version=there.version)

    if not pairs:
        return
    with ThreadPoolExecutor(THREADS) as pool, progress("comparing", len(pairs)) as advance:
        for (entry, _), record in zip(pairs, pool.map(compare, pairs), strict=True):
            advance(1)
            yield entry, record


def _source_sha256(entry: Entry, source: Side, target: Side, name: str) -> str | None:
    """Also in S3 it is known of what was copied from there before."""
    digest = source.sha256(entry)
    record = target.records.get(entry.name)
    return record.sha256 if digest is None and record and record.source == stamp(name, entry) else digest


def refuse_collisions(names: Iterable[str], others: Iterable[str], folder: Path) -> None:
    """Whether all files can be below one folder; ``others`` are there already.

    Raises:
        DataError: a name is a file as well as a folder, or too long for a disk.
    """
    files = set(names)
    taken = files.union(others)
    folders = {parent for name in taken for parent in _parents(name)}
    for name in sorted(files):
        if name in folders or not taken.isdisjoint(_parents(name)):
            raise DataError(
                f"'{printable(name)}' cannot be written below {folder}: one of the names around it is a file in one "
                "place and a folder in the other; remove one of them"
            )
        if any(len(part.encode()) > NAME_BYTES for part in name.split("/")):
            raise DataError(f"'{printable(name)}': a name of more than {NAME_BYTES} bytes does not go on a disk")


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
