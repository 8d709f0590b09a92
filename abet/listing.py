"""What checkpoints a folder holds, ours and published files alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from abet.checkpoint import MANIFEST, WEIGHTS, Manifest, read_manifest, resolve, verify
from abet.errors import DataError
from abet.names import PUBLISHED_SUFFIXES
from abet.places import S3Uri
from abet.remote import read_remote_manifest
from abet.site import SiteConfig
from abet.storage import Storage, open_storage


@dataclass(frozen=True)
class Listed:
    """One row of ``abet checkpoint ls``."""

    name: str
    kind: str
    """``model``, ``trunk``, ``published model``, ``published trunk``, or ``unreadable``."""
    head: str
    classes: int | None
    bytes: int
    sha256: str
    source: str
    """Where the weights came from, or why they cannot be used."""


def describe(path: Path, *, name: str | None = None, weights_alone: bool = False) -> Listed:
    """Identify and verify a checkpoint folder, a run's best step, or a published file.

    With ``weights_alone`` what only a resume needs may be missing, as in a copy from S3.

    Raises:
        CheckpointError: it is none of them.
    """
    label = name or path.name
    path = resolve(path)
    if not path.is_dir():
        return _describe_published(path, label)
    manifest = read_manifest(path)
    verify(path, manifest, only=(WEIGHTS,) if weights_alone else None)
    return _of_manifest(manifest, label)


def _of_manifest(manifest: Manifest, label: str) -> Listed:
    source = f"{manifest.source.layout} ({manifest.source.file})" if manifest.source else "abet"
    is_model = manifest.contents == "model"
    return Listed(
        name=label,
        kind=manifest.contents,
        head=manifest.model.temperature_model if is_model else "",
        classes=manifest.model.num_classes if is_model else None,
        bytes=sum(entry.bytes for entry in manifest.files),
        sha256=manifest.sha256,
        source=source,
    )


def _describe_published(path: Path, label: str) -> Listed:
    from abet.files import sha256_of
    from abet.published import identify

    layout, contents, head, classes = identify(path)
    is_model = contents == "model"
    return Listed(
        name=label,
        kind=f"published {contents}",
        head=head if is_model else "",
        classes=classes if is_model else None,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        source=layout,
    )


def list_checkpoints(folder: Path) -> list[Listed]:
    """Every checkpoint folder and published file below ``folder``, sorted by relative path; damaged ones say why.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; name one, or run where abet.site.yaml is found (docs/weights.md says what "
            "belongs there)"
        )
    found = {path.parent for path in folder.rglob(MANIFEST)}
    files = {path for path in folder.rglob("*") if path.is_file() and path.suffix in PUBLISHED_SUFFIXES}
    found |= {path for path in files if path.parent not in found}  # what a manifest vouches for is no file of its own
    return [_row(folder, path) for path in sorted(found) if not _hidden(path.relative_to(folder))]


def list_remote(place: S3Uri, site: SiteConfig) -> list[Listed]:
    """The same for a prefix in S3, of what the manifests say; sizes are compared, contents are not read.

    Raises:
        DataError: there is no checkpoint.
    """
    storage = open_storage(place, site.s3)
    sizes = {entry.name: entry.bytes for entry in storage.list()}
    folders = sorted(name.rpartition("/")[0] for name in sizes if name.rpartition("/")[2] == MANIFEST)
    files = sorted(
        name for name in sizes if name.endswith(PUBLISHED_SUFFIXES) and name.rpartition("/")[0] not in folders
    )
    if not folders and not files:
        raise DataError(f"{place}: no checkpoint below this prefix")
    rows = [_remote_row(storage, folder, sizes) for folder in folders]
    return rows + [Listed(name, "published file", "", None, sizes[name], "", "not read") for name in files]


def _remote_row(storage: Storage, folder: str, sizes: Mapping[str, int]) -> Listed:
    label = folder or storage.place.name
    try:
        _, manifest = read_remote_manifest(storage, folder)
    except DataError as error:
        return _unreadable(label, str(error))
    prefix = f"{folder}/" if folder else ""
    wrong = [entry.name for entry in manifest.files if sizes.get(prefix + entry.name) != entry.bytes]
    if wrong:
        return _unreadable(label, f"missing or of another size: {', '.join(wrong)}")
    return _of_manifest(manifest, label)


def _unreadable(name: str, reason: str) -> Listed:
    return Listed(name, "unreadable", "", None, 0, "", reason)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _row(folder: Path, path: Path) -> Listed:
    name = path.relative_to(folder).as_posix()
    try:
        return describe(path, name=name)
    except DataError as error:
        reason = str(error).removeprefix(f"{path}: ")
    except OSError as error:  # no permission, removed meanwhile
        reason = error.strerror or type(error).__name__
    return _unreadable(name, reason)
