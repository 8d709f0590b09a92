"""Copies on this machine's scratch disk of data sets that lie in S3, made once per node. No torch import.

    root = stage(parse_place("s3://data/road_anomaly"), site, what="road_anomaly")

All processes of a node come here: one copies, the others wait for it, and later starts only list the bucket.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from abet.errors import DataError, UsageError
from abet.files import TEMPORARY, read_json, write_json
from abet.places import Place, S3Uri
from abet.progress import note
from abet.site import SiteConfig
from abet.storage import Entry, LocalStorage, locked, open_storage
from abet.sync import sync
from abet.sync.plan import listing


def stage(place: Place, site: SiteConfig, *, what: str) -> Path:
    """The folder that holds what lies at ``place``: a path is returned as it is, S3 is copied below the site's scratch.

    The copy follows the bucket: what changed there is copied again, what was removed there is removed. ``what`` names
    it in messages.

    Raises:
        UsageError: there is nothing at the place, or too little room on the scratch disk.
        DataError: keys that cannot be files.
        AbetError: of the storage.
    """
    if isinstance(place, Path):
        return place
    folder = staged_folder(place, site)

    def say_wait() -> None:
        note(f"{what}: waiting for another process of this machine that copies {place} to {folder}")

    with locked(folder.parent / f".{folder.name}", on_wait=say_wait):
        _bring_up_to_date(place, folder, site, what)
    return folder


def staged_folder(place: S3Uri, site: SiteConfig) -> Path:
    """Where the copy of a place stands: apart for each place of each server."""
    digest = hashlib.sha256(f"{place} {site.s3.endpoint or ''}".encode()).hexdigest()[:12]
    return site.scratch_folder / "data" / f"{place.name}-{digest}"


def _bring_up_to_date(place: S3Uri, folder: Path, site: SiteConfig, what: str) -> None:
    source, target = open_storage(place, site.s3), LocalStorage(folder)
    marker = folder.parent / f".{folder.name}" / "complete.json"
    there = listing(source)
    if not there:
        raise UsageError(f"{what}: {place} holds no file; correct `data:` in the site file, or upload it: abet sync")
    wanted = _fingerprint(there.values())
    # also of the copy: scratch disks are swept by age, file by file
    if _marked(marker) == {"source": wanted, "copy": _fingerprint(listing(target).values())}:
        return
    marker.unlink(missing_ok=True)
    _sweep(folder)
    note(f"{what}: copying {place} to {folder}")
    sync(source, target, delete=True, remedy="free some space, or set `scratch:` in the site file to a larger disk")
    # what was listed before the copying: whatever changed since is found by the next start
    write_json(marker, {"source": wanted, "copy": _fingerprint(listing(target).values())})


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
