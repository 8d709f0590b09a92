"""Reading the reference implementations' ``.pth`` files: AbeT's, NVIDIA's plain networks, the ImageNet trunk.

Always with ``weights_only=True``: nothing in a file is executed. Beyond tensors the allow-list holds the one thing
that the reference also stored, a numpy float64 scalar (``mean_iu``), under the names of numpy 1 and numpy 2; the names
resolve to the two small functions below, not to numpy's own constructors.

    abet checkpoint import weights/cityscapes_best.pth --output weights/nvidia-cityscapes
"""

import fnmatch
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from abet.checkpoint import Contents, Source, Weights
from abet.config import ModelConfig, TemperatureModel
from abet.errors import CheckpointError
from abet.files import sha256_of

IMAGENET_ONLY = ("bn_out.", "classifier.")
"""What the ImageNet trunk file holds beyond mod1..mod7: the classification head, which segmentation does not use."""


@dataclass(frozen=True)
class ImportReport:
    """How a published file matched the network: names as in abet's checkpoints."""

    layout: str
    matched: int
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]


def _float64_dtype(code: str, *_: bool) -> "np.dtype[np.float64]":
    if code != "f8":
        raise pickle.UnpicklingError(f"numpy dtype {code!r} is not allowed; only float64 is")
    return np.dtype("f8", False, True)  # a copy: unpickling sets its byte order


def _float64_scalar(dtype: Any, raw: bytes) -> float:
    if not (isinstance(dtype, np.dtype) and dtype.kind == "f" and isinstance(raw, bytes) and len(raw) == 8):
        raise pickle.UnpicklingError("a numpy scalar that is not a float64 is not allowed")
    return float(struct.unpack(">d" if dtype.str.startswith(">") else "<d", raw)[0])


def _allowed() -> list[Any]:
    scalars = [(_float64_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*scalars, (_float64_dtype, "numpy.dtype"), np.dtypes.Float64DType]


def _unpickle(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; docs/weights.md says where each checkpoint is obtained")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path}: the file is empty; download it again (docs/weights.md lists the sizes)")
    try:
        with torch.serialization.safe_globals(_allowed()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickle protocols; what cannot be read raises
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, nothing was executed: {_first_sentence(error)}. Only tensors and one float64 are read; "
            "a file with anything else is damaged or not to be trusted"
        ) from None
    except (EOFError, RuntimeError, ValueError, KeyError, OSError, zipfile.BadZipFile, struct.error) as error:
        raise CheckpointError(
            f"{path}: not readable as a PyTorch checkpoint ({_first_sentence(error)}): truncated or of another kind; "
            "download it again and compare its size with docs/weights.md"
        ) from None


def _first_sentence(error: Exception) -> str:
    # torch's own text goes on to recommend weights_only=False, which must not reach a user as advice
    text = str(error).strip()
    for lead in ("WeightsUnpickler error: ", "Weights only load failed."):
        if lead in text:
            text = text.split(lead, 1)[1].strip() or text
    line = next((part.strip() for part in text.splitlines() if part.strip()), type(error).__name__)
    return line.split(". ")[0].rstrip(".")[:200]


def _state_dict(loaded: Any, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a bare or ``state_dict``-wrapped file, ``module.`` components removed wherever they stand."""
    inner = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(inner, Mapping) or not inner:
        raise CheckpointError(f"{path}: holds a {type(inner).__name__} where a mapping of names to tensors is expected")
    tensors: dict[str, torch.Tensor] = {}
    for key, value in inner.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise CheckpointError(
                f"{path}: entry {key!r} is a {type(value).__name__}; every entry must be a dense tensor"
            )
        name = ".".join(part for part in key.split(".") if part != "module")
        if name in tensors:
            raise CheckpointError(f"{path}: two entries are called {name!r} once `module.` is removed")
        tensors[name] = value.float() if value.is_floating_point() else value
    return tensors


def _recognise(tensors: Mapping[str, torch.Tensor], path: Path) -> tuple[str, Contents, TemperatureModel, int]:
    """(layout, contents, temperature model, classes) by the names that tell the published files apart."""
    if "h.h.weight" in tensors:
        classes = int(tensors["h.h.weight"].shape[0])
        if "h.h.bias" in tensors:
            return "AbeT, baseline head", "model", "baseline", classes
        return "AbeT, learned temperature", "model", "learned", classes
    if "final.6.weight" in tensors:
        return "NVIDIA plain network", "model", "none", int(tensors["final.6.weight"].shape[0])
    if "mod1.conv1.weight" in tensors and not any(name.startswith("aspp.") for name in tensors):
        return "ImageNet trunk", "trunk", "none", 1
    some = ", ".join(list(tensors)[:3])
    raise CheckpointError(
        f"{path}: none of the known layouts (AbeT, NVIDIA plain, ImageNet trunk); its first names are: {some}"
    )


def identify(path: Path) -> tuple[str, Contents, TemperatureModel, int]:
    """(layout, contents, temperature model, classes) of a published file. Raises as `read_published` does."""
    return _recognise(_state_dict(_unpickle(path), path), path)


def _is_allowed(name: str, allow_partial: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in allow_partial)


def _match(
    expected: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], layout: str
) -> tuple[dict[str, torch.Tensor], ImportReport]:
    matched = {name: tensors[name] for name, value in expected.items() if _fits(tensors.get(name), value)}
    absent = [name for name in expected if name not in tensors]
    # files older than BatchNorm's counter lack it, and evaluation never reads it
    counters = {name for name in absent if name.endswith(".num_batches_tracked")}
    misshapen = tuple(
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in tensors and name not in matched
    )
    report = ImportReport(
        layout=layout,
        matched=len(matched),
        unused=tuple(name for name in tensors if name not in expected),
        missing=tuple(name for name in absent if name not in counters),
        misshapen=misshapen,
    )
    return {**matched, **{name: expected[name] for name in counters}}, report


def _fits(found: torch.Tensor | None, wanted: torch.Tensor) -> bool:
    return found is not None and found.shape == wanted.shape and found.is_floating_point() == wanted.is_floating_point()


def _expected(contents: Contents, config: ModelConfig) -> dict[str, torch.Tensor]:
    """Initial values, by name, of everything that the checkpoint must hold; the same in every call."""
    from abet.models.build import build_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = build_model(config).state_dict()
    if contents == "model":
        return state
    return {name: value for name, value in state.items() if name.startswith("mod")}


def read_published(path: Path, *, base: ModelConfig, allow_partial: Sequence[str] = ()) -> tuple[Weights, ImportReport]:
    """Read a reference ``.pth`` into named float32 tensors that fit ``base``'s trunk with the head that the file holds.

    Args:
        path: the published file.
        base: widths and depths to expect (recipe ``wideresnet38`` for the published files); its head and class count
            give way to the file's.
        allow_partial: names or patterns (``temperature.*``) that may be missing or misshapen; those tensors get the
            network's seeded initial values, and the checkpoint records which.

    Raises:
        CheckpointError: unreadable, hostile, of an unknown layout, or anything else missing or misshapen.
    """
    tensors = _state_dict(_unpickle(path), path)
    layout, contents, head, classes = _recognise(tensors, path)
    config = base.model_copy(update={"temperature_model": head, "num_classes": classes})
    expected = _expected(contents, config)
    filled, report = _match(expected, tensors, layout)
    _require_complete(path, report, allow_partial)
    initialised = tuple(name for name in expected if name not in filled)
    source_sha256 = sha256_of(path)
    source = Source(file=path.name, sha256=source_sha256, layout=layout, initialised=initialised)
    complete = {name: filled.get(name, value) for name, value in expected.items()}
    return Weights(contents=contents, model=config, tensors=complete, sha256=source_sha256, source=source), report


def _require_complete(path: Path, report: ImportReport, allow_partial: Sequence[str]) -> None:
    missing = [name for name in report.missing if not _is_allowed(name, allow_partial)]
    misshapen = [text for text in report.misshapen if not _is_allowed(text.split(" ", 1)[0], allow_partial)]
    unknown = [name for name in report.unused if not name.startswith(IMAGENET_ONLY)]
    faults = [f"missing: {_some(missing)}"] * bool(missing) + [f"misshapen: {_some(misshapen)}"] * bool(misshapen)
    if faults:
        hint = f"; not used: {_some(unknown)}" if unknown else ""
        raise CheckpointError(
            f"{path}: {report.layout}, {report.matched} tensors match, but {'; '.join(faults)}{hint}. "
            "To start those from initial values, name each with --allow-partial NAME ('temperature.*' works too)"
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
