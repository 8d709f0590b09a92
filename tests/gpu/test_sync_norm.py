"""Shared batch statistics on a GPU, in two processes that share one card and talk through gloo: NCCL wants two."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from abet.distributed import Topology, settle_buckets, wrap
from abet.models.build import build_model
from abet.models.compiling import compiled
from abet.models.sync_norm import synchronise
from tests.conftest import small_config
from tests.test_distributed import grouped, processes

pytestmark = pytest.mark.gpu

SIZE = (64, 96)


def gradients(network: nn.Module, model: nn.Module, images: torch.Tensor) -> list[Any]:
    torch.autograd.backward(network(images).logits.square().mean())
    return [parameter.grad.cpu().numpy() for parameter in model.parameters() if parameter.grad is not None] + [
        value.cpu().numpy() for value in model.buffers()
    ]


def fresh(device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = build_model(small_config())
    for module in model.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    return model.to(device).double()


def pixels(device: torch.device) -> torch.Tensor:
    return torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(1)).to(device).double()


def one_rank(topology: Topology, compile_it: bool) -> list[Any]:
    """What a process of two finds; they talk through gloo, also of what lies on the card."""
    device = torch.device("cuda", 0)
    model = synchronise(fresh(device), device)
    network = wrap(compiled(model) if compile_it else model, replace(topology, device=device))
    settle_buckets(network, lambda network: network(torch.zeros(2, 3, *SIZE).to(pixels(device))).logits.square().mean())
    return gradients(network, model, pixels(device)[2 * topology.rank : 2 * topology.rank + 2])


@pytest.mark.parametrize("compile_it", [False, True])
def test_two_processes_take_the_step_of_one(gpu: torch.device, compile_it: bool) -> None:
    alone = fresh(gpu)
    wanted = gradients(alone, alone, pixels(gpu))
    with processes(2) as run:
        found = run(grouped, one_rank, compile_it)
    for rank in range(2):
        for ours, theirs in zip(found[rank], wanted, strict=True):
            assert abs(ours - theirs).max() <= 1e-6 * abs(theirs).max()
