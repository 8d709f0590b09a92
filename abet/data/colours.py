"""Colour jitter of a crop in float32, in place: nothing is rounded between the steps. No torch import."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from abet.data.resize import Planes

Step = tuple[str, float]
"""A step of `NEUTRAL` by name, and its factor or, for the hue, its turns."""

NEUTRAL: Final[dict[str, float]] = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
"""Colour steps by the name that the configuration uses, with the amount that changes nothing."""
LUMA: Final = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a grey level (ITU-R BT.601, as Pillow)."""


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

    Exact, without a division: over the circle a channel stays at the top for a third, falls along a sextant, stays at
    the bottom for a third and rises along one, always by chroma per sextant. Two sextants are an exchange of channels,
    three a reflection between bottom and top, and what remains of one moves the slopes.
    """
    sextants, rest = divmod(6 * turns, 1)
    thirds, odd = divmod(int(sextants), 2)
    old = planes.copy()
    top, bottom = _extremes(old)
    if odd:  # one sextant: three on, two back
        thirds -= 1
        np.subtract(top + bottom, old, out=old)
    move = top - bottom
    move *= np.float32(rest)
    for place in range(3):
        channel, following = old[(place - thirds) % 3], old[(place - thirds + 1) % 3]
        _turn(channel, following, (bottom, top, move), out=planes[place])


def _extremes(planes: Planes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    top, bottom = np.maximum(planes[0], planes[1]), np.minimum(planes[0], planes[1])
    return np.maximum(top, planes[2], out=top), np.minimum(bottom, planes[2], out=bottom)


def _turn(
    channel: NDArray[np.float32],
    following: NDArray[np.float32],
    bounds: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    out: NDArray[np.float32],
) -> None:
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
    np.subtract(risen, channel, out=out)


_POINTWISE: Final[dict[str, Callable[[Planes, float], None]]] = {
    "brightness": brightness,
    "saturation": saturation,
    "hue": hue,
}
"""Those that look at a pixel alone."""
