"""A shard's file: exact counts of its images, and the fingerprint that all shards of one evaluation share."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from abet.errors import DataError
from abet.files import atomic_path
from abet.metrics.pixel import PixelState
from abet.metrics.protocols import ProtocolState
from abet.metrics.reference import ReferenceState
from abet.version import __version__

FORMAT = 1
USUAL: Final[Mapping[str, Any]] = {"ood_definition": None, "protocols": False, "fitted_sha256": None, "plugins": None}
"""What most evaluations have in common: a fingerprint does not name it, as those before there was a choice did not."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What must agree between the shards of one evaluation."""

    dataset: str
    split: str
    images: int
    list_sha256: str
    checkpoint_sha256: str
    num_classes: int
    scores: tuple[str, ...]
    shards: int
    arithmetic: str
    """Device, instruction set, threads and torch version: float32 sums are rounded in an order that these decide."""
    ood_definition: str | None = None
    """How the labels are read, where that is not the data set's default."""
    abet: str = __version__
    format: int = FORMAT
    protocols: bool = False
    """Whether the protocols that read each image by itself are counted too."""
    fitted_sha256: str | None = None
    """Of the fitted file, where a score that needs it is evaluated."""
    plugins: dict[str, str] | None = None
    """Score key -> name and version of the package that brings it, where there are such scores."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, tuples as lists; no word of a definition that is the default, nor of what is left out."""
        values = {**asdict(self), "scores": list(self.scores)}
        return {key: value for key, value in values.items() if key not in USUAL or USUAL[key] != value}


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What one shard adds to the evaluation: nothing is averaged."""

    fingerprint: dict[str, Any]
    shard: int
    """1-based."""
    images: int
    pixels: dict[str, int]
    """Pixels by ``id``, ``ood`` and ``void``."""
    missing: dict[str, str]
    """Score key -> why the head does not define it."""
    pixel: dict[str, PixelState]
    reference: dict[str, ReferenceState]
    protocols: dict[str, ProtocolState] = field(default_factory=dict)
    """Empty unless the evaluation counts them."""


def write_shard(path: Path, result: ShardResult) -> None:
    """Write a shard's counts; the file appears only when complete."""
    names = ("fingerprint", "shard", "images", "pixels", "missing")
    header = json.dumps({name: getattr(result, name) for name in names}).encode()
    arrays: dict[str, NDArray[Any]] = {"header": np.frombuffer(header, np.uint8)}
    for key, pixel in result.pixel.items():
        arrays |= {f"pixel.{key}.{name}": array for name, array in pixel.to_arrays().items()}
    for key, reference in result.reference.items():
        arrays |= {f"reference.{key}.{name}": array for name, array in reference.to_arrays().items()}
    for key, protocols in result.protocols.items():
        arrays |= {f"protocols.{key}.{name}": array for name, array in protocols.to_arrays().items()}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def read_shard(path: Path) -> ShardResult:
    """Read a shard. Raises DataError for a damaged one or one of another version."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        result = ShardResult(
            **json.loads(arrays.pop("header").tobytes()),
            pixel={key: PixelState.from_arrays(part) for key, part in _group(arrays, "pixel").items()},
            reference={key: ReferenceState.from_arrays(part) for key, part in _group(arrays, "reference").items()},
            protocols={key: ProtocolState.from_arrays(part) for key, part in _group(arrays, "protocols").items()},
        )
        version = result.fingerprint["format"]
    except Exception as error:  # a damaged archive raises whatever its parsers raise: zlib, zip, json, numpy, ours
        raise DataError(f"{path}: damaged shard ({error}); remove it and evaluate that shard again") from None
    if version != FORMAT:
        raise DataError(f"{path}: shard of format {version}, not {FORMAT}; remove it and evaluate that shard again")
    return result


def _group(arrays: Mapping[str, NDArray[Any]], kind: str) -> dict[str, dict[str, NDArray[Any]]]:
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        prefix, key, part = name.split(".", 2)
        if prefix == kind:
            groups.setdefault(key, {})[part] = array
    return groups
