"""Stochastic gradient descent and its learning rate, a pure function of the step.

optimiser = make_sgd(model, recipe.optimiser)
set_learning_rate(optimiser, learning_rate_at(step, recipe.optimiser, recipe.training.steps))
"""

import math

import torch
from torch import nn

from abet.config import OptimiserConfig


def poly(step: int, steps: int, exponent: float) -> float:
    """(1 - step / steps) ** exponent, in [0, 1]: the share of the first learning rate (reference behaviour: "poly").

    ``step`` counts the optimiser steps that are done, 0..``steps``. The reference counts epochs; here every step has
    its own rate.
    """
    assert steps >= 1, steps
    assert 0 <= step <= steps, (step, steps)
    return float((1.0 - step / steps) ** exponent)


def learning_rate_at(step: int, config: OptimiserConfig, steps: int) -> float:
    """The learning rate of the optimiser step that follows ``step`` done ones; the first has ``learning_rate``."""
    return config.learning_rate * poly(step, steps, config.poly_exponent)


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
