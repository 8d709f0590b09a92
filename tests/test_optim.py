"""The schedule and the optimiser, against their formulas."""

import itertools

import pytest
import torch
from torch import nn

from abet.config import OptimiserConfig
from abet.optim import learning_rate_at, make_sgd, poly, set_learning_rate

CONFIG = OptimiserConfig(learning_rate=0.1, momentum=0.9, weight_decay=0.01, poly_exponent=2.0)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_poly_falls_from_one_to_zero(exponent: float) -> None:
    values = [poly(step, 40, exponent) for step in range(41)]
    assert values[0] == 1.0
    assert values[-1] == 0.0
    assert all(first > second for first, second in itertools.pairwise(values))
    assert values[20] == pytest.approx(0.5**exponent)


def test_exponent_one_is_a_straight_line_and_exponent_zero_constant() -> None:
    assert [poly(step, 4, 1.0) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert {poly(step, 4, 0.0) for step in range(5)} == {1.0}


def test_the_first_step_has_the_configured_rate() -> None:
    assert learning_rate_at(0, CONFIG, 10) == 0.1
    assert learning_rate_at(5, CONFIG, 10) == pytest.approx(0.1 * 0.25)


@pytest.mark.parametrize("step", [-1, 11])
def test_a_step_outside_the_run_is_our_mistake(step: int) -> None:
    with pytest.raises(AssertionError):
        poly(step, 10, 1.0)


def test_sgd_moves_every_parameter_by_its_formula() -> None:
    """v = momentum * v + gradient + weight_decay * w; w = w - lr * v, normalisation and biases included."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).double()
    optimiser = make_sgd(model, CONFIG)
    wanted = {name: value.detach().clone() for name, value in model.named_parameters()}
    velocity = {name: torch.zeros_like(value) for name, value in wanted.items()}
    for step in range(4):
        rate = learning_rate_at(step, CONFIG, 10)
        set_learning_rate(optimiser, rate)
        optimiser.zero_grad()
        model(torch.randn(2, 1, 3, 3).double()).square().sum().backward()
        for name, value in model.named_parameters():
            assert value.grad is not None
            velocity[name] = 0.9 * velocity[name] + value.grad + 0.01 * wanted[name]
            wanted[name] = wanted[name] - rate * velocity[name]
        optimiser.step()
        for name, value in model.named_parameters():
            torch.testing.assert_close(value.detach(), wanted[name], rtol=1e-12, atol=1e-12)
