"""Shared batch statistics on a GPU, in two processes that share one card and talk through gloo: NCCL wants two."""

import os
import socket
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from abet.distributed import Topology, settle_buckets, wrap
from abet.models.build import build_model
from abet.models.compiling import compiled
from abet.models.sync_norm import synchronise
from tests.conftest import small_config

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


def one_rank(rank: int, port: int, compile_it: bool, answers: Any) -> None:
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    device = torch.device("cuda", 0)
    model = synchronise(fresh(device), device)
    network = wrap(compiled(model) if compile_it else model, Topology(rank=rank, processes=2, device=device))
    settle_buckets(
        network,
        lambda network: network(torch.zeros(2, 3, *SIZE, dtype=torch.float64, device=device)).logits.square().mean(),
    )
    result = gradients(network, model, pixels(device)[2 * rank : 2 * rank + 2])
    answers.put((rank, result))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("compile_it", [False, True])
def test_two_processes_take_the_step_of_one(gpu: torch.device, compile_it: bool) -> None:
    alone = fresh(gpu)
    wanted = gradients(alone, alone, pixels(gpu))
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    context = mp.get_context("spawn")
    answers = context.Queue()
    ranks = [context.Process(target=one_rank, args=(rank, port, compile_it, answers)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = dict(answers.get(timeout=240) for _ in ranks)
    for process in ranks:
        process.join(60)
        assert process.exitcode == 0
    for rank in range(2):
        for ours, theirs in zip(found[rank], wanted, strict=True):
            assert abs(ours - theirs).max() <= 1e-6 * abs(theirs).max()
