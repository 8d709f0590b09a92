import math
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext

import numpy as np
import pytest
import torch

from abet.scores import SCORES, Observation

CLASSES = 5
EXACT = Context(prec=60, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Decimal arithmetic in which exp(1e12) is a number: every definition can be written down as it stands."""


def log_sum_exp(values):
    return sum(value.exp() for value in values).ln()


def softmax(values):
    weights = [value.exp() for value in values]
    return [weight / sum(weights) for weight in weights]


NAIVE = {
    "abet": lambda logits, cosine, t: -log_sum_exp([c / t for c in cosine]),
    "energy": lambda logits, cosine, t: -t * log_sum_exp([c / t for c in cosine]),
    "entropy": lambda logits, cosine, t: -sum(p * p.ln() for p in softmax(logits)),
    "msp": lambda logits, cosine, t: 1 - max(softmax(logits)),
    "max_logit": lambda logits, cosine, t: -max(logits),
    "godin": lambda logits, cosine, t: t,
    "max_cosine": lambda logits, cosine, t: -max(cosine),
}


def observed(logits, cosine=None, heat=None):
    return Observation(logits=logits, cosine=cosine, temperature=heat)


def head_output(temperature, *, seed=0, shape=(2, CLASSES, 3, 4)):
    """Random cosines over one temperature, in float32 as a head gives them."""
    generator = torch.Generator().manual_seed(seed)
    cosine = torch.rand(shape, generator=generator) * 2 - 1
    heat = torch.full((shape[0], 1, *shape[2:]), temperature)
    return cosine / heat, cosine, heat


def naive(key, output):
    """The definition in 60 digits, pixel by pixel."""
    logits, cosine, heat = (maps.movedim(1, -1).flatten(0, -2).tolist() for maps in output)
    with localcontext(EXACT):
        values = [
            float(NAIVE[key]([Decimal(v) for v in pl], [Decimal(v) for v in pc], Decimal(pt[0])))
            for pl, pc, pt in zip(logits, cosine, heat, strict=True)
        ]
    return np.array(values).reshape(output[0][:, 0].shape)


@pytest.mark.parametrize("temperature", [1.0, 0.3, 0.02, 1e-4, 1e-12])
@pytest.mark.parametrize("key", NAIVE)
def test_equals_its_definition_at_any_temperature(key, temperature):
    output = head_output(temperature)
    result = SCORES[key].function(observed(*output))
    assert result.dtype == torch.float32
    assert result.isfinite().all()
    np.testing.assert_allclose(result.numpy(), naive(key, output), rtol=2e-6, atol=1e-37)


@pytest.mark.parametrize("key", NAIVE)
def test_does_not_touch_its_inputs(key):
    output = head_output(0.1)
    before = [maps.clone() for maps in output]
    SCORES[key].function(observed(*output))
    assert all(torch.equal(a, b) for a, b in zip(output, before, strict=True))


@pytest.mark.parametrize("key", NAIVE)
def test_gives_float32_from_other_types(key):
    output = [maps.double() for maps in head_output(0.1)]
    assert SCORES[key].function(observed(*output)).dtype == torch.float32


@pytest.mark.parametrize("key", ["entropy", "msp", "max_logit", "energy"])
def test_heads_without_temperature_have_the_scores_of_the_logits_alone(key):
    logits, _, _ = head_output(0.05)
    ones = torch.ones(2, 1, 3, 4)
    result = SCORES[key].function(observed(logits))
    np.testing.assert_allclose(result.numpy(), naive(key, (logits, logits, ones)), rtol=2e-6, atol=1e-37)


@pytest.mark.parametrize("key", ["abet", "entropy", "msp", "max_logit", "energy"])
@pytest.mark.parametrize("scale", [1e4, 1e12, 3e38])
def test_no_logit_is_too_large(key, scale):
    logits = torch.tensor([[1.0, -1.0, 0.5], [0.0, 0.0, 0.0]]).T.reshape(1, 3, 1, 2) * scale
    result = SCORES[key].function(observed(logits)).flatten()
    best, tie = result.tolist()
    expected = {"entropy": (0.0, math.log(3)), "msp": (0.0, 2 / 3), "max_logit": (-scale, 0.0)}
    for seen, wanted in zip((best, tie), expected.get(key, (-scale, -math.log(3))), strict=True):
        assert seen == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("key", ["msp", "entropy"])
def test_confident_pixels_stay_apart_until_float32_underflows(key):
    margins = torch.linspace(1, 85, 500)
    logits = torch.stack([margins, torch.zeros_like(margins), torch.zeros_like(margins)]).reshape(1, 3, 1, -1)
    result = SCORES[key].function(observed(logits)).flatten()
    assert (result.diff() < 0).all()
    assert (result > 0).all()


def test_uniform_logits_are_the_upper_bounds():
    logits = torch.full((1, 19, 1, 1), 7.0)
    assert SCORES["msp"].function(observed(logits)).item() == pytest.approx(18 / 19)
    assert SCORES["entropy"].function(observed(logits)).item() == pytest.approx(math.log(19))


@pytest.mark.parametrize("classes", [2, 3, 5, 7, 19, 65])
def test_no_entropy_exceeds_the_logarithm_of_the_classes(classes):
    """Near-uniform logits: beyond 1 the 100-bin protocol would drop just the least certain pixels."""
    logits = torch.randn(1, classes, 64, 64, generator=torch.Generator().manual_seed(0)) * 1e-4
    raw = SCORES["entropy"].function(observed(logits)).numpy()
    assert float(raw.max()) <= math.log(classes)
    reference = SCORES["entropy"].reference(raw, classes)
    assert reference.dtype == np.float32
    assert reference.max() <= 1
    assert raw.min() == pytest.approx(math.log(classes), rel=1e-6)


@pytest.mark.parametrize("key", ["abet", "entropy", "msp", "energy"])
@pytest.mark.parametrize("logits", [[math.inf, math.inf, 1.0], [-math.inf] * 3])
def test_differences_that_are_not_defined_give_nan(key, logits):
    assert SCORES[key].function(observed(torch.tensor(logits).reshape(1, 3, 1, 1))).isnan().all()


@pytest.mark.parametrize("key", ["abet", "entropy", "msp", "max_logit", "energy"])
def test_an_unlikely_class_may_have_no_logit_at_all(key):
    logits = torch.tensor([2.0, 1.0, -math.inf]).reshape(1, 3, 1, 1)
    without = SCORES[key].function(observed(logits[:, :2]))
    assert torch.equal(SCORES[key].function(observed(logits)), without)


@pytest.mark.parametrize("key", ["abet", "entropy", "msp", "max_logit", "energy"])
def test_a_logit_that_is_not_a_number_is_not_hidden(key):
    logits = torch.tensor([2.0, math.nan, 1.0]).reshape(1, 3, 1, 1)
    assert SCORES[key].function(observed(logits)).isnan().all()


@pytest.mark.parametrize("key", NAIVE)
def test_two_unequal_pixels_rank_the_unknown_one_higher(key):
    """A pixel near one class's direction with a low temperature, and one far from all with a high one."""
    cosine = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.1, 0.15]]).T.reshape(1, 3, 1, 2)
    heat = torch.tensor([0.05, 0.5]).reshape(1, 1, 1, 2)
    known, unknown = SCORES[key].function(observed(cosine / heat, cosine, heat)).flatten()
    assert unknown > known


def test_reference_formulas():
    logits, cosine, heat = head_output(0.3)
    exact = logits.double()
    p = exact.softmax(1)
    expected = {
        "abet": 1 - exact.exp().sum(1).log() / CLASSES,
        "entropy": -(p * p.log()).sum(1) / math.log(CLASSES),
        "msp": 1 - p.amax(1),
        "max_logit": 1 - exact.amax(1) / 30,
        "godin": heat[:, 0].double(),
    }
    for key in NAIVE:
        score = SCORES[key]
        if key not in expected:
            assert score.reference is None
            assert score.reference_absent
            continue
        assert score.reference_absent is None
        raw = score.function(observed(logits, cosine, heat))
        torch.testing.assert_close(score.reference(raw, CLASSES).double(), expected[key], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(score.reference(raw.numpy(), CLASSES), score.reference(raw, CLASSES).numpy())
