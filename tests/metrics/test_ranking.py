"""Brackets contain the exact figure, whatever the scores, the coarseness and the size of the counts."""

import json
import math
from fractions import Fraction
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, roc_curve

from abet.labels import ID, OOD, VOID
from abet.metrics import ranking
from abet.metrics.keys import to_keys
from abet.metrics.pixel import MAX_BINS, MIN_BINS, PixelState
from tests.metrics import oracle
from tests.metrics.strategies import LIMITS, two_class_crowds, two_class_pixels

# scikit-learn adds up all scores to see whether they are finite, which overflows for the largest
QUIET = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
NAMES = ("auroc", "ap", "fpr95")


def exact_figures(scores, labels) -> dict[str, Fraction]:
    classes = oracle.split(scores, labels)
    return {
        "auroc": oracle.auroc(*classes),
        "ap": oracle.average_precision(*classes),
        "fpr95": oracle.fpr95(*classes),
    }


def assert_inside(summary, exact) -> None:
    for name in NAMES:
        figure = summary[name]
        assert Fraction(figure["low"]) <= exact[name] <= Fraction(figure["high"]), name
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1, name


@given(two_class_crowds(), LIMITS)
def test_the_exact_figure_lies_in_every_bracket(drawn, max_bins):
    assert_inside(ranking.summarise(PixelState.count(*drawn, max_bins=max_bins)), exact_figures(*drawn))


@given(two_class_pixels())
def test_a_state_of_single_scores_is_exact(drawn):
    summary, exact = ranking.summarise(PixelState.count(*drawn)), exact_figures(*drawn)
    for name in NAMES:
        figure = summary[name]
        assert figure["value"] == pytest.approx(float(exact[name]), rel=2**-52)
        assert figure["high"] - figure["low"] <= 2 * math.ulp(figure["value"])
        if name != "ap" and Fraction(figure["value"]) == exact[name]:  # a single quotient that needed no rounding
            assert figure["low"] == figure["value"] == figure["high"]


def state_of(rows) -> PixelState:
    """A hand-made state from (low score, high score, ID, OOD) rows, ascending."""
    low, high = (to_keys(np.float32([row[i] for row in rows])) for i in (0, 1))
    id_count, ood_count = (np.array([row[i] for row in rows], np.int64) for i in (2, 3))
    return PixelState(shift=23, max_bins=MIN_BINS, low_key=low, high_key=high, id_count=id_count, ood_count=ood_count)


ID_COUNTS = st.one_of(st.integers(0, 3), st.integers(0, 10**6), st.integers(0, 10**18))
OOD_COUNTS = st.one_of(st.integers(0, 3), st.integers(0, 300))


@st.composite
def mixed_bins(draw):
    """A state of up to six bins, exact and wide ones, of both classes."""
    wide = draw(st.lists(st.booleans(), min_size=1, max_size=6))
    counts = [[draw(ID_COUNTS), draw(OOD_COUNTS)] for _ in wide]
    counts[draw(st.integers(0, len(wide) - 1))][0] += 1
    counts[draw(st.integers(0, len(wide) - 1))][1] += 1
    return state_of([(i, i + 0.5 * w, *count) for i, (w, count) in enumerate(zip(wide, counts, strict=True))])


@given(mixed_bins())
def test_brackets_are_those_of_their_definition(state):
    summary = ranking.summarise(state)
    low, high = bounds_by_definition(state)
    for name in NAMES:
        assert low[name] - given_away(name, state.ood_pixels) <= Fraction(summary[name]["low"]) <= low[name]
        rounded = high[name] * (1 + Fraction(1, 2**51)) + Fraction(1, 2**95)  # to float64; AP also to 96 binary places
        assert high[name] <= Fraction(summary[name]["high"]) <= rounded


def given_away(name, ood_pixels) -> Fraction:
    """How far below its definition a lower bound may lie: AP's closed form and its slack, else a float64's rounding."""
    return Fraction(11, 1000) / ood_pixels + Fraction(1, 2**41) if name == "ap" else Fraction(1, 2**52)


def bounds_by_definition(state) -> tuple[dict[str, Fraction], dict[str, Fraction]]:
    """Lower and upper sums of each figure, bin by bin and OOD pixel by OOD pixel."""
    all_p, all_n = state.ood_pixels, state.id_pixels
    low, high = ({name: [] for name in NAMES} for _ in range(2))
    tp0 = fp0 = 0
    for low_key, high_key, n, p in reversed([tuple(map(int, row)) for row in zip(*state.runs, strict=True)]):
        tp1, fp1 = tp0 + p, fp0 + n
        single = low_key == high_key
        half = Fraction(n, 2) if single else 0
        low["auroc"].append(p * ((all_n - fp0 - half) if single else (all_n - fp1)) / Fraction(all_p * all_n))
        high["auroc"].append(p * (all_n - fp0 - half) / Fraction(all_p * all_n))
        for i in range(1, p + 1):
            low["ap"].append((Fraction(tp1, tp1 + fp1) if single else Fraction(tp0 + i, tp0 + i + fp1)) / all_p)
            high["ap"].append(Fraction(tp1, tp1 + (fp1 if single else fp0)) / all_p)
        if 100 * tp0 < 95 * all_p <= 100 * tp1:
            low["fpr95"].append(Fraction(fp1 if single else fp0, all_n))
            high["fpr95"].append(Fraction(fp1, all_n))
        tp0, fp0 = tp1, fp1
    return tuple({name: oracle.add(terms) for name, terms in side.items()} for side in (low, high))


def test_rounding_never_lifts_the_lower_bound_of_ap():
    """Few OOD pixels among very many ID ones: the lower sum is all cancellation, and its rounding errors are all."""
    rng = np.random.default_rng(8)
    for _ in range(200):
        rows = [
            (i, i + 0.5 * rng.integers(2), int(10 ** rng.uniform(0, 18)), int(10 ** rng.uniform(0, 1.5)))
            for i in range(rng.integers(1, 5))
        ]
        state = state_of([*rows, (9, 9.5, int(10 ** rng.uniform(0, 18)), int(10 ** rng.uniform(0, 1.5)))])
        assert Fraction(ranking.summarise(state)["ap"]["low"]) <= bounds_by_definition(state)[0]["ap"]


@QUIET
@given(two_class_pixels(finite=True))
def test_scikit_learn_agrees(drawn):
    scores, labels = drawn
    valid = labels != VOID
    summary = ranking.summarise(PixelState.count(scores, labels))
    fpr, tpr, thresholds = roc_curve(labels[valid], scores[valid], drop_intermediate=False)
    first = int(np.argmax(tpr >= 0.95))
    assert summary["auroc"]["value"] == pytest.approx(auc(fpr, tpr), abs=1e-12)
    assert summary["ap"]["value"] == pytest.approx(average_precision_score(labels[valid], scores[valid]), abs=1e-12)
    assert summary["fpr95"]["value"] == pytest.approx(fpr[first], abs=1e-12)
    assert summary["fpr95"]["tpr"] == pytest.approx(tpr[first], abs=1e-12)
    assert summary["fpr95"]["threshold"] == thresholds[first]


@given(two_class_crowds(finite=True), LIMITS)
def test_the_threshold_gives_the_rates_it_claims(drawn, max_bins):
    scores, labels = drawn
    point = ranking.summarise(PixelState.count(scores, labels, max_bins=max_bins))["fpr95"]
    flagged = scores >= np.float32(point["threshold"])
    assert point["value"] == np.mean(flagged[labels == ID])
    assert point["tpr"] == np.mean(flagged[labels == OOD]) >= 0.95


PIXELS = {"abet": 1_000_000}
"""Of one kind as many as an image has; of the others a quarter, which fills 2**16 bins as well."""


def abet_scores(rng, ood):
    """-logsumexp(cosine / temperature) of a trained head: a narrow range with a long tail."""
    temperature = np.exp(rng.normal(-2.5, 0.3, ood.size)) + 0.04 * ood
    cosine = np.clip(rng.normal(0.8, 0.1, (3, ood.size)) - 0.2 * ood, -1, 1)
    return -np.logaddexp.reduce(cosine / temperature, axis=0)


def saturated_msp(rng, ood):
    """1 - max softmax in float32: mostly exactly zero, else multiples of 2**-24."""
    margin = rng.normal(20, 8, ood.size) - 8 * ood
    return np.float32(1) - (1 / (1 + np.exp(-np.maximum(margin, 0)))).astype(np.float32)


KINDS = {
    "abet": abet_scores,
    "saturated msp": saturated_msp,
    "normal": lambda rng, ood: rng.normal(ood, 1),
    "narrow": lambda rng, ood: -8.1 + 0.1 * rng.random(ood.size) ** (1 + ood),
    "tied": lambda rng, ood: rng.poisson(3 + 2 * ood),
    "constant": lambda rng, ood: np.full(ood.size, 0.7),
    "extreme": lambda rng, ood: np.exp(rng.normal(3 * ood, 10, ood.size)) * rng.choice([-1, 1], ood.size),
}


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_an_image_at_two_percent(kind):
    rng = np.random.default_rng(1)
    labels = (rng.random(PIXELS.get(kind, 250_000)) < 0.02).astype(np.uint8)
    scores = KINDS[kind](rng, labels).astype(np.float32)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    learned = {
        "auroc": auc(fpr, tpr),
        "ap": average_precision_score(labels, scores),
        "fpr95": fpr[np.argmax(tpr >= 0.95)],
    }
    expected = image_by_definition(scores, labels)
    for max_bins in (MAX_BINS, 2**16):  # the latter is as coarse as sixteen million scores would be
        state = PixelState.count(scores, labels, max_bins=max_bins)
        summary = ranking.summarise(state)
        for name in NAMES:
            figure, (low, high) = summary[name], expected[name]
            assert Fraction(figure["low"]) <= low <= high <= Fraction(figure["high"])
            assert float(low) == pytest.approx(learned[name], abs=1e-12)
            assert figure["high"] - figure["low"] <= (1e-3 if state.shift else 1e-15)


def image_by_definition(scores, labels) -> dict[str, tuple[Fraction, Fraction]]:
    """The exact figures, each between two fractions; the quotients of AP are cut off after 200 binary places."""
    tp, fp = (np.bincount(np.unique(-scores, return_inverse=True)[1], labels == kind).cumsum() for kind in (OOD, ID))
    points = [(0, 0), *zip(tp.astype(int).tolist(), fp.astype(int).tolist(), strict=True)]
    steps = [(tp0, fp0, tp1, fp1) for (tp0, fp0), (tp1, fp1) in pairwise(points) if tp1 > tp0]
    all_p, all_n = points[-1]
    doubled = sum((tp1 - tp0) * (2 * all_n - fp0 - fp1) for tp0, fp0, tp1, fp1 in steps)
    cut = sum((tp1 - tp0) * ((tp1 << 200) // (tp1 + fp1)) for tp0, _, tp1, fp1 in steps)
    rate = next(Fraction(fp1, all_n) for _, _, tp1, fp1 in steps if 100 * tp1 >= 95 * all_p)
    area = Fraction(doubled, 2 * all_p * all_n)
    return {
        "auroc": (area, area),
        "ap": (Fraction(cut, all_p << 200), min(Fraction(cut + all_p, all_p << 200), Fraction(1))),
        "fpr95": (rate, rate),
    }


COUNTS = st.one_of(st.integers(0, 3), st.integers(0, 10**6), st.integers(0, 10**18))


@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=4))
def test_counts_up_to_nine_quintillion_are_exact(counts):
    rows = [(i, i, n + 1, p + 1) for i, (n, p) in enumerate(counts)]
    all_n, all_p = (sum(row[i] for row in rows) for i in (2, 3))
    exact = dict.fromkeys(NAMES, Fraction(0))
    tp = fp = 0
    for _, _, n, p in reversed(rows):
        exact["auroc"] += p * (all_n - fp - Fraction(n, 2)) / (all_p * all_n)
        fp += n
        if 100 * tp < 95 * all_p <= 100 * (tp + p):
            exact["fpr95"] = Fraction(fp, all_n)
        tp += p
        exact["ap"] += Fraction(p, all_p) * Fraction(tp, tp + fp)
    assert_inside(ranking.summarise(state_of(rows)), exact)


def test_a_state_full_to_the_last_pixel():
    summary = ranking.summarise(state_of([(0, 0, 2**62, 0), (1, 1, 1, 2**62 - 2)]))
    assert summary["auroc"]["value"] == summary["ap"]["value"] == 1.0
    assert summary["auroc"]["low"] == np.nextafter(1, 0)
    assert summary["fpr95"]["value"] == 1 / (2**62 + 1)


@pytest.mark.parametrize("n", [0, 1, 10, 10**6, 4 * 10**18])
@pytest.mark.parametrize("p", [1, 2, 10**5, 4 * 10**18])
def test_one_wide_bin_of_any_size(n, p):
    """All OOD pixels of the bin may come before its ID pixels, or one by one after all of them."""
    summary = ranking.summarise(state_of([(-1, -1, 1, 0), (0, 1, n, p)]))
    with mpmath.workdps(100):  # the difference of two digammas, of which 60 digits are left
        worst = 1 - mpmath.mpf(n) / p * (mpmath.digamma(n + p + 1) - mpmath.digamma(n + 1))
        low = mpmath.mpf(summary["ap"]["low"])
        assert worst - (mpmath.mpf("0.011") / p + mpmath.mpf(2) ** -41) <= low <= worst
    assert summary["ap"]["high"] == 1
    assert (summary["fpr95"]["low"], summary["fpr95"]["value"]) == (0, n / (n + 1))


def test_a_tied_bin_and_a_wide_bin_by_hand():
    # from the top: one OOD alone; three tied scores, one of them OOD; a wide bin of one OOD and one ID
    summary = ranking.summarise(state_of([(1, 2, 1, 1), (3, 3, 2, 1), (4, 4, 0, 1)]))
    assert summary["auroc"] == pytest.approx({"value": 5.5 / 9, "low": 5 / 9, "high": 6 / 9})
    assert summary["ap"]["value"] == pytest.approx((1 + 2 / 4 + 3 / 6) / 3)
    assert summary["ap"]["high"] == pytest.approx((1 + 2 / 4 + 3 / 5) / 3)
    assert summary["ap"]["low"] == pytest.approx((1 + 2 / 4 + 3 / 6) / 3, abs=0.011 / 3)
    assert summary["fpr95"] == pytest.approx({"value": 1, "low": 2 / 3, "high": 1, "tpr": 1, "threshold": 1})


def test_ninety_five_percent_is_compared_in_integers():
    # 19 of 20 is 95 percent exactly; 0.95 * 20 in floating point must not ask for another pixel
    summary = ranking.summarise(state_of([(0, 0, 5, 1), (1, 1, 3, 19)]))
    assert summary["fpr95"] == pytest.approx({"value": 3 / 8, "low": 3 / 8, "high": 3 / 8, "tpr": 0.95, "threshold": 1})


def test_what_is_not_finite_is_ranked_and_reported():
    scores = np.float32([np.nan, np.inf, 2, 1, -np.inf, np.nan])
    labels = np.uint8([ID, OOD, OOD, ID, ID, VOID])
    summary = ranking.summarise(PixelState.count(scores, labels))
    assert summary["non_finite"] == {"id": 2, "ood": 1}
    assert summary["auroc"]["value"] == pytest.approx(4 / 6)
    assert summary["fpr95"]["threshold"] == 2


@pytest.mark.parametrize(("score", "named"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_threshold_that_is_no_number_is_null_with_a_reason(score, named):
    summary = ranking.summarise(PixelState.count(np.float32([score, score]), np.uint8([ID, OOD])))
    point = summary["fpr95"]
    assert point["threshold"] is None
    assert point["reason"] == f"the score at this point is {named}, not a finite number"
    assert (point["value"], point["tpr"]) == (1, 1)
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize(
    ("labels", "reason", "prevalence"),
    [
        ([], "no ID and no OOD pixel was evaluated", None),
        ([VOID], "no ID and no OOD pixel was evaluated", None),
        ([ID, ID], "no OOD pixel was evaluated", 0),
        ([OOD], "no ID pixel was evaluated", 1),
    ],
)
def test_a_missing_class_leaves_figures_null_with_a_reason(labels, reason, prevalence):
    summary = ranking.summarise(PixelState.count(np.zeros(len(labels), np.float32), np.uint8(labels)))
    assert summary == {
        "protocol": "exact-bracketed",
        "prevalence": prevalence,
        "auroc": None,
        "ap": None,
        "fpr95": None,
        "non_finite": {"id": 0, "ood": 0},
        "reason": reason,
    }
