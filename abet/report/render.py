"""Maps into pictures, as plain arrays: shared by the report, the matrix figure and ``abet predict``.

Pictures are (H, W, 3) uint8 RGB. No function draws on or changes its arguments.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from abet.errors import DataError
from abet.files import atomic_path
from abet.labels import OOD, VOID, colour_table

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
ScoreMap = NDArray[np.floating[Any]]

COLOUR_MAP = "inferno"
"""Perceptually uniform and monotone in lightness: it reads the same in grey and without colour vision."""
NAN_COLOUR = (0, 255, 255)
"""Cyan, which the colour map does not contain."""

CODE_MINUS_INFINITY, CODE_FIRST, CODE_LAST, CODE_PLUS_INFINITY, CODE_NAN = 0, 1, 65533, 65534, 65535


def overlay_classes(image: Picture, prediction: NDArray[np.uint8], num_classes: int, opacity: float = 0.5) -> Picture:
    """The image blended with the display colour of each pixel's class.

    Args:
        image: (H, W, 3) uint8 RGB.
        prediction: (H, W) train ids, 0 <= id < num_classes.
        num_classes: chooses the colours, see `abet.labels.colour_table`.
        opacity: 0 shows the image alone, 1 the classes alone.

    Raises:
        DataError: a train id outside the classes, or maps of different size.
    """
    _same_size(image, prediction)
    highest = int(prediction.max(initial=0))
    if highest >= num_classes:
        raise DataError(f"prediction holds train id {highest}, but there are {num_classes} classes (0 the first)")
    colours = np.array(colour_table(num_classes), dtype=np.float32)
    return _to_uint8((1 - opacity) * image + opacity * colours[prediction])


def robust_range(score: ScoreMap) -> tuple[float, float]:
    """The 1st and 99th percentile of the finite scores: a colour range that outliers cannot flatten; else (0, 1)."""
    finite = score[np.isfinite(score)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, (1, 99))
    return float(low), float(high)


def heat_map(score: ScoreMap, low: float | None = None, high: float | None = None) -> Picture:
    """Scores (H, W) as colours from dark (``low`` and less) to bright (``high`` and more); NaN is cyan.

    The range is in raw score units; a bound that is not given comes from `robust_range`.
    """
    robust_low, robust_high = robust_range(score)
    low = robust_low if low is None else low
    high = robust_high if high is None else high
    span = high - low if high > low else 1.0
    level = np.clip((score.astype(np.float64) - low) * (255 / span), 0, 255)
    nan = np.isnan(level)
    level[nan] = 0
    picture: Picture = np.take(colour_ramp(), np.rint(level).astype(np.uint8), axis=0)
    picture[nan] = NAN_COLOUR
    return picture


def colour_ramp() -> Picture:
    """The 256 colours of the heat map, dark to bright, as (256, 3) uint8."""
    import matplotlib

    return _to_uint8(matplotlib.colormaps[COLOUR_MAP](np.arange(256))[:, :3] * 255)


def tint_label(image: Picture, label: NDArray[np.uint8]) -> Picture:
    """The image with OOD pixels shifted by (+0.2, -0.2, -0.2) on [0, 1] and void black (reference behaviour)."""
    _same_size(image, label)
    shift = np.array([0.2, -0.2, -0.2], dtype=np.float32) * 255
    tinted = np.where((label == OOD)[..., None], image + shift, image)
    return _to_uint8(np.where((label == VOID)[..., None], 0, tinted))


def above(score: ScoreMap, threshold: float) -> Mask:
    """(H, W) bool: which pixels reach the threshold. NaN does, since it ranks above every number."""
    return np.asarray(~(score < threshold))


def mask_picture(mask: Mask) -> NDArray[np.uint8]:
    """(H, W) uint8: 255 where the mask holds, else 0."""
    return np.where(mask, np.uint8(255), np.uint8(0))


def outline(picture: Picture, mask: Mask, colour: tuple[int, int, int] = (86, 180, 233)) -> Picture:
    """The picture with the rim of the mask drawn two pixels wide, half inside: visible without telling hues apart."""
    _same_size(picture, mask)
    rim = np.zeros_like(mask)
    for axis in (0, 1):
        before = [slice(None), slice(None)]
        after = [slice(None), slice(None)]
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        change = mask[tuple(before)] != mask[tuple(after)]
        rim[tuple(before)] |= change
        rim[tuple(after)] |= change
    drawn = picture.copy()
    drawn[rim] = colour
    return drawn


def encode_score_16bit(score: ScoreMap) -> tuple[NDArray[np.uint16], float, float]:
    """Scores as 16-bit codes: score = offset + scale * code, for codes 1..65533.

    The smallest finite score gets code 1 and the largest 65533, so the error is at most scale / 2, plus the rounding
    of this float64 arithmetic: below 2^-49 of the largest finite magnitude. A map of one finite value is exact. Codes
    0, 65534 and 65535 stand for -infinity, +infinity and NaN: the order of the codes is the order of the ranking, and
    a reader that ignores this sees an extreme score.

    Returns:
        (H, W) uint16 codes, scale > 0 and offset in raw score units.
    """
    wide = score.astype(np.float64)
    finite = np.isfinite(wide)
    low, high = (float(wide[finite].min()), float(wide[finite].max())) if finite.any() else (0.0, 0.0)
    # One value v everywhere: the scale |v| makes the offset 0 or 2 v, so that no rounding loses a huge v
    scale = (high - low) / (CODE_LAST - CODE_FIRST) or abs(low) or 1.0
    steps = np.clip(np.rint((np.where(finite, wide, low) - low) / scale), 0, CODE_LAST - CODE_FIRST)
    codes = (steps + CODE_FIRST).astype(np.uint16)
    codes[np.isneginf(wide)] = CODE_MINUS_INFINITY
    codes[np.isposinf(wide)] = CODE_PLUS_INFINITY
    codes[np.isnan(wide)] = CODE_NAN
    return codes, scale, low - scale * CODE_FIRST


def decode_score_16bit(codes: NDArray[np.uint16], scale: float, offset: float) -> NDArray[np.float32]:
    """The inverse of `encode_score_16bit`, within its error and the rounding to float32: (H, W) raw scores."""
    score = offset + scale * codes.astype(np.float64)
    score[codes == CODE_MINUS_INFINITY] = -np.inf
    score[codes == CODE_PLUS_INFINITY] = np.inf
    score[codes == CODE_NAN] = np.nan
    return score.astype(np.float32)


def write_score_png(path: Path, score: ScoreMap) -> tuple[float, float]:
    """Write a score map as a 16-bit grey PNG that explains itself; atomic. Returns its scale and offset.

    The text entries ``score_scale`` and ``score_offset`` hold the mapping of `encode_score_16bit` as decimal numbers,
    ``score_mapping`` says it in words. Read it back with `read_score_png`.
    """
    codes, scale, offset = encode_score_16bit(score)
    text = PngInfo()
    text.add_text("score_scale", repr(scale))
    text.add_text("score_offset", repr(offset))
    text.add_text(
        "score_mapping", "score = score_offset + score_scale * value; 0: -infinity, 65534: +infinity, 65535: NaN"
    )
    with atomic_path(path) as temporary:
        Image.fromarray(codes).save(temporary, format="PNG", pnginfo=text)
    return scale, offset


def read_score_png(path: Path) -> NDArray[np.float32]:
    """The (H, W) float32 raw scores of a file by `write_score_png`. Raises DataError for any other file."""
    try:
        with Image.open(path) as file:
            file.load()
            text = dict(getattr(file, "text", {}))
            codes = np.array(file)
        scale, offset = float(text["score_scale"]), float(text["score_offset"])
    except (OSError, UnidentifiedImageError, SyntaxError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a score map by `abet predict` ({error!r})") from None
    if codes.dtype.kind not in "ui" or codes.ndim != 2 or not (math.isfinite(scale) and math.isfinite(offset)):
        raise DataError(f"{path}: not a score map by `abet predict`: {codes.dtype} {codes.shape}, scale {scale}")
    return decode_score_16bit(codes.astype(np.uint16), scale, offset)


def write_png(path: Path, array: NDArray[np.uint8]) -> None:
    """Write (H, W) grey or (H, W, 3) RGB uint8 as PNG; atomic."""
    assert array.dtype == np.uint8, array.dtype
    with atomic_path(path) as temporary:
        Image.fromarray(array).save(temporary, format="PNG")


def _same_size(first: NDArray[Any], second: NDArray[Any]) -> None:
    if first.shape[:2] != second.shape[:2]:
        raise DataError(f"maps of one image differ in size: {first.shape[:2]} and {second.shape[:2]} (rows, columns)")


def _to_uint8(values: NDArray[Any]) -> Picture:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)
