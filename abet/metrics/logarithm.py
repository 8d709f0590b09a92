"""ln(1 + x) with the same bits on every machine.

numpy's own, and the C library's, choose between kernels by processor (AVX-512, FMA) and differ in the last bits. Here
is nothing but the four operations that IEEE 754 rounds in one way only, one after the other: no two of them are fused.

With y = 1 + x = 2^e (1 + f) and sqrt(1/2) <= 1 + f < sqrt(2), it is e ln 2 + 2 artanh(s), s = f / (2 + f). For e = 0
f is x itself. For e >= 1 y is rounded, which moves the logarithm by 2^-53 at most, and it is above 0.34. As
|s| <= 3 - 2 sqrt(2), the series of artanh ends below 2^-58 of its sum after eleven terms. Altogether the result is
within 8 units in the last place.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_LN2: Final = 0.6931471805599453
_SQRT2: Final = 1.4142135623730951
_ARTANH: Final = tuple(1 / (2 * k + 1) for k in range(11))
"""Coefficients of s, s^3, s^5 ..."""


def log1p(x: Floats) -> Floats:
    """ln(1 + x) of finite x >= 0, within 8 units in the last place."""
    fraction, exponent = np.frexp(1 + x)  # in [1/2, 1), exact
    low = fraction < _SQRT2 / 2
    fraction, exponent = np.where(low, 2 * fraction, fraction), exponent - low
    f = np.where(exponent == 0, x, fraction - 1)
    s = f / (2 + f)
    square = s * s
    series = np.full_like(s, _ARTANH[-1])
    for coefficient in _ARTANH[-2::-1]:
        series = series * square + coefficient
    return np.asarray(exponent * _LN2 + 2 * s * series, np.float64)
