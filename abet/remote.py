"""Checkpoints that lie in S3: which there are, and verified copies of them on this machine. No torch import.

    path = local_checkpoint(parse_place("s3://models/finetune"), site)

A run in S3 looks like one on a disk, but the names of its steps end in the generation of the trainer that wrote them
(``checkpoints/step-00001234-g0003/``). Newer is what a later trainer wrote, then what has the higher step.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from abet.checkpoint import (
    BEST,
    MANIFEST,
    WEIGHTS,
    Best,
    FileEntry,
    Manifest,
    parse_manifest,
)
from abet.errors import CheckpointError, DataError
from abet.files import parse_json, sha256_of, write_bytes
from abet.names import PUBLISHED_SUFFIXES
from abet.places import Place, S3Uri
from abet.progress import note
from abet.run import CHECKPOINTS, parse_step_name
from abet.site import SiteConfig
from abet.storage import NotFound, Storage, locked, open_storage

COPIES = "checkpoints"
"""Below the site's scratch: one folder per checkpoint that was fetched, named by what its manifest says."""
LOOKS = 3
"""A trainer may remove an older step while it is fetched: so often we look anew."""


@dataclass(frozen=True, order=True)
class RemoteStep:
    """A folder of a run in S3 that is named like a checkpoint."""

    generation: int
    """0: the name has none, as in a run that was copied up from a disk."""
    step: int
    objects: tuple[str, ...]
    """Names of what is in it, relative to the run."""

    @property
    def folder(self) -> str:
        """Its name relative to the run: ``checkpoints/step-00001234-g0003``."""
        return self.objects[0].rpartition("/")[0]

    @property
    def committed(self) -> bool:
        """Whether a manifest vouches for it; whether that is true shows when it is fetched."""
        return f"{self.folder}/{MANIFEST}" in self.objects


def remote_steps(storage: Storage) -> list[RemoteStep]:
    """Everything in a run's ``checkpoints/`` that is named like a checkpoint, committed or not, newest first."""
    found: dict[tuple[int, int], list[str]] = {}
    for entry in storage.list(f"{CHECKPOINTS}/"):
        parts = entry.name.split("/")
        name = parse_step_name(parts[1]) if len(parts) == 3 else None
        if name is not None:
            found.setdefault(name, []).append(entry.name)
    return sorted((RemoteStep(*name, tuple(objects)) for name, objects in found.items()), reverse=True)


def local_checkpoint(place: Place, site: SiteConfig) -> Path:
    """A path that `abet.load` and its like take: ``place`` itself when it is one, else a copy of what is in S3.

    Of a run its best step, else the newest that verifies; else a checkpoint folder, or a published ``.pth``.

    Raises:
        CheckpointError: nothing of the kind is there, or it is damaged.
        StorageRefused, StorageUnavailable: S3 did not let us, or did not answer.
    """
    return fetch_checkpoint(place, site)[1] if isinstance(place, S3Uri) else place


def fetch_checkpoint(uri: S3Uri, site: SiteConfig) -> tuple[S3Uri, Path]:
    """What ``uri`` means (of a run, the step that was chosen) and the copy of it. Raises as `local_checkpoint`."""
    if uri.name.endswith(PUBLISHED_SUFFIXES):
        return uri, _fetch_file(uri, site)
    for look in range(1, LOOKS + 1):
        try:
            return _fetch_folder(uri, site)
        except NotFound as error:
            if look == LOOKS:
                raise CheckpointError(f"{error}: the checkpoint is incomplete; copy it again") from None
    raise AssertionError("unreachable")


def _fetch_folder(uri: S3Uri, site: SiteConfig) -> tuple[S3Uri, Path]:
    storage = open_storage(uri, site.s3)
    try:
        storage.read(MANIFEST)
    except NotFound:
        return _fetch_step_of_run(uri, storage, site)
    return uri, _fetch_copy(storage, "", site)


def _fetch_step_of_run(uri: S3Uri, storage: Storage, site: SiteConfig) -> tuple[S3Uri, Path]:
    steps = [step for step in remote_steps(storage) if step.committed]
    best = read_remote_best(storage)
    if best is not None:
        steps = [step for step in steps if step.step == best.step][:1] or _raise_no_best(uri, steps)
        return uri / steps[0].folder, _fetch_copy(storage, steps[0].folder, site)
    faults: list[DataError] = []
    for step in steps:
        try:
            found = uri / step.folder, _fetch_copy(storage, step.folder, site)
        except (NotFound, CheckpointError) as error:
            faults.append(error)
            continue
        for fault in faults:
            note(f"passed over {fault}")
        return found
    if faults:
        raise type(faults[0])("; ".join(map(str, faults)))
    raise CheckpointError(
        f"{uri}: no checkpoint there: neither one ({MANIFEST}) nor a run with one in {CHECKPOINTS}/; correct the "
        "place, or train until the first one is committed"
    )


def _raise_no_best(uri: S3Uri, steps: Sequence[RemoteStep]) -> list[RemoteStep]:
    there = ", ".join(step.folder.rpartition("/")[2] for step in steps) or "none"
    raise CheckpointError(
        f"{uri / CHECKPOINTS / BEST}: names no checkpoint that is there; instead of the run, name one of "
        f"{uri / CHECKPOINTS} yourself ({there})"
    )


def read_remote_best(storage: Storage) -> Best | None:
    """What ``best.json`` of a run says; None when there is none. Raises CheckpointError when it is damaged."""
    try:
        content, _ = storage.read(f"{CHECKPOINTS}/{BEST}")
    except NotFound:
        return None
    source = f"{storage.place}/{CHECKPOINTS}/{BEST}"
    try:
        return Best.model_validate(parse_json(content, source=source))
    except (DataError, ValidationError):
        raise CheckpointError(
            f"{source}: damaged; instead of the run, name one of its {CHECKPOINTS}/ yourself"
        ) from None


def _fetch_copy(storage: Storage, folder: str, site: SiteConfig) -> Path:
    """The copy of one checkpoint folder: the same manifest means the same files, so it is found again."""
    content, manifest = read_remote_manifest(storage, folder)
    place = storage.place / folder if folder else storage.place
    copy = site.scratch_folder / COPIES / f"{place.name[:100]}-{hashlib.sha256(content).hexdigest()[:16]}"
    with locked(copy):
        fetch_files(storage, folder, manifest.files, copy, only=(WEIGHTS,))
        write_bytes(copy / MANIFEST, content)
    return copy


def read_remote_manifest(storage: Storage, folder: str) -> tuple[bytes, Manifest]:
    """The manifest of a checkpoint in ``folder`` (empty: the storage's own place), as it stands there and parsed.

    Raises:
        NotFound: there is none.
        CheckpointError: it is damaged.
    """
    name = f"{folder}/{MANIFEST}" if folder else MANIFEST
    source = f"{storage.place}/{name}"
    content, _ = storage.read(name)
    try:
        return content, parse_manifest(parse_json(content, source=source), source=source)
    except DataError as error:
        raise CheckpointError(str(error)) from None


def fetch_files(
    storage: Storage,
    folder: str,
    files: Sequence[FileEntry],
    target: Path,
    *,
    only: Collection[str] | None = None,
) -> None:
    """Bring a checkpoint's files (or those of the names ``only``) to ``target``; what is there and right stays.

    Raises:
        NotFound: one is missing.
        CheckpointError: one is not what the manifest says.
    """
    for entry in files:
        if only is not None and entry.name not in only:
            continue
        path, name = target / entry.name, f"{folder}/{entry.name}" if folder else entry.name
        if not _is(path, entry):
            storage.download(name, path)
            if not _is(path, entry):
                found = path.stat().st_size
                path.unlink()
                raise CheckpointError(
                    f"{storage.place}/{name}: holds {found} bytes and not those that {MANIFEST} vouches for "
                    f"({entry.bytes} bytes, sha256 {entry.sha256[:12]}): copy the checkpoint again"
                )


def _is(path: Path, entry: FileEntry) -> bool:
    return path.is_file() and path.stat().st_size == entry.bytes and sha256_of(path) == entry.sha256


def _fetch_file(uri: S3Uri, site: SiteConfig) -> Path:
    """The copy of a published file: the same version means the same bytes."""
    storage = open_storage(uri.parent, site.s3)
    version = next((entry.version for entry in storage.list(uri.name) if entry.name == uri.name), None)
    if version is None:
        raise CheckpointError(f"{uri}: no such object; correct the place")
    key = hashlib.sha256(f"{site.s3.endpoint} {uri} {version}".encode()).hexdigest()[:16]
    copy = site.scratch_folder / COPIES / f"published-{key}"
    with locked(copy):
        if not (copy / uri.name).is_file():
            storage.download(uri.name, copy / uri.name)
    return copy / uri.name
