"""Copies on this machine's scratch disk of data sets that lie in S3, made once per node. No torch import.

    root = stage(parse_place("s3://data/road_anomaly"), site, what="road_anomaly")

Each state of the bucket has a folder of its own, named after its listing, so that nobody changes what others read. One
process copies, the others wait for it, and later starts only list the bucket. What nobody reads any more is removed by
whoever copies next.
"""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Final

from abet.errors import DataError, UsageError
from abet.files import TEMPORARY, read_json, write_json
from abet.places import Place, S3Uri
from abet.progress import note
from abet.site import SiteConfig
from abet.storage import Entry, LocalStorage, Storage, locked, open_storage, version_of
from abet.sync import SourceChanged, sync
from abet.sync.manifest import Hashes, Journal, Records, read_manifest, write_manifest
from abet.sync.plan import identity, listing, stamp

LOOKS: Final = 3
"""How often a bucket is listed anew that others write to while it is copied."""
NAME: Final = re.compile(r"[0-9a-f]{16}")
"""Names of the folders that hold one state each."""

_reading: dict[Path, IO[bytes]] = {}
"""Folder -> the file whose lock keeps others from removing it; for the life of this process."""


def stage(place: Place, site: SiteConfig, *, what: str) -> Path:
    """The folder that holds what lies at ``place``: a path is returned as it is, S3 is copied below the site's scratch.

    The folder stays as it is for the life of this process. ``what`` names the data set in messages.

    Raises:
        UsageError: there is nothing at the place, or too little room on the scratch disk.
        DataError: keys that cannot be files.
        SourceChanged: others write to the place all the time.
        AbetError: of the storage.
    """
    if isinstance(place, Path):
        return place
    root = staged_root(place, site)

    def say_wait() -> None:
        note(f"{what}: waiting for another process of this machine that copies {place} to {root}")

    with locked(root, on_wait=say_wait):
        for look in range(1, LOOKS + 1):
            try:
                return _stage(place, root, site, what)
            except SourceChanged:
                if look == LOOKS:
                    raise
                note(f"{what}: {place} changes while it is copied; looking again")
    raise AssertionError


def staged_root(place: S3Uri, site: SiteConfig) -> Path:
    """Where the copies of a place stand: apart for each place of each server."""
    digest = hashlib.sha256(f"{place} {site.s3.endpoint or ''}".encode()).hexdigest()[:12]
    return site.scratch_folder / "data" / f"{place.name}-{digest}"


def keep_for_this_process(folder: Path) -> None:
    """See to it that a folder from `stage`, of this process or of one that lives, is not removed while we live."""
    if folder not in _reading:
        file = _readers(folder).open("ab")
        fcntl.flock(file, fcntl.LOCK_SH)
        _reading[folder] = file


def _readers(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.readers")


def _stage(place: S3Uri, root: Path, site: SiteConfig, what: str) -> Path:
    """With the root locked."""
    source = open_storage(place, site.s3)
    there = listing(source)
    if not there:
        raise UsageError(f"{what}: {place} holds no file; correct `data:` in the site file, or upload it: abet sync")
    wanted = _fingerprint(there.values())
    target = LocalStorage(root / wanted[:16])
    marker = root / f"{target.place.name}.json"
    # also of the copy: scratch disks are swept by age, file by file
    if _marked(marker) != {"source": wanted, "copy": _fingerprint(listing(target).values())}:
        marker.unlink(missing_ok=True)
        _sweep(target.place)
        _take_over(source, there, target)
        _remove_unread(source, target.place)
        note(f"{what}: copying {place} to {target.place}")
        remedy = "free some space, or set `scratch:` in the site file to a larger disk"
        sync(source, target, delete=True, remedy=remedy, entries=there)
        write_json(marker, {"source": wanted, "copy": _fingerprint(listing(target).values())})
    keep_for_this_process(target.place)
    return target.place


def _fingerprint(entries: Iterable[Entry]) -> str:
    lines = (f"{entry.name}\n{entry.bytes} {entry.version}\n" for entry in sorted(entries))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _marked(marker: Path) -> dict[str, str]:
    try:
        return read_json(marker)
    except DataError:  # none, or cut off
        return {}


def _sweep(folder: Path) -> None:
    """Remove what killed copies left half-written; we hold the lock, so nobody writes it now."""
    for path in folder.rglob(".*"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _others(folder: Path) -> list[Path]:
    return sorted(path for path in folder.parent.iterdir() if NAME.fullmatch(path.name) and path != folder)


def _take_over(source: Storage, there: Mapping[str, Entry], target: LocalStorage) -> None:
    """Give a new folder the files that other states of the place have in common with it, as links where that works."""
    (records, version), name = read_manifest(target), identity(source)
    taken: Records = {}
    for other in _others(target.place):
        for file, record in _known(source, other).items():
            wanted = file in there and record.source == stamp(name, there[file]) and file not in records
            if wanted and file not in taken and version_of(other / file) == record.version:
                taken[file] = record.model_copy(update={"version": _link(other / file, target.place / file)})
    if taken:
        write_manifest(target, records | taken, version)


def _known(source: Storage, folder: Path) -> Records:
    """What is said of the files of a copy, which may have been killed."""
    target = LocalStorage(folder)
    return read_manifest(target)[0] | Journal(identity(source), identity(target)).read()


def _link(path: Path, target: Path) -> str:
    """Returns the new name's version."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # of a start that was killed here
    try:
        target.hardlink_to(path)
    except OSError:  # a file system without hard links, or too many of them
        shutil.copyfile(path, target)
    return version_of(target)


def _remove_unread(source: Storage, folder: Path) -> None:
    """Remove the other states of the place, except those that a process reads."""
    for other in _others(folder):
        with _readers(other).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            (other.parent / f"{other.name}.json").unlink(missing_ok=True)
            Journal(identity(source), identity(LocalStorage(other))).clear()
            Hashes(Path(os.path.realpath(other))).forget()
            shutil.rmtree(other, ignore_errors=True)
            _readers(other).unlink(missing_ok=True)
