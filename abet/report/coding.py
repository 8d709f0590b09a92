"""Sample files in fewer bytes: `pack` is what an evaluation stores of an image, `unpack` what the report reads.

The report shows many images, each small; 16 bits per score, most of them spent on the scores at the top, are more than
it can show. A map takes 1.7 bytes per pixel then, compressed, instead of 3.4 as float32.
"""

import io
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STEPS: Final = 256
"""Codes between two knots."""
PHOTO_QUALITY: Final = 90
"""Of the photograph's JPEG, 0..100."""

MINUS_INFINITY, FIRST, PLUS_INFINITY, NAN = 0, 1, 65534, 65535
_SHARES: Final = np.concatenate(
    [np.linspace(0, 0.9, 64)[:-1], np.linspace(0.9, 0.99, 97)[:-1], np.linspace(0.99, 1, 96)]
)
"""Quantiles at which the knots lie: most of them in the top tenth, where thresholds are."""

Arrays = dict[str, NDArray[Any]]


def encode(score: NDArray[np.float32]) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Codes (H, W) uint16 of raw scores, and the knots (n,) float32 that `decode` needs.

    Knots are quantiles of the finite scores; between two of them are 256 even steps, so an error is at most 1/512 of
    the distance of its knots. Codes keep the order of the scores; the smallest, the largest and every knot are exact.
    Infinities and NaN have codes of their own.
    """
    finite = np.isfinite(score)
    knots = np.unique(np.quantile(score[finite], _SHARES).astype(np.float32)) if finite.any() else np.zeros(1, "f4")
    places = np.interp(np.where(finite, score, 0), knots, STEPS * np.arange(knots.size))
    codes = (np.rint(places) + FIRST).astype(np.uint16)
    codes[np.isneginf(score)] = MINUS_INFINITY
    codes[np.isposinf(score)] = PLUS_INFINITY
    codes[np.isnan(score)] = NAN
    return codes, knots


def decode(codes: NDArray[np.uint16], knots: NDArray[np.float32]) -> NDArray[np.float32]:
    """Raw scores (H, W) of the codes by `encode`, within its error."""
    wide = codes.astype(np.float64) - FIRST
    score = np.interp(wide, STEPS * np.arange(knots.size), knots).astype(np.float32)
    score[codes == MINUS_INFINITY] = -np.inf
    score[codes == PLUS_INFINITY] = np.inf
    score[codes == NAN] = np.nan
    return score


def pack(sample: Arrays) -> Arrays:
    """A sample in fewer bytes: of each score ``codes_KEY`` (2, H, W), high and low bytes, and ``knots_KEY``."""
    packed: Arrays = {}
    for key, array in sample.items():
        if key == "image":
            buffer = io.BytesIO()
            Image.fromarray(array).save(buffer, format="JPEG", quality=PHOTO_QUALITY, subsampling=0)
            packed["photo"] = np.frombuffer(buffer.getvalue(), np.uint8)
        elif key.startswith("score_"):
            codes, knots = encode(array)
            name = key.removeprefix("score_")
            packed[f"codes_{name}"] = np.stack([codes >> 8, codes & 255]).astype(np.uint8)
            packed[f"knots_{name}"] = knots
        else:
            packed[key] = array
    return packed


def unpack(packed: Mapping[str, NDArray[Any]]) -> Arrays:
    """The sample of what `pack` made; one that was never packed stays as it is.

    Raises ValueError, KeyError or OSError for anything else.
    """
    sample: Arrays = {}
    for key, array in packed.items():
        if key == "photo":
            sample["image"] = np.asarray(Image.open(io.BytesIO(array.tobytes())).convert("RGB"))
        elif key.startswith("codes_"):
            name = key.removeprefix("codes_")
            high, low = array.astype(np.uint16)
            sample[f"score_{name}"] = decode((high << 8) | low, packed[f"knots_{name}"])
        elif not key.startswith("knots_"):
            sample[key] = array
    return sample
