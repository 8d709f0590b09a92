"""ln(1 + x) is right to a few units in the last place, and the same whatever kernels numpy chooses."""

import os
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abet.metrics.logarithm import log1p

SQRT2 = 2**0.5


def exact(x: float) -> mpmath.mpf:
    with mpmath.workdps(40):
        return mpmath.log1p(mpmath.mpf(x))


@given(st.lists(st.floats(0, 1e300, allow_subnormal=False), min_size=1, max_size=20))
def test_it_is_the_logarithm_within_eight_units_in_the_last_place(values: list[float]) -> None:
    for value, found in zip(values, log1p(np.array(values)).tolist(), strict=True):
        assert abs(mpmath.mpf(found) - exact(value)) <= 8 * np.spacing(float(exact(value)))


def test_it_is_right_where_the_cases_meet() -> None:
    places = [0.0, 5e-324, 1e-300, 2.0**-53, *(2.0**e * part - 1 for e in range(1, 64) for part in (1, SQRT2 / 2))]
    near = np.array([np.nextafter(x, towards) for x in places for towards in (0, np.inf, x)])
    for value, found in zip(near.tolist(), log1p(near).tolist(), strict=True):
        assert abs(mpmath.mpf(found) - exact(value)) <= 8 * np.spacing(float(exact(value))), value


FIGURES = """
import numpy as np
from abet.metrics.ranking import Sweep, _lower_sum

positives = np.random.PCG64(0).random_raw(20_000) % 1000 + 1
negatives = np.random.PCG64(1).random_raw(20_000) % 5000
tp, fp = np.cumsum(positives), np.cumsum(negatives)
for start in range(0, 20_000, 100):
    part = slice(start, start + 100)
    keys, wide = np.arange(100, dtype=np.uint32), np.ones(100, bool)
    totals = {"total_positives": int(tp[-1]), "total_negatives": int(fp[-1])}
    print(_lower_sum(Sweep(positives=positives[part], tp=tp[part], fp_before=(fp - negatives)[part], fp=fp[part],
                           wide=wide, low_key=keys, **totals)))
"""


def test_the_lower_end_of_ap_has_the_same_bits_on_a_lesser_processor() -> None:
    beyond = np.show_config(mode="dicts")["SIMD Extensions"].get("found")
    if not beyond:
        pytest.skip("numpy has no kernels of a newer processor here that could be switched off")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    found = []
    for disabled in ({}, {"NPY_DISABLE_CPU_FEATURES": " ".join(beyond)}):
        words = [sys.executable, "-c", FIGURES]
        run = subprocess.run(words, env=environment | disabled, capture_output=True, text=True, check=True)
        found.append(run.stdout)
    assert found[0].count("\n") == 200
    assert found[0] == found[1]
