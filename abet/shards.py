"""A shard's file: exact counts of its images, and the fingerprint that all shards of one evaluation share."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from abet.arrays import load_arrays, save_arrays
from abet.errors import DataError
from abet.files import write_bytes
from abet.metrics.pixel import PixelState
from abet.metrics.protocols import ProtocolState
from abet.metrics.reference import ReferenceState
from abet.scores import SCORES
from abet.version import __version__

FORMAT = 1
BINNED: Final = "plugins_with_reference"
"""In a file's header: which scores of plug-ins have the reference's bins; not there where there are no plug-ins."""
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
    """Device, instruction set, threads, torch version and bits (`abet.arithmetic`): how float32 sums are rounded."""
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
    write_bytes(path, shard_bytes(result))


def shard_bytes(result: ShardResult) -> bytes:
    """The content of a shard's file: an ``.npz`` archive, the same bytes for the same counts."""
    names = ("fingerprint", "shard", "images", "pixels", "missing")
    values = {name: getattr(result, name) for name in names}
    if plugins := result.fingerprint.get("plugins"):
        values[BINNED] = sorted(set(plugins) & set(result.reference))
    header = json.dumps(values).encode()
    arrays: dict[str, NDArray[Any]] = {"header": np.frombuffer(header, np.uint8)}
    for key, pixel in result.pixel.items():
        arrays |= {f"pixel.{key}.{name}": array for name, array in pixel.to_arrays().items()}
    for key, reference in result.reference.items():
        arrays |= {f"reference.{key}.{name}": array for name, array in reference.to_arrays().items()}
    for key, protocols in result.protocols.items():
        arrays |= {f"protocols.{key}.{name}": array for name, array in protocols.to_arrays().items()}
    content = io.BytesIO()
    save_arrays(content, arrays)
    return content.getvalue()


class ShardError(DataError):
    """A shard's file that cannot be added up; ``reason`` says why, without its name."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}; {self.remedy}")
        self.reason = reason

    remedy = ""


class DamagedShard(ShardError):  # noqa: N818
    """Not whole: half copied, or changed since it was written."""

    remedy = "`abet evaluate` with --only-missing evaluates that shard again"


class ForeignShard(ShardError):  # noqa: N818
    """Whole, but of something else than its place says, or of a version of abet that writes another format."""

    remedy = "it was copied here, or left by another evaluation; remove it and evaluate that shard again"


def read_shard(path: Path) -> ShardResult:
    """Read a shard.

    Raises:
        DamagedShard: some byte that matters is not the one that was written.
        ForeignShard: it is of another format.
        OSError: the file cannot be read, which says nothing of what it holds.
    """
    content = path.read_bytes()
    try:
        arrays = load_arrays(content)
        header = json.loads(arrays.pop("header").tobytes())
        binned = header.pop(BINNED, None)
        version = header["fingerprint"]["format"]
        if version == FORMAT:
            result = ShardResult(
                **header,
                pixel={key: PixelState.from_arrays(part) for key, part in _group(arrays, "pixel").items()},
                reference={key: ReferenceState.from_arrays(part) for key, part in _group(arrays, "reference").items()},
                protocols={key: ProtocolState.from_arrays(part) for key, part in _group(arrays, "protocols").items()},
            )
            _require_whole(result)
            _require_bins(result, binned)
            return result
        written_by = header["fingerprint"].get("abet")
    except MemoryError:  # of this machine
        raise
    except Exception as error:  # a damaged archive raises whatever its parsers raise: zlib, zip, json, numpy, ours
        raise DamagedShard(path, f"damaged shard ({error or type(error).__name__})") from None
    raise ForeignShard(path, f"shard of format {version} (abet {written_by}), not {FORMAT} (abet {__version__})")


def _require_whole(result: ShardResult) -> None:
    """Raises DataError unless every score is there and all have counted the same pixels.

    The checksums tell whether an array is as it was written; this, whether one is there at all.
    """
    scores = set(result.fingerprint["scores"]) - set(result.missing)
    counted = {key: (state.id_pixels, state.ood_pixels) for key, state in result.pixel.items()}
    wanted = (result.pixels["id"], result.pixels["ood"])
    if set(counted) != scores or set(counted.values()) - {wanted}:
        raise DataError("not all scores hold the same pixels")
    binned = [state.pixels for state in result.reference.values()]
    binned += [state.smiyc.pixels for state in result.protocols.values()]
    if set(binned) - {sum(wanted)}:
        raise DataError("not all protocols hold the same pixels")
    if set(result.protocols) != (scores if result.fingerprint.get("protocols") else set()):
        raise DataError("not all scores hold the protocols")


def _require_bins(result: ShardResult, binned: list[str] | None) -> None:
    """Raises DataError where a score is without the reference's bins.

    binned: those plug-ins' scores that have them; None in a file from before they were named. A score of ours has them
    where its row has a reference; the row of a plug-in's need not be installed here.
    """
    plugins, there = set(result.fingerprint.get("plugins") or {}), set(result.reference)
    ours = {key for key in set(result.fingerprint["scores"]) - set(result.missing) - plugins if key in SCORES}
    wanted = {key for key in ours if SCORES[key].reference is not None} | set(binned or ())
    if wanted - there or (binned is not None and plugins & there != set(binned)):
        raise DataError("not all scores hold the reference's bins")


def _group(arrays: Mapping[str, NDArray[Any]], kind: str) -> dict[str, dict[str, NDArray[Any]]]:
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        prefix, key, part = name.split(".", 2)
        if prefix == kind:
            groups.setdefault(key, {})[part] = array
    return groups
