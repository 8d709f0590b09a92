"""abet's own checkpoint: a folder with ``model.safetensors`` and, written last, ``manifest.json``.

The manifest names every file with its size and SHA-256, and holds the network's configuration and normalisation, so
that a checkpoint explains itself. A folder whose manifest is missing or does not verify is no checkpoint. What a
training run commits (`abet.training.commit`) is such a folder too, with further files that a resume needs.

    abet checkpoint ls weights/
"""

import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, field_validator

from abet.errors import CheckpointError, DataError, UsageError
from abet.files import flush, read_json, sha256_of, temporary_beside, write_json
from abet.model_config import ModelConfig
from abet.run import CHECKPOINTS, parse_step_name, step_name
from abet.settings import Strict
from abet.text import printable

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
MANIFEST = "manifest.json"
BEST = "best.json"
"""In a run's ``checkpoints/``: the step of the best mIoU."""
MAX_CLASSES = 256
"""Class maps are uint8."""

Contents = Literal["model", "trunk"]
Write = Callable[[Path], None]
"""Makes one file, under the path that it is given."""


class FileEntry(Strict):
    """One file that the manifest vouches for."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", description="plain file name, beside the manifest")
    bytes: int
    sha256: str


class Source(Strict):
    """The published file that a checkpoint was imported from."""

    file: str
    sha256: str
    layout: str
    initialised: tuple[str, ...] = Field(
        default=(), description="tensors that the source lacked or misshaped and --allow-partial let start afresh"
    )


class Normalisation(Strict):
    """Input scaling: (RGB / 255 - mean) / std, per channel; ImageNet's statistics as in the reference."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


class Manifest(Strict):
    """What a checkpoint folder says of itself."""

    abet_checkpoint: Literal[1] = 1
    contents: Contents = Field(description="model: evaluates; trunk: a start for training, without head")
    model: ModelConfig
    normalisation: Normalisation = Normalisation()
    source: Source | None = None
    step: int | None = Field(default=None, ge=0, description="optimiser steps done, of a training run's checkpoint")
    files: tuple[FileEntry, ...]

    @field_validator("files")
    @classmethod
    def _one_holds_the_weights(cls, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        if sum(entry.name == WEIGHTS for entry in files) != 1:
            raise ValueError(f"exactly one entry must be {WEIGHTS}")
        if len({entry.name for entry in files}) != len(files):
            raise ValueError("every file has one entry")
        return files

    @property
    def sha256(self) -> str:
        """Identity of the weights: the SHA-256 of ``model.safetensors``."""
        return next(entry.sha256 for entry in self.files if entry.name == WEIGHTS)


@dataclass(frozen=True)
class Weights:
    """Tensors in memory with what they mean: name -> tensor (float32, or int64 for BatchNorm's counters)."""

    contents: Contents
    model: ModelConfig
    tensors: "Mapping[str, torch.Tensor]"
    sha256: str
    normalisation: Normalisation = field(default_factory=Normalisation)
    source: Source | None = None


class Best(Strict):
    """The validation mIoU that no later one exceeded, and its step; as it stands in ``best.json``."""

    step: int = Field(ge=0)
    miou: float = Field(ge=0, le=1, allow_inf_nan=False)


def save(weights: Weights, output: Path) -> Manifest:
    """Write a checkpoint folder; it appears under its name only when complete. ``weights.sha256`` is not used.

    Raises:
        UsageError: ``output`` exists (a checkpoint is never overwritten).
        OSError: the disk is full; nothing is left behind.
    """
    if output.exists():
        raise UsageError(f"{output} exists already; a checkpoint is never overwritten: choose another --output")
    output.parent.mkdir(parents=True, exist_ok=True)

    def manifest(files: tuple[FileEntry, ...]) -> Manifest:
        return Manifest(
            contents=weights.contents,
            model=weights.model,
            normalisation=weights.normalisation,
            source=weights.source,
            files=files,
        )

    with staged(output) as staging:
        return write_into(staging, {WEIGHTS: lambda path: save_tensors(weights.tensors, path)}, manifest)


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A hidden folder beside ``output`` that gets its name when the block ends well and vanishes when it does not.

    Raises:
        OSError: naming ``output`` or a file in it, never the hidden folder.
    """
    staging = temporary_beside(output)
    try:
        staging.mkdir()
        yield staging
        flush_folder(staging)
        staging.rename(output)
    except OSError as error:
        error.filename = str(error.filename or output).replace(str(staging), str(output))
        if error.filename2:
            error.filename2 = str(error.filename2).replace(str(staging), str(output))
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    flush_folder(output.parent)


def write_into(
    folder: Path, files: Mapping[str, Write], manifest: Callable[[tuple[FileEntry, ...]], Manifest]
) -> Manifest:
    """Fill a folder: every file, on the disk before the next one; then the manifest that vouches for them."""
    entries = []
    for name, write in files.items():
        path = folder / name
        with naming(path):
            write(path)
            flush(path)
        entries.append(FileEntry(name=name, bytes=path.stat().st_size, sha256=sha256_of(path)))
    complete = manifest(tuple(entries))
    with naming(folder / MANIFEST):
        write_json(folder / MANIFEST, complete.model_dump(mode="json"))
    return complete


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError say the path; fsync's for one does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def flush_folder(folder: Path) -> None:
    """Wait until the folder's entries (what was made, renamed or removed in it) are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming(folder):
            os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that flushes no folders
            raise
    finally:
        os.close(descriptor)


def save_tensors(tensors: "Mapping[str, torch.Tensor]", path: Path) -> None:
    """Write a safetensors file with the permissions of any new file. Raises OSError, also for a full disk."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # safetensors leaves a private file; what we publish has the permissions of any new file here
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        # its writer reports a full disk as text; give it back the type that the command line knows
        full = "os error 28" in str(error) or "os error 27" in str(error) or "os error 122" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(path)) from None
    path.chmod(mode)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint folder. Raises CheckpointError when it is missing or not one of ours."""
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(
            f"{folder}: no checkpoint ({MANIFEST} is missing); `abet checkpoint import REF.pth --output DIR` makes one"
        )
    return parse_manifest(read_json(folder / MANIFEST), source=folder / MANIFEST)


def parse_manifest(values: Mapping[str, Any], *, source: object) -> Manifest:
    """The manifest that was read from ``source``. Raises CheckpointError when it is not one of ours."""
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = printable(".".join(str(part) for part in first["loc"]))
        raise CheckpointError(f"{source}: not a manifest of this version ({where}: {first['msg']})") from None


def verify(folder: Path, manifest: Manifest, *, only: Collection[str] | None = None) -> None:
    """Compare every file (or those of the names ``only``) with the manifest.

    Raises CheckpointError naming the first that differs.
    """
    for entry in manifest.files:
        if only is not None and entry.name not in only:
            continue
        path = folder / entry.name
        size = path.stat().st_size if path.is_file() else None
        if size != entry.bytes:
            found = "is missing" if size is None else f"holds {size} bytes"
            raise CheckpointError(f"{path} {found}; the manifest says {entry.bytes} bytes: copy the checkpoint again")
        if sha256_of(path) != entry.sha256:
            raise CheckpointError(f"{path} differs from the manifest's SHA-256: copy the checkpoint again")


def read(folder: Path) -> Weights:
    """Verify and read the weights of a checkpoint folder; what only a resume needs may be missing.

    Raises CheckpointError as `read_manifest` and `verify` do.
    """
    manifest = read_manifest(folder)
    verify(folder, manifest, only=(WEIGHTS,))
    return Weights(
        contents=manifest.contents,
        model=manifest.model,
        tensors=load_tensors(folder / WEIGHTS),
        sha256=manifest.sha256,
        normalisation=manifest.normalisation,
        source=manifest.source,
    )


def load_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """Name -> tensor of a safetensors file. Raises CheckpointError when it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: Any = load_file(path)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a safetensors file ({printable(str(error))})") from None
    return dict(tensors)


def step_folder(run: Path, step: int) -> Path:
    """Where a run directory keeps the checkpoint of ``step`` (of several the newest), or would keep it."""
    return step_folders(run).get(step, run / CHECKPOINTS / step_name(step))


def newest_generation(run: Path) -> int:
    """The highest one in the names of a run's steps; 0 where they have none, as in a run that began on a disk."""
    return max((name[0] for path in step_paths(run) if (name := parse_step_name(path.name))), default=0)


def step_paths(run: Path) -> list[Path]:
    """Every folder that is named like a run's checkpoint, verified or not, newest first."""
    folder = run / CHECKPOINTS
    paths = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    found = [(name, path) for path in paths if (name := parse_step_name(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def step_folders(run: Path) -> dict[int, Path]:
    """Step -> its newest folder, newest first, of everything that is named like a run's checkpoint, verified or not."""
    found: dict[int, Path] = {}
    for path in step_paths(run):
        name = parse_step_name(path.name)
        assert name is not None, path
        found.setdefault(name[1], path)
    return found


def resolve(path: Path) -> Path:
    """The checkpoint folder that ``path`` means: of a run directory its best step, else its newest; others themselves.

    Raises:
        CheckpointError: a run directory without a checkpoint, or whose ``best.json`` names none.
    """
    if (path / MANIFEST).exists() or not (path / CHECKPOINTS).is_dir():
        return path
    folders = step_folders(path)
    if (path / CHECKPOINTS / BEST).exists():
        best = read_best(path)
        if best is None or best.step not in folders:
            there = ", ".join(folder.name for folder in folders.values()) or "none"
            raise CheckpointError(
                f"{path / CHECKPOINTS / BEST}: names no checkpoint that is there; instead of the run directory, name "
                f"one of {path / CHECKPOINTS} yourself ({there})"
            )
        return folders[best.step]
    for folder in step_paths(path):
        try:
            verify(folder, read_manifest(folder), only=(WEIGHTS,))
        except DataError:
            continue
        return folder
    raise CheckpointError(f"{path}: no checkpoint in {CHECKPOINTS}/ yet; train until the first one is committed")


def read_best(run: Path) -> Best | None:
    """What ``best.json`` of a run directory says; None when it is missing or damaged."""
    try:
        return Best.model_validate(read_json(run / CHECKPOINTS / BEST))
    except (DataError, ValidationError):
        return None
