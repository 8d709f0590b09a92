"""Recomputed blocks: less is kept, and not a bit of any weight or running statistic differs."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from abet.distributed import Topology, settle_buckets, wrap
from abet.models.build import build_model
from abet.models.recompute import RecomputableBlock, recompute_blocks
from abet.models.sync_norm import synchronise
from tests.conftest import small_config
from tests.test_distributed import grouped, processes
from tests.training.states import fresh, train

TRUNKS = {"wider_resnet": (), "resnet50": ("model.trunk.kind=resnet50",)}
CPU = torch.device("cpu")


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


@pytest.mark.faults
@pytest.mark.parametrize("trunk", TRUNKS)
def test_steps_with_dropout_end_in_the_same_bits(trunk: str) -> None:
    (kept, first), (recomputed, second) = (fresh(0, *TRUNKS[trunk]) for _ in range(2))
    recompute_blocks(recomputed)
    for model, optimiser in ((kept, first), (recomputed, second)):
        train(model, optimiser, range(2))
    assert same(kept, recomputed)
    counters = [value for name, value in recomputed.state_dict().items() if name.endswith("num_batches_tracked")]
    assert {int(counter) for counter in counters} == {2}


def one_step(model: Any, dtype: torch.dtype | None = None) -> Tensor:
    torch.manual_seed(3)
    images = torch.randn(2, 3, 32, 48)
    labels = torch.randint(19, (2, 32, 48))
    with nullcontext() if dtype is None else torch.autocast("cpu", dtype=dtype):
        logits = model(images).logits
    loss = nn.functional.cross_entropy(logits, labels)
    torch.autograd.backward(loss)
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model: nn.Module = build_model(small_config("learned"))
    other = copy.deepcopy(model)
    recompute_blocks(other)
    return model, other


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_the_same_gradients(dtype: torch.dtype) -> None:
    kept, recomputed = pair()
    assert torch.equal(one_step(kept, dtype), one_step(recomputed, dtype))
    assert same(kept, recomputed)


def kept_bytes(run: Callable[[], Any]) -> int:
    storages = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(storage.nbytes() for storage in storages.values())


def test_far_less_is_kept_between_forward_and_backward() -> None:
    kept, recomputed = pair()
    images = torch.randn(2, 3, 64, 96)
    parameters = sum(parameter.nbytes for parameter in kept.parameters())
    whole, less = (kept_bytes(lambda model=model: model(images)) - parameters for model in (kept, recomputed))
    assert less < 0.6 * whole


class Counting(RecomputableBlock):
    """Says how often it ran."""

    runs = 0

    def compute(self, x: Tensor) -> Tensor:
        self.runs += 1
        return x.exp()


@pytest.mark.parametrize(
    ("training", "gradient", "runs"), [(True, True, 2), (False, True, 1), (True, False, 1), (False, False, 1)]
)
def test_evaluation_and_passes_without_gradient_compute_once(training: bool, gradient: bool, runs: int) -> None:
    block = Counting().train(training)
    recompute_blocks(block)
    with torch.set_grad_enabled(gradient):
        result = block(torch.ones(3, requires_grad=True))
    if gradient:
        result.sum().backward()
    assert block.runs == runs


def test_statistics_are_those_of_the_first_pass_even_after_an_error() -> None:
    _, recomputed = pair()
    block = next(module for module in recomputed.modules() if isinstance(module, RecomputableBlock))
    result = block(torch.randn(2, 16, 8, 8, requires_grad=True))
    after = copy.deepcopy(block.state_dict())
    block.train(False)  # another computation than the first: torch notices
    with pytest.raises(CheckpointError):
        result.sum().backward()
    assert all(torch.equal(value, after[name]) for name, value in block.state_dict().items())


def two_processes(topology: Topology, recompute: bool) -> list[Any]:
    """Weights' gradients and running statistics of one step of the wrapped, synchronised network."""
    torch.manual_seed(0)
    model = synchronise(build_model(small_config("learned")), topology.device)
    if recompute:
        recompute_blocks(model)
    network = wrap(model, topology)
    settle_buckets(network, lambda network: network(torch.zeros(1, 3, 32, 32)).logits.square().mean())
    torch.manual_seed(topology.rank)
    torch.autograd.backward(network(torch.randn(1 + topology.rank, 3, 40, 32)).logits.square().mean())
    return [parameter.grad.numpy() for parameter in model.parameters()] + [value.numpy() for value in model.buffers()]


@pytest.mark.faults
def test_with_statistics_of_two_processes_the_bits_are_the_same_too() -> None:
    with processes(2) as run:
        kept, recomputed = (run(grouped, two_processes, recompute) for recompute in (False, True))
    for one, other in zip(kept, recomputed, strict=True):
        assert all((a == b).all() for a, b in zip(one, other, strict=True))
