"""Stochastic gradient descent and its learning rate, a pure function of the step.

optimiser = make_sgd(model, recipe.optimiser)
rate = learning_rate_at(step, recipe.optimiser, steps=recipe.training.steps, steps_per_epoch=185)
set_learning_rate(optimiser, rate)
"""

import math

import torch
from torch import nn

from abet.config import OptimiserConfig


def poly(done: int, total: int, exponent: float) -> float:
    """(1 - done / total) ** exponent, in [0, 1]: the share of the first learning rate (reference behaviour: "poly").

    ``done`` counts steps or epochs, 0..``total``.
    """
    assert total >= 1, total
    assert 0 <= done <= total, (done, total)
    return float((1.0 - done / total) ** exponent)


def two_phase_poly(
    done: int, total: int, exponent: float, *, second_from: int, rescale: float, second_exponent: float
) -> float:
    """`poly` before ``second_from``; from there on ``rescale`` times a second fall from one to zero.

    Reference behaviour: "scl-poly". ``done``, ``total`` and ``second_from`` count steps or epochs.
    """
    if done < second_from:
        return poly(done, total, exponent)
    return rescale * poly(done - second_from, total - second_from, second_exponent)


def learning_rate_at(
    step: int, config: OptimiserConfig, *, steps: int, steps_per_epoch: int, one_epoch_ahead: bool = False
) -> float:
    """The learning rate of the optimiser step that follows ``step`` done ones; the first has ``learning_rate``.

    Args:
        step: 0..``steps`` - 1.
        config: the schedule, and whether it falls with each step or with each epoch.
        steps: of the whole run.
        steps_per_epoch: after which the training images have been gone through once.
        one_epoch_ahead: take the rate of the next epoch (reference behaviour under torch 1.1 and newer).
    """
    assert 0 <= step < steps, (step, steps)
    unit = steps_per_epoch if config.schedule_unit == "epoch" else 1
    total = -(-steps // unit)
    done = step // unit + (steps_per_epoch // unit if one_epoch_ahead else 0)
    return config.learning_rate * _share(min(done, total), total, config, epochs=steps_per_epoch // unit)


def _share(done: int, total: int, config: OptimiserConfig, *, epochs: int) -> float:
    """``epochs`` is an epoch in the unit of ``done`` and ``total``."""
    second = config.second_phase
    if second is None or second.from_epoch * epochs >= total:
        return poly(done, total, config.poly_exponent)
    return two_phase_poly(
        done,
        total,
        config.poly_exponent,
        second_from=second.from_epoch * epochs,
        rescale=second.rescale,
        second_exponent=second.poly_exponent,
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Let the next step use ``learning_rate``, for every parameter."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


def largest_gradient(optimiser: torch.optim.Optimizer) -> float:
    """The largest magnitude among all gradients; NaN where one is NaN."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients, norm_type=math.inf))


def make_sgd(model: nn.Module, config: OptimiserConfig) -> torch.optim.SGD:
    """SGD with momentum over all parameters, all decayed, normalisation and biases too (reference behaviour).

    The plain loop over parameters on a CPU. On a GPU many at a time (``foreach``): the same elementwise arithmetic.
    Never ``fused``: one kernel may round differently from the loop, and a resume must not depend on which is at hand.
    """
    parameters = list(model.parameters())
    return torch.optim.SGD(
        parameters,
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        foreach=all(parameter.is_cuda for parameter in parameters),
        fused=False,
    )
