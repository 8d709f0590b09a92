"""States of a network of a few thousand parameters, and real training steps."""

from dataclasses import replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from abet.checkpoint import Best
from abet.config import Recipe, load_recipe
from abet.models.build import build_model
from abet.optim import learning_rate_at, make_sgd, set_learning_rate
from abet.training.identity import Identity
from abet.training.state import TrainState, capture

SMALL = (
    "model.trunk.stem_channels=4",
    "model.trunk.channels=[[4, 4], [8, 8], [8, 8], [8, 8], [4, 8, 8], [4, 8, 8]]",
    "model.trunk.blocks=[1, 1, 1, 1, 1, 1]",
    "model.aspp_channels=4",
    "model.aspp_rates=[1, 2, 3]",
    "model.skip_channels=4",
    "model.decoder_channels=8",
    "model.num_classes=5",
    "optimiser.learning_rate=0.1",
    "sampling.class_uniform_share=0",
    "loss.kind=cross_entropy",
)


@cache
def small_recipe(*changes: str) -> Recipe:
    return load_recipe("demo_finetune", changes=[*SMALL, *changes])


def identity(*changes: str) -> Identity:
    return Identity(
        recipe=small_recipe(*changes).model_dump(mode="json"),
        training_list_sha256="a" * 64,
        validation_list_sha256="b" * 64,
        epoch_lists_sha256="b" * 64,
        processes=1,
        threads=1,
        device="cpu",
        torch_version="2.13.0",
    )


def fresh(seed: int, *changes: str) -> tuple[nn.Module, torch.optim.SGD]:
    """A network in the loop's memory format, and its optimiser."""
    recipe = small_recipe(*changes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(recipe.model).to(memory_format=torch.channels_last)
    return model, make_sgd(model, recipe.optimiser)


def train(model: nn.Module, optimiser: torch.optim.SGD, steps: range) -> None:
    """Real steps; what is learned and dropped at each is a function of its number alone."""
    recipe = small_recipe()
    for step in steps:
        with torch.random.fork_rng():
            torch.manual_seed(step)
            images = torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last)
            labels = torch.randint(recipe.model.num_classes, (2, 32, 32))
            rate = learning_rate_at(step, recipe.optimiser, steps=recipe.training.steps, steps_per_epoch=10)
            set_learning_rate(optimiser, rate)
            optimiser.zero_grad()
            F.cross_entropy(model(images).logits, labels).backward()
            optimiser.step()


@cache
def _trained(step: int) -> TrainState:
    model, optimiser = fresh(0)
    train(model, optimiser, range(step % 7 + 1))
    return capture(model=model, optimiser=optimiser, scaler=None, step=step, best=None, identity=identity())


def state_at(step: int, *, miou: float | None = None, best: Best | None = None) -> TrainState:
    """A state whose tensors tell the steps apart; ``miou`` makes this step its best one."""
    return replace(_trained(step), best=best if miou is None else Best(step=step, miou=miou))
