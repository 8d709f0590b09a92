"""The schedule and the optimiser, against their formulas."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from abet.config import OptimiserConfig, load_recipe
from abet.optim import learning_rate_at, make_sgd, poly, set_learning_rate, two_phase_poly

CONFIG = OptimiserConfig(
    learning_rate=0.1, momentum=0.9, weight_decay=0.01, schedule_unit="step", poly_exponent=2.0, second_phase=None
)


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


def test_the_second_phase_falls_again_from_its_own_height() -> None:
    values = [two_phase_poly(e, 10, 1.0, second_from=6, rescale=0.5, second_exponent=2.0) for e in range(11)]
    assert values[:6] == [poly(e, 10, 1.0) for e in range(6)]
    assert values[6:] == [0.5 * poly(e, 4, 2.0) for e in range(5)]


def rate(step: int, config: OptimiserConfig = CONFIG, **options: bool) -> float:
    return learning_rate_at(step, config, steps=10, steps_per_epoch=4, **options)


def test_the_first_step_has_the_configured_rate() -> None:
    assert rate(0) == 0.1
    assert rate(5) == pytest.approx(0.1 * 0.25)


def test_by_epochs_the_rate_stays_within_each() -> None:
    """Ten steps of four an epoch: the third epoch is cut short."""
    config = CONFIG.model_copy(update={"schedule_unit": "epoch"})
    assert [rate(step, config) for step in range(10)] == [0.1 * poly(step // 4, 3, 2.0) for step in range(10)]


def test_one_epoch_ahead_the_last_epoch_learns_nothing() -> None:
    config = CONFIG.model_copy(update={"schedule_unit": "epoch"})
    ahead = [rate(step, config, one_epoch_ahead=True) for step in range(10)]
    assert ahead == [0.1 * poly(step // 4 + 1, 3, 2.0) for step in range(10)]
    assert ahead[-1] == 0
    assert rate(3, one_epoch_ahead=True) == 0.1 * poly(7, 10, 2.0)


def test_a_second_phase_beyond_the_end_never_comes() -> None:
    recipe = load_recipe("cityscapes_finetune").optimiser
    rates = [learning_rate_at(e * 2, recipe, steps=100, steps_per_epoch=2) for e in range(50)]
    assert rates == [recipe.learning_rate * poly(e, 50, 1.0) for e in range(50)]


@pytest.mark.parametrize(
    ("recipe", "key", "steps"),
    [("mapillary_pretrain", "mapillary_poly", 1125), ("cityscapes_finetune", "cityscapes_scl_poly", 185)],
)
def test_the_recipes_have_the_rates_of_the_reference_in_each_epoch(
    golden_dir: Path, recipe: str, key: str, steps: int
) -> None:
    expected = json.loads((golden_dir / "train_golden.json").read_text())[f"lr/{key}"]
    config = load_recipe(recipe)
    assert config.training.steps == 175 * steps
    for place in (0, steps - 1):
        rates = [
            learning_rate_at(e * steps + place, config.optimiser, steps=config.training.steps, steps_per_epoch=steps)
            for e in range(175)
        ]
        assert rates == pytest.approx(expected, rel=1e-12)


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
        set_learning_rate(optimiser, rate(step))
        optimiser.zero_grad()
        model(torch.randn(2, 1, 3, 3).double()).square().sum().backward()
        for name, value in model.named_parameters():
            assert value.grad is not None
            velocity[name] = 0.9 * velocity[name] + value.grad + 0.01 * wanted[name]
            wanted[name] = wanted[name] - rate(step) * velocity[name]
        optimiser.step()
        for name, value in model.named_parameters():
            torch.testing.assert_close(value.detach(), wanted[name], rtol=1e-12, atol=1e-12)
