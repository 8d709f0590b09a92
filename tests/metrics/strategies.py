"""Score sets of every kind that detectors produce, for hypothesis."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from abet.labels import ID, OOD, VOID
from abet.metrics.keys import is_valid, to_scores
from abet.metrics.pixel import MAX_BINS, MIN_BINS

LIMITS = st.sampled_from([MIN_BINS, MIN_BINS + 1, 700, MAX_BINS])

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
def crowds(draw, *, labels=(ID, OOD, VOID), finite=False):
    """`pixels` among hundreds of others, for which the smaller `LIMITS` are too low: any shift up to the largest."""
    scores, classes = draw(pixels(labels=labels, finite=finite))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    width = draw(st.integers(0, 32))  # of the range of keys, in bits
    start = draw(st.integers(0, 2**32 - 2**width))
    keys = rng.integers(start, start + 2**width, draw(st.sampled_from([0, 520, 1300])), np.uint32)
    others = to_scores(keys[is_valid(keys)])
    others = others[np.isfinite(others)] if finite else others
    order = rng.permutation(scores.size + others.size)
    odds = draw(st.sampled_from([[1 / 3, 1 / 3, 1 / 3], [0.9, 0.05, 0.05], [0.05, 0.9, 0.05]]))[: len(labels)]
    drawn = rng.choice(np.array(labels, np.uint8), others.size, p=np.array(odds) / sum(odds))
    return np.concatenate([scores, others])[order], np.concatenate([classes, drawn])[order]


@st.composite
def two_class_pixels(draw, **options):
    """`pixels` with at least one of ID and of OOD."""
    scores, labels = draw(pixels(min_size=2, **options))
    labels[draw(st.integers(0, labels.size - 2))] = ID
    labels[-1] = OOD
    return scores, labels


@st.composite
def two_class_crowds(draw, **options):
    """`crowds` with at least one of ID and of OOD."""
    parts = [draw(two_class_pixels(**options)), draw(crowds(**options))]
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
