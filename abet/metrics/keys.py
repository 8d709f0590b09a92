"""Order-preserving integer keys: comparing keys as uint32 is comparing scores as float32.

IEEE 754 orders non-negative floats as their bits do, and negative ones in reverse; so setting the sign bit of the
former and inverting all bits of the latter gives one increasing scale::

    -inf 0x007FFFFF < finite negative < -0 = +0 0x80000000 < finite positive < +inf 0xFF800000 < NaN 0xFFFFFFFF
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint32]
Scores = npt.NDArray[np.float32]

NEGATIVE_INFINITY: Final = 0x007F_FFFF
"""The smallest key: that of -inf."""
POSITIVE_INFINITY: Final = 0xFF80_0000
"""The key of +inf: finite scores lie strictly between it and `NEGATIVE_INFINITY`."""
NAN: Final = 0xFFFF_FFFF
"""The key of every NaN, whatever its sign and payload: above +inf, so that a broken pixel is flagged first."""

_SIGN: Final = np.uint32(0x8000_0000)
_NEGATIVE_ZERO: Final = np.uint32(0x7FFF_FFFF)  # what -0 maps to before it is joined with +0


def to_keys(scores: Scores) -> Keys:
    """Keys of scores (one dimension or more), of the same shape: uint32 in their order, -0 equal to +0, NaN on top.

    Works on the bits alone, so subnormal scores keep their order even where the processor flushes them to zero.
    """
    bits = scores.view(np.uint32)
    keys = (bits.view(np.int32) >> 31).view(np.uint32)  # all ones for a set sign bit, else zero
    keys |= _SIGN
    keys ^= bits
    if (negative_zero := keys == _NEGATIVE_ZERO).any():
        keys[negative_zero] = _SIGN
    if (nan := np.isnan(scores)).any():
        keys[nan] = NAN
    return keys


def to_scores(keys: Keys) -> Scores:
    """Scores of keys, of the same shape: the inverse of `to_keys` up to the sign of zero and the payload of NaN."""
    bits = keys ^ np.where(keys & _SIGN, _SIGN, np.uint32(NAN))
    return bits.view(np.float32)


def is_valid(keys: Keys) -> npt.NDArray[np.bool_]:
    """Which keys `to_keys` can produce."""
    number = (keys >= NEGATIVE_INFINITY) & (keys <= POSITIVE_INFINITY) & (keys != _NEGATIVE_ZERO)
    return np.asarray(number | (keys == NAN))
