"""Opening a ``.pth`` that nobody vouches for: its tensors by name, or a CheckpointError.

Always with ``weights_only=True``: nothing in a file is executed. Beyond tensors the allow-list holds the one thing
that the reference also stored, a numpy float64 scalar (``mean_iu``), under the names of numpy 1 and numpy 2; the names
resolve to the small class and function below, not to numpy's own constructors.

A file cannot make us take more memory than its own size either: a tensor may claim any shape by repeating one stored
element (stride 0), and a compressed archive may unpack to any size; both are refused before anything is copied.
"""

import math
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from abet.errors import CheckpointError
from abet.text import printable


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a bare or ``state_dict``-wrapped file, ``module.`` components removed wherever they stand.

    Every tensor is dense, on the CPU and no larger than what the file stores; types, strides and shared storages are
    still the file's.

    Raises:
        CheckpointError: missing, unreadable, hostile, or holding anything but named tensors.
    """
    loaded = _unpickle(path)
    # Methods of `dict` itself: an unpickled OrderedDict may carry attributes that hide its own
    inner = dict.get(loaded, "state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(inner, dict) or not inner:
        raise CheckpointError(f"{path}: holds a {type(inner).__name__} where a mapping of names to tensors is expected")
    size_bytes = path.stat().st_size
    tensors: dict[str, torch.Tensor] = {}
    for key, value in dict.items(inner):
        fault = _fault(value, size_bytes) if isinstance(key, str) else f"has a {type(key).__name__} for a name"
        if fault is not None:
            shown = f"'{printable(key)}'" if isinstance(key, str) else "without name"
            raise CheckpointError(f"{path}: entry {shown} {fault}; every entry must be a dense tensor with a name")
        name = ".".join(part for part in key.split(".") if part != "module")
        if name in tensors:
            raise CheckpointError(f"{path}: two entries are called '{printable(name)}' once `module.` is removed")
        tensors[name] = value
    return tensors


def _fault(value: Any, size_bytes: int) -> str | None:
    """Why ``value`` is not to be read as a tensor, or None. Looks at its description only, never at its elements."""
    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        return f"is a {type(value).__name__}"
    if value.layout != torch.strided or value.is_nested or value.is_quantized or value.device.type != "cpu":
        return f"is a {value.layout} tensor on {value.device}, nested or quantized"
    stored_bytes = value.untyped_storage().nbytes()
    # math.prod, because numel() may overflow
    if math.prod(value.shape) * value.itemsize > stored_bytes or stored_bytes > size_bytes:
        return f"claims the shape {printable(str(tuple(value.shape)))}, for which the file stores too little"
    return None


def _unpickle(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file or folder; docs/weights.md says where each checkpoint is obtained")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path}: the file is empty; download it again (docs/weights.md lists the sizes)")
    try:
        _require_uncompressed(path)
        with torch.serialization.safe_globals(_allowed()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickle protocols; what cannot be read raises
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, nothing was executed: {_first_sentence(error)}. Only tensors and one float64 are read; "
            "a file with anything else is damaged or not to be trusted"
        ) from None
    except MemoryError:
        raise CheckpointError(
            f"{path}: asks for more memory than there is: damaged, if its size differs from docs/weights.md; "
            "otherwise read it on a machine with more memory"
        ) from None
    except Exception as error:  # torch's unpickler meets a damaged file with whatever its Python code runs into
        raise CheckpointError(
            f"{path}: not readable as a PyTorch checkpoint ({_first_sentence(error)}): truncated or of another kind; "
            "download it again and compare its size with docs/weights.md"
        ) from None


def _require_uncompressed(path: Path) -> None:
    """torch stores without compression, so contents that exceed their archive were packed by someone else."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
        if unpacked_bytes > path.stat().st_size:
            raise ValueError(f"an archive that unpacks to {unpacked_bytes} bytes, more than its own size")


def _allowed() -> list[Any]:
    scalars = [(_float64_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*scalars, (_Float64, "numpy.dtype")]


class _Float64:
    """Stands in for ``numpy.dtype("f8")``, whose own ``__setstate__`` crashes the process on a damaged state."""

    byte_order = "<"

    def __init__(self, code: str, *_: bool) -> None:
        if code != "f8":
            raise pickle.UnpicklingError(f"numpy dtype {code!r} is not allowed; only float64 is")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.byte_order = ">" if state[1] == ">" else "<"


def _float64_scalar(dtype: Any, raw: bytes) -> float:
    if not (isinstance(dtype, _Float64) and isinstance(raw, bytes) and len(raw) == 8):
        raise pickle.UnpicklingError("a numpy scalar that is not a float64 is not allowed")
    return float(struct.unpack(dtype.byte_order + "d", raw)[0])


def _first_sentence(error: Exception) -> str:
    # torch's own text goes on to recommend weights_only=False, which must not reach a user as advice
    text = str(error).strip()
    for lead in ("WeightsUnpickler error: ", "Weights only load failed."):
        if lead in text:
            text = text.split(lead, 1)[1].strip() or text
    line = next((part.strip() for part in text.splitlines() if part.strip()), type(error).__name__)
    return printable(line.split(". ")[0].rstrip("."), limit=200)
