"""Sums of float64 without rounding: the same total for any order of the terms.

    total = ExactSum((19, 256))
    for part in parts:
        total.add(part)
    mean = total.value() / count

A float64 is an integer of 53 bits times a power of two. Its two halves are added to integers that each stand for a
multiple of 2**(16 n); only the n that occur take memory, a few for numbers of similar size.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from abet.metrics.exact import nearest

Floats = npt.NDArray[np.float64]

MAX_TERMS: Final = 2**20
"""Halves of 27 bits, shifted by up to 15, leave so much room in 64 bits."""
_BITS: Final = 16
_HALF: Final = 27
_MANTISSA: Final = 53


class ExactSum:
    """The sum of any number, up to 2**20, of arrays of one shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._digits: dict[int, npt.NDArray[np.int64]] = {}
        self._terms = 0

    def add(self, values: Floats) -> None:
        """Add finite values of the sum's shape."""
        assert values.dtype == np.float64, values.dtype
        assert values.shape == self._shape, (values.shape, self._shape)
        assert np.isfinite(values).all()
        self._terms += 1
        assert self._terms <= MAX_TERMS
        mantissa, exponent = np.frexp(values)
        whole = np.ldexp(mantissa, _MANTISSA).astype(np.int64)
        for half, offset in ((whole & (2**_HALF - 1), 0), (whole >> _HALF, _HALF)):
            place, shift = np.divmod(exponent.astype(np.int64) - _MANTISSA + offset, _BITS)
            shifted = half << shift
            for number in np.unique(place[half != 0]).tolist():
                digits = self._digits.setdefault(number, np.zeros(self._shape, np.int64))
                digits += np.where(place == number, shifted, 0)

    def value(self) -> Floats:
        """The sums, each rounded once to the nearest float64."""
        if not self._digits:
            return np.zeros(self._shape)
        least = min(self._digits)
        totals = np.zeros(self._shape, object)
        for number, digits in self._digits.items():
            totals += digits.astype(object) * (1 << (_BITS * (number - least)))
        up, down = 1 << max(_BITS * least, 0), 1 << max(-_BITS * least, 0)
        rounded = [nearest(total * up, down) for total in totals.ravel().tolist()]
        return np.array(rounded, np.float64).reshape(self._shape)
