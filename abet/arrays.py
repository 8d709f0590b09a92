"""Arrays by name in one file, as `numpy.savez_compressed` writes them, but quickly."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib.format import read_array
from numpy.typing import NDArray

LEVEL: Final = 1
"""Of zlib. A shard of 16 scores took 4 s, with NumPy's level of 6 15 s, and is 9% larger."""


def save_arrays(target: Path | IO[bytes], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an ``.npz`` archive for `numpy.load`: the same bytes for the same arrays in the same order.

    Raises:
        OSError: ``target`` cannot be written; what is there then is not whole (`abet.files.atomic_path`).
    """
    with zipfile.ZipFile(target, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy")  # of no date: that of writing would differ
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, LEVEL)


def load_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Every array of an ``.npz`` file. Members are read to their end, where alone their checksums are compared.

    Raises whatever the parsers of a damaged file raise. The archive's own list of members has no checksum: whether
    all arrays are there, the caller has to ask.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {
            name.removesuffix(".npy"): np.asarray(read_array(io.BytesIO(file.read(name)), allow_pickle=False))
            for name in file.namelist()
        }
