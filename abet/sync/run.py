"""The sync itself: plan, copy in parallel, delete what was asked for, and write the manifest last."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import as_completed, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from abet.errors import AbetError, DataError, UsageError
from abet.files import sha256_of, temporary_beside
from abet.places import S3Uri
from abet.progress import progress
from abet.storage import Conflict, Entry, NotFound, Storage, version_of
from abet.storage.pool import DaemonPool
from abet.sync.manifest import Hashes, Journal, Record, Records, read_manifest, write_manifest
from abet.sync.plan import THREADS, Plan, Side, identity, listing, make_plan, refuse_collisions, stamp
from abet.text import printable

SMALL_BYTES = 2**20
LEAVING_SECONDS = 1.0
"""How long a sync that is interrupted waits for files that are almost complete."""


class SourceChanged(AbetError):  # noqa: N818
    """Somebody writes to what is being copied. Another try sees what is there then."""


@dataclass(frozen=True, kw_only=True)
class SyncReport:
    """What a sync did, or would do."""

    copied: tuple[str, ...]
    deleted: tuple[str, ...]
    kept: tuple[str, ...]
    bytes: int
    """Size of what was copied."""


def sync(
    source: Storage,
    target: Storage,
    *,
    delete: bool = False,
    dry_run: bool = False,
    checksum: bool = False,
    remedy: str = "free some space, or choose another target",
    entries: Mapping[str, Entry] | None = None,
) -> SyncReport:
    """Make ``target`` hold every file of ``source``.

    Args:
        delete: remove files of the target that the source does not have.
        dry_run: change neither place.
        checksum: hash all local files again, instead of trusting their sizes and times.
        remedy: what the error says when the disk is too small.
        entries: what the source holds, by name, where the caller has listed it: these versions are copied, or none.

    Raises:
        UsageError: one place lies in the other, or the source holds nothing.
        DataError: a name that leaves its root, or that cannot be a file; a file that arrived damaged.
        SourceChanged: a file of the source was changed or removed before it was copied.
        AbetError: of the storages.
    """
    _refuse_overlap(source, target)
    name = identity(source)
    journal = Journal(name, identity(target))
    one = _side(source, read_manifest(source)[0], anew=checksum, entries=entries)
    if not one.entries:
        raise UsageError(f"{source.place} holds no file: nothing to copy from there; is the place right?")
    records, version = read_manifest(target)
    two = _side(target, records | journal.read(), anew=checksum)
    if two.folder:
        refuse_collisions(one.entries, two.entries, two.folder)
    with ExitStack() as stack:
        for side in (one, two):
            if side.hashes:
                stack.callback(side.hashes.save)
        plan = make_plan(one, two, name=name, delete=delete)
        if not dry_run:
            _require_space(plan, two, remedy)
            kept = _left(two, plan) | plan.keep
            made = _copy_all(plan, one, two, name, journal)
            _delete_all(plan, target)
            if (complete := kept | made) != records:
                write_manifest(target, complete, version)
            journal.clear()
    return SyncReport(
        copied=tuple(entry.name for entry in plan.copy),
        deleted=plan.delete,
        kept=tuple(sorted(plan.keep)),
        bytes=plan.bytes,
    )


def _side(storage: Storage, records: Records, *, anew: bool, entries: Mapping[str, Entry] | None = None) -> Side:
    entries = listing(storage) if entries is None else entries
    hashes = Hashes(storage.place, anew=anew) if isinstance(storage.place, Path) else None
    return Side(storage=storage, entries=entries, records=records, hashes=hashes)


def _left(target: Side, plan: Plan) -> Records:
    """Records of files that only the target has."""
    touched = {entry.name for entry in plan.copy}.union(plan.delete)
    return {name: record for name, record in target.records.items() if name in target.entries and name not in touched}


def _refuse_overlap(source: Storage, target: Storage) -> None:
    one, two = source.place, target.place
    if isinstance(one, Path) and isinstance(two, Path):
        inner, outer = one.resolve(), two.resolve()
        overlap = inner.is_relative_to(outer) or outer.is_relative_to(inner)
    elif isinstance(one, S3Uri) and isinstance(two, S3Uri):
        a, b = f"{one}/", f"{two}/"
        overlap = a.startswith(b) or b.startswith(a)
    else:
        overlap = False
    if overlap:
        raise UsageError(f"{one} and {two} are the same place, or one lies in the other: choose another target")


def _require_space(plan: Plan, target: Side, remedy: str) -> None:
    if target.folder is None:
        return
    there = next(place for place in (target.folder, *target.folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if plan.bytes > free:
        raise UsageError(
            f"{target.folder}: {plan.bytes / 1e9:.1f} GB are to be copied there, {free / 1e9:.1f} GB are free; {remedy}"
        )


def _copy_all(plan: Plan, source: Side, target: Side, name: str, journal: Journal) -> Records:
    """Copy in parallel. After a failure no further file is begun; those that are complete stand in the journal."""
    if not plan.copy:
        return {}
    made, pool = {}, DaemonPool(THREADS, name="abet-sync")
    with journal.open(), progress("copying", len(plan.copy)) as advance:
        copy = _copier(source, target, name, journal)
        # large ones first: they are not what the end waits for
        ordered = sorted(plan.copy, key=lambda entry: -entry.bytes)
        futures = {pool.submit(partial(copy, entry)): entry for entry in ordered}
        done = 0
        try:
            for future in as_completed(futures):
                entry = futures[future]
                made[entry.name] = future.result()
                done += entry.bytes
                advance(1, f"{done / 1e9:.2f} of {plan.bytes / 1e9:.2f} GB")
        except BaseException as error:
            begun = [future for future in futures if not future.cancel()]
            if not isinstance(error, Exception):  # Ctrl-C: whoever asked for it does not want to wait
                source.storage.abandon()
                target.storage.abandon()
            wait(begun, None if isinstance(error, Exception) else LEAVING_SECONDS)
            raise
    return made


def _delete_all(plan: Plan, target: Storage) -> None:
    pool = DaemonPool(THREADS, name="abet-sync")
    futures = [pool.submit(partial(target.delete, [name])) for name in plan.delete]
    try:
        for future in futures:
            future.result()
    finally:
        for future in futures:
            future.cancel()


def _copier(source: Side, target: Side, name: str, journal: Journal) -> Callable[[Entry], Record]:
    """The function that copies one file, notes it in the journal and says what it copied."""
    way = _put if source.folder else _get if target.folder else _relay

    def copy(entry: Entry) -> Record:
        digest, version = way(source, target, entry)
        record = Record(bytes=entry.bytes, sha256=digest, source=stamp(name, entry), version=version)
        journal.add(entry.name, record)  # here: who waits for all files may come to it late
        return record

    return copy


def _put(source: Side, target: Side, entry: Entry) -> tuple[str, str]:
    """From a folder."""
    assert source.folder is not None
    path = source.folder / entry.name
    try:
        digest, version = _hashed_on_the_way(source, target, entry, path)
    except FileNotFoundError:
        if version_of(path) == entry.version:  # so it is the target's trouble
            raise
        raise _changed(source, entry) from None
    if version_of(path) != entry.version:
        raise _changed(source, entry)
    return digest, version


def _hashed_on_the_way(source: Side, target: Side, entry: Entry, path: Path) -> tuple[str, str]:
    """SHA-256 of a file, and the version that the target gives it."""
    if entry.bytes <= SMALL_BYTES:
        digest, version = source.sha256(entry), target.storage.upload(path, entry.name)
    else:
        hashed = DaemonPool(1, name="abet-sync-sha256").submit(partial(source.sha256, entry))
        version = target.storage.upload(path, entry.name)
        digest = hashed.result()
    assert digest is not None
    return digest, version


def _get(source: Side, target: Side, entry: Entry) -> tuple[str, str]:
    """From S3 to a folder: the file gets its name when it has arrived whole."""
    assert target.folder is not None
    assert target.hashes is not None
    path = target.folder / entry.name
    temporary = temporary_beside(path.with_name("sync"))  # short: the download adds to it what it adds to any name
    try:
        digest = _fetch(source, entry, temporary)
        version = version_of(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    target.hashes.learn(entry.name, version, digest)
    return digest, version


def _relay(source: Side, target: Side, entry: Entry) -> tuple[str, str]:
    """From S3 to S3, through a temporary file."""
    with tempfile.TemporaryDirectory(prefix="abet-sync-") as folder:
        path = Path(folder) / "file"
        digest = _fetch(source, entry, path)
        return digest, target.storage.upload(path, entry.name)


def _fetch(source: Side, entry: Entry, path: Path) -> str:
    """Download a file, check it, and return its SHA-256."""
    try:
        version = source.storage.download(entry.name, path)
    except (NotFound, Conflict):
        raise _changed(source, entry) from None
    if version != entry.version:
        raise _changed(source, entry)
    digest, expected = sha256_of(path), source.sha256(entry)
    if expected not in (None, digest):
        raise DataError(
            f"{source.storage.place}: '{printable(entry.name)}' has SHA-256 {digest}, but {expected} was stored there; "
            "the object is damaged: store it again"
        )
    return digest


def _changed(side: Side, entry: Entry) -> SourceChanged:
    return SourceChanged(
        f"{side.storage.place}: '{printable(entry.name)}' changed while it was copied; run the same command again when "
        "nobody writes there"
    )
