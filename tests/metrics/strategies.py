"""Score sets of every kind that detectors produce, for hypothesis."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from abet.labels import ID, OOD, VOID

SUBNORMAL = float(np.float32(1e-45))
EXTREMES = [-np.inf, np.inf, np.nan, 0.0, -0.0, SUBNORMAL, -SUBNORMAL, 3.4028235e38, -3.4028235e38, 1.0]


@st.composite
def pixels(draw, *, min_size=0, max_size=40, labels=(ID, OOD, VOID), finite=False):
    """(scores float32, labels uint8), both (n,): continuous, narrow, tied, extreme, saturated or constant."""
    size = draw(st.integers(min_size, max_size))
    kinds = [
        st.floats(width=32, allow_nan=not finite, allow_infinity=not finite),
        st.floats(-8.1, -8.0),
        st.integers(-3, 3).map(float),
        st.sampled_from([value for value in EXTREMES if not finite or np.isfinite(value)]),
        st.sampled_from([0.0, 1.0 - 2**-24, 1.0]),
        st.just(draw(st.floats(-100, 100, width=32))),
    ]
    kind = draw(st.sampled_from(kinds))
    scores = np.array(draw(st.lists(kind, min_size=size, max_size=size)), np.float64).astype(np.float32)
    return scores, draw(hnp.arrays(np.uint8, size, elements=st.sampled_from(labels)))


@st.composite
def two_class_pixels(draw, **options):
    """`pixels` with at least one of ID and of OOD."""
    scores, labels = draw(pixels(min_size=2, **options))
    labels[draw(st.integers(0, labels.size - 2))] = ID
    labels[-1] = OOD
    return scores, labels
