"""Colour jitter of a crop in float32, in place: no step rounds to whole grey levels. No torch import."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from abet.data.resize import Planes

Step = tuple[str, float]
"""A step of `NEUTRAL` by name, and its factor or, for the hue, its turns."""

NEUTRAL: Final[dict[str, float]] = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
"""Colour steps by the name that the configuration uses, with the amount that changes nothing."""
Levels = NDArray[np.int16]
"""Sixty-fourths of a grey level."""

LUMA: Final = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a grey level (ITU-R BT.601, as Pillow)."""
_PARTS: Final = np.float32(64)


def jittered(blocks: Iterable[Planes], steps: Sequence[Step], sample: Planes) -> Iterator[Planes]:
    """Apply ``steps`` one after another to an image that comes as (3, h, W) blocks of rows, changed in place.

    Contrast refers to the mean grey level after the steps before it. It is that of ``sample``, (3, h, W) pixels that
    stand for all of the image; they are changed too. So a block is ready while it is in the processor's cache.
    """
    steps = [(name, amount) for name, amount in steps if amount != NEUTRAL[name]]
    names = [name for name, _ in steps]
    mean = 0.0
    if "contrast" in names:
        _change(sample, steps[: names.index("contrast")], mean)
        mean = sum(share * float(plane.mean()) for share, plane in zip(LUMA, sample, strict=True))
    for block in blocks:
        _change(block, steps, mean)
        yield block


def _change(block: Planes, steps: Sequence[Step], mean: float) -> None:
    for name, amount in steps:
        if name == "contrast":
            contrast(block, amount, mean)
        else:
            _POINTWISE[name](block, amount)


def brightness(planes: Planes, factor: float) -> None:
    """Blend with black: factor 1 changes nothing, 0 is black."""
    planes *= np.float32(factor)
    _clip(planes, factor)


def contrast(planes: Planes, factor: float, mean: float) -> None:
    """Blend with the grey level ``mean``: factor 1 changes nothing, 0 leaves that alone."""
    planes *= np.float32(factor)
    planes += np.float32((1 - factor) * mean)
    _clip(planes, factor)


def saturation(planes: Planes, factor: float) -> None:
    """Blend with the grey image: factor 1 changes nothing, 0 leaves no colour."""
    red, green, blue = (np.float32((1 - factor) * share) for share in LUMA)
    grey = planes[0] * red
    share = planes[1] * green
    grey += share
    grey += np.multiply(planes[2], blue, out=share)
    planes *= np.float32(factor)
    planes += grey
    _clip(planes, factor)


def _clip(planes: Planes, factor: float) -> None:
    if factor > 1:  # else it was a mean of two colours, which lies between them
        np.clip(planes, 0, 255, out=planes)


def hue(planes: Planes, turns: float) -> None:
    """Turn every hue by ``turns`` of HSV's colour circle (Smith, SIGGRAPH 1978); 1/3 makes red green.

    Without a division, and within a tenth of a grey level: over the circle a channel stays at the top for a third,
    falls along a sextant, stays at the bottom for a third and rises along one, always by chroma per sextant. Two
    sextants are an exchange of channels, three a reflection between bottom and top, and what remains of one moves the
    slopes. In integers, of which the processor adds and compares twice as many at a time.
    """
    sextants, rest = divmod(6 * turns, 1)
    thirds, odd = divmod(int(sextants), 2)
    planes *= _PARTS
    old = planes.astype(np.int16)
    top, bottom = _extremes(old)
    if odd:  # one sextant: three on, two back
        thirds -= 1
        np.subtract(top + bottom, old, out=old)
    move = ((top - bottom).astype(np.float32) * np.float32(rest)).astype(np.int16)
    for place in range(3):
        channel, following = old[(place - thirds) % 3], old[(place - thirds + 1) % 3]
        planes[place] = _turned(channel, following, (bottom, top, move))
    planes *= 1 / _PARTS


def _extremes(levels: Levels) -> tuple[Levels, Levels]:
    top, bottom = np.maximum(levels[0], levels[1]), np.minimum(levels[0], levels[1])
    return np.maximum(top, levels[2], out=top), np.minimum(bottom, levels[2], out=bottom)


def _turned(channel: Levels, following: Levels, bounds: tuple[Levels, Levels, Levels]) -> Levels:
    """One channel after less than a sextant; ``following`` is the one whose hue comes after its own (red's: green).

    It can rise where ``following`` is within ``move`` of the bottom, and fall where that is within ``move`` of the top.
    At most one of the two has an effect, since the channel stays between bottom and top.
    """
    bottom, top, move = bounds
    ahead = channel - following
    risen = ahead + bottom
    risen += move
    np.maximum(risen, channel, out=risen)
    np.minimum(risen, top, out=risen)
    ahead += top
    ahead -= move
    np.minimum(ahead, channel, out=ahead)
    np.maximum(ahead, bottom, out=ahead)
    risen += ahead
    risen -= channel
    return risen


_POINTWISE: Final[dict[str, Callable[[Planes, float], None]]] = {
    "brightness": brightness,
    "saturation": saturation,
    "hue": hue,
}
"""Those that look at a pixel alone."""
