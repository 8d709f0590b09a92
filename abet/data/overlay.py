"""Images that are published as what to add to another one, since that one may not be passed on.

Fishyscapes Static is Cityscapes with objects pasted in: ``NAME_rgb.npz`` holds an integer array ``rgb`` (H, W, 3), and
the image is the photograph plus it, cut to 0..255 (bdlb/fishyscapes/fishyscapes_tfds.py in the repository
hermannsblum/bdl-benchmark).
"""

from pathlib import Path
from typing import Final

import numpy as np

from abet.data.images import ImageArray
from abet.errors import DataError

KEY: Final = "rgb"
_HEADER_BYTES: Final = 1 << 12
"""Room for what an array's file says before its numbers."""


def add_overlay(photograph: ImageArray, path: Path) -> ImageArray:
    """The image (H, W, 3) uint8 that a photograph of that shape and an overlay make.

    Raises:
        DataError: an overlay that cannot be read, or holds something else than integers of that shape.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = file.zip.getinfo(f"{KEY}.npy").file_size
            if stored > 8 * photograph.size + _HEADER_BYTES:  # before it is unpacked
                raise DataError(f"{path}: {KEY!r} has {stored} bytes, too many for an image of {_size(photograph)}")
            overlay = file[KEY]
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except KeyError:
        raise DataError(f"{path}: holds no array {KEY!r}: is it an overlay of Fishyscapes Static?") from None
    except Exception as error:  # a damaged archive raises whatever its parsers raise
        raise DataError(f"{path}: damaged or truncated: {error}; copy or unpack it again") from None
    if overlay.dtype.kind not in "iu" or overlay.shape != photograph.shape:
        raise DataError(
            f"{path}: {KEY!r} is {overlay.dtype} of shape {overlay.shape}; integers of the photograph's shape "
            f"{photograph.shape} are needed"
        )
    total: ImageArray = np.clip(photograph.astype(np.int64) + overlay, 0, 255).astype(np.uint8)
    return total


def _size(photograph: ImageArray) -> str:
    return f"{photograph.shape[1]}x{photograph.shape[0]}"
