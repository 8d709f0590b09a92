"""abet's own checkpoint: a folder with ``model.safetensors`` and, written last, ``manifest.json``.

The manifest names every file with its size and SHA-256, and holds the network's configuration and normalisation, so
that a checkpoint explains itself. A folder whose manifest is missing or does not verify is no checkpoint.

    abet checkpoint ls weights/
"""

import errno
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, field_validator

from abet.config import ModelConfig
from abet.errors import CheckpointError, UsageError
from abet.files import flush, read_json, sha256_of, temporary_beside, write_json
from abet.settings import Strict
from abet.text import printable

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
MANIFEST = "manifest.json"
MAX_CLASSES = 256
"""Class maps are uint8."""

Contents = Literal["model", "trunk"]


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
    files: tuple[FileEntry, ...]

    @field_validator("files")
    @classmethod
    def _one_holds_the_weights(cls, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        if sum(entry.name == WEIGHTS for entry in files) != 1:
            raise ValueError(f"exactly one entry must be {WEIGHTS}")
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


def save(weights: Weights, output: Path) -> Manifest:
    """Write a checkpoint folder; it appears under its name only when complete. ``weights.sha256`` is not used.

    Raises:
        UsageError: ``output`` exists (a checkpoint is never overwritten).
        OSError: the disk is full; nothing is left behind.
    """
    if output.exists():
        raise UsageError(f"{output} exists already; a checkpoint is never overwritten: choose another --output")
    output.parent.mkdir(parents=True, exist_ok=True)
    staging = temporary_beside(output)
    staging.mkdir()
    try:
        _save_tensors(weights.tensors, staging / WEIGHTS)
        flush(staging / WEIGHTS)
        entry = FileEntry(name=WEIGHTS, bytes=(staging / WEIGHTS).stat().st_size, sha256=sha256_of(staging / WEIGHTS))
        manifest = Manifest(
            contents=weights.contents,
            model=weights.model,
            normalisation=weights.normalisation,
            source=weights.source,
            files=(entry,),
        )
        write_json(staging / MANIFEST, manifest.model_dump(mode="json"))
        staging.rename(output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def _save_tensors(tensors: "Mapping[str, torch.Tensor]", path: Path) -> None:
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
    try:
        return Manifest.model_validate(read_json(folder / MANIFEST))
    except ValidationError as error:
        first = error.errors()[0]
        where = printable(".".join(str(part) for part in first["loc"]))
        raise CheckpointError(
            f"{folder / MANIFEST}: not a manifest of this version ({where}: {first['msg']})"
        ) from None


def verify(folder: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest. Raises CheckpointError naming the first that differs."""
    for entry in manifest.files:
        path = folder / entry.name
        size = path.stat().st_size if path.is_file() else None
        if size != entry.bytes:
            found = "is missing" if size is None else f"holds {size} bytes"
            raise CheckpointError(f"{path} {found}; the manifest says {entry.bytes} bytes: copy the checkpoint again")
        if sha256_of(path) != entry.sha256:
            raise CheckpointError(f"{path} differs from the manifest's SHA-256: copy the checkpoint again")


def read(folder: Path) -> Weights:
    """Verify and read a checkpoint folder. Raises CheckpointError as `read_manifest` and `verify` do."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    manifest = read_manifest(folder)
    verify(folder, manifest)
    try:
        tensors: Any = load_file(folder / WEIGHTS)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{folder / WEIGHTS}: not a safetensors file ({printable(str(error))})") from None
    return Weights(
        contents=manifest.contents,
        model=manifest.model,
        tensors=tensors,
        sha256=manifest.sha256,
        normalisation=manifest.normalisation,
        source=manifest.source,
    )
