"""Files to arrays: one decoder (Pillow) for every picture, one for every label, and no silent repair.

Pixels come out as they are stored: EXIF rotation is ignored (labels are not rotated), gamma chunks and colour
profiles too. Whatever cannot be read whole and exactly is a DataError; what is merely converted is noted.
"""

import io
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from abet.errors import DataError

ImageArray = NDArray[np.uint8]
"""(H, W, 3) uint8, channels R, G, B in 0..255."""
IndexArray = NDArray[np.uint8]
"""(H, W) uint8, one class index per pixel, as stored in the file."""

_NOT_PICTURES: Final = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""What Pillow recognises but does not decode itself: stubs, video, and formats handed to another program."""
_DEEP_MODES: Final = ("I", "F")
_CONVERTIBLE: Final = {
    "1": "one-bit",
    "L": "grey",
    "LA": "grey with alpha (alpha dropped)",
    "P": "palette",
    "PA": "palette with alpha (alpha dropped)",
    "RGBA": "RGBA (alpha dropped)",
    "RGBX": "RGBX",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
}
_EXIF_ORIENTATION: Final = 0x0112


class ImageNote(UserWarning):
    """An image that was used after a conversion; the text names the file, so Python shows it once per file."""


class Decoded(NamedTuple):
    """Pixels (H, W, 3) uint8 RGB, and what was converted on the way (each note names the file)."""

    pixels: ImageArray
    notes: tuple[str, ...]


def read_image(path: Path) -> ImageArray:
    """Read any picture as (H, W, 3) uint8 RGB; each conversion is warned about as an ImageNote.

    Raises:
        DataError: a file that is missing, empty, truncated, no image, or deeper than 8 bits per channel.
    """
    decoded = decode_image(path)
    for note in decoded.notes:
        warnings.warn(note, ImageNote, stacklevel=2)
    return decoded.pixels


def decode_image(path: Path) -> Decoded:
    """``read_image`` that returns its notes instead of warning: for threads, where warnings get lost."""
    image = _open(path, formats=_formats())
    if image.mode.startswith(_DEEP_MODES) or _cut_to_8_bits(image):
        raise _too_deep(path, image)
    if image.mode != "RGB" and image.mode not in _CONVERTIBLE:
        raise DataError(f"{path}: {image.mode} colours have no fixed meaning in RGB; save it as 8-bit RGB")
    with _decoding(path):
        rotated = image.format == "TIFF" and image.getexif().get(_EXIF_ORIENTATION, 1) != 1
        notes = tuple(f"{path}: {text}" for text in _conversions(image))
    if rotated:
        raise DataError(
            f"{path}: a TIFF with a rotation tag, which the decoder would apply; labels are not rotated. "
            f"Remove the tag: magick {_quoted(path)} -orient Undefined PNG24:OUT.png"
        )
    with _decoding(path):
        image.load()
        image.info.pop("transparency", None)  # alpha is dropped on purpose: no advice from Pillow about it
        return Decoded(np.array(image if image.mode == "RGB" else image.convert("RGB")), notes)


def read_label(path: Path) -> IndexArray:
    """Read a label PNG as (H, W) uint8 indices, exactly as stored.

    Palette entries are colours for the eye and never looked at: index 65 stays 65. Grey PNGs of 1, 2 or 4 bits are
    indices too, although decoders stretch them to 0..255.

    Raises:
        DataError: a file that is missing, empty, damaged, no PNG, of several channels, or holding values above 255.
    """
    image = _open(path, formats=("PNG",))
    if image.mode not in ("1", "L", "P", "I;16"):
        raise DataError(
            f"{path}: a label holds one index per pixel, this PNG is {image.mode}. Use the index file, not its colour "
            f'rendering; if all channels are equal, keep one: python -c "from PIL import Image; '
            f"Image.open({str(path)!r}).getchannel(0).save('OUT.png')\""
        )
    stretch = {"L;2": 85, "L;4": 17}.get(_raw_mode(image), 1)
    with _decoding(path):
        image.load()
        values = np.asarray(image)
    if values.dtype == np.uint16 and values.max(initial=0) > 255:
        many = int(np.count_nonzero(values > 255))
        raise DataError(
            f"{path}: a 16-bit label with values up to {values.max()} ({many} pixels above 255); indices are 0 to 255. "
            "Use the file of class indices, not of instances"
        )
    return values.astype(np.uint8) // np.uint8(stretch)


@cache
def image_suffixes() -> frozenset[str]:
    """Lower-case suffixes (".png", ".jpg", ...) of every picture format that the installed Pillow decodes."""
    formats = set(_formats())
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def is_image_name(name: str) -> bool:
    """Whether a file name is that of a picture; hidden files (``._x.png`` of macOS) never are."""
    return not name.startswith(".") and Path(name).suffix.lower() in image_suffixes()


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(sorted(name for name in Image.OPEN if name not in _NOT_PICTURES))


def _open(path: Path, *, formats: tuple[str, ...]) -> Image.Image:
    """Identify the file and, for PNG, verify every checksum: decoding alone lets flipped bits through."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: not readable: {error.strerror or error}") from None
    if not data:
        raise DataError(f"{path}: empty file (0 bytes); copy or unpack it again")
    with _decoding(path):
        image = Image.open(io.BytesIO(data), formats=formats)
        if image.format == "PNG":
            image.verify()  # ends the image's use: it is opened anew
            image = Image.open(io.BytesIO(data), formats=formats)
        return image


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Whatever a decoder raises over damaged bytes becomes a DataError that names the file."""
    try:
        yield
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image of a kind that is read here, or damaged; copy it again") from None
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path}: refused, too many pixels: {error} Road scenes have a few millions: is it the right file?"
        ) from None
    except Exception as error:  # decoders raise nearly anything: OSError, SyntaxError, ValueError, struct.error, ...
        raise DataError(f"{path}: damaged or truncated: {error}; copy or unpack it again") from error


def _arguments(image: Image.Image) -> tuple[Any, ...]:
    """What the decoder is told; before loading, since Pillow forgets it then. Empty where a format has none."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else ()
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _raw_mode(image: Image.Image) -> str:
    """How the pixels lie in the file, such as "L;2" or "RGB;16B"; the mode where the decoder does not say."""
    first = (*_arguments(image), None)[0]
    return first if isinstance(first, str) and ";" in first else image.mode


def _cut_to_8_bits(image: Image.Image) -> bool:
    """16-bit colour, of which Pillow would keep the upper half without a word (PNG, TIFF; PPM tells its maximum)."""
    arguments = _arguments(image)
    return ";16" in _raw_mode(image) or (
        image.format == "PPM" and isinstance(arguments[-1], int) and arguments[-1] > 255
    )


def _too_deep(path: Path, image: Image.Image) -> DataError:
    stored = _raw_mode(image)
    kind = "float" if image.mode == "F" else "32-bit" if image.mode == "I" and ";16" not in stored else "16-bit"
    return DataError(
        f"{path}: a {kind} image (mode {stored}); images have 8 bits per channel. "
        f"Convert it, choosing how to scale: magick {_quoted(path)} -depth 8 -type TrueColor PNG24:OUT.png"
    )


def _conversions(image: Image.Image) -> Iterator[str]:
    if image.mode != "RGB":
        yield f"{_CONVERTIBLE.get(image.mode, image.mode)} image, converted to RGB"
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        yield f"{frames} frames, only the first is read"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
