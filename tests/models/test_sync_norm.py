"""Batches split over processes are normalised as one batch: values, running statistics and gradients."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from abet.distributed import Topology
from abet.model_config import ModelConfig
from abet.models.build import build_model
from abet.models.sync_norm import CpuSyncBatchNorm, synchronise
from tests.conftest import small_config
from tests.test_distributed import grouped, processes

CPU = torch.device("cpu")
CHANNELS = 5
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
"""Largest difference allowed for values of about 1: some roundings of the type."""

# (images of each process, dtype, memory format, affine)
LAYER_CASES: list[tuple[Sequence[int], torch.dtype, torch.memory_format, bool]] = [
    ((3, 3), torch.float32, torch.contiguous_format, True),
    ((3, 3), torch.float32, torch.channels_last, True),
    ((4, 1), torch.float64, torch.contiguous_format, True),
    ((1, 5), torch.float64, torch.channels_last, True),
    ((2, 0), torch.float64, torch.contiguous_format, True),
    ((2, 3), torch.float64, torch.contiguous_format, False),
]
FOUR_CASES: list[tuple[Sequence[int], torch.dtype, torch.memory_format, bool]] = [
    ((2, 2, 2, 2), torch.float32, torch.channels_last, True),
    ((3, 1, 0, 2), torch.float64, torch.contiguous_format, True),
]


def batch(images: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Values far from zero mean, and the gradient that comes back."""
    generator = torch.Generator().manual_seed(images)
    values = torch.randn(2, images, CHANNELS, 6, 7, dtype=torch.float64, generator=generator)
    spread = torch.linspace(0.5, 3, CHANNELS)[:, None, None]
    return (values[0] * spread + 2 * spread).to(dtype), values[1].to(dtype)


def layer(dtype: torch.dtype, affine: bool) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(CHANNELS, affine=affine, momentum=0.3, dtype=dtype)
    if affine:
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(0.5, 2, CHANNELS))
            norm.bias.copy_(torch.linspace(-1, 1, CHANNELS))
    return norm


def outcome(norm: nn.Module, images: Tensor, gradient: Tensor) -> dict[str, Any]:
    """What a training step's pass leaves behind."""
    images = images.detach().requires_grad_()
    output = norm(images)
    output.backward(gradient)
    assert images.grad is not None
    found = {"output": output.detach(), "input gradient": images.grad}
    found |= {f"gradient of {name}": weight.grad for name, weight in norm.named_parameters()}
    found |= dict(norm.named_buffers())
    return {name: value.numpy() for name, value in found.items()}


def one_layer(
    topology: Topology, shares: Sequence[int], dtype: torch.dtype, layout: torch.memory_format, affine: bool
) -> dict[str, Any]:
    images, gradient = (
        part.split(list(shares))[topology.rank].contiguous(memory_format=layout) for part in batch(sum(shares), dtype)
    )
    norm = synchronise(layer(dtype, affine), CPU)
    assert isinstance(norm, CpuSyncBatchNorm)
    kept = norm(images).is_contiguous(memory_format=layout)
    return {**outcome(synchronise(layer(dtype, affine), CPU), images, gradient), "format kept": kept}


def several_layers(topology: Topology, cases: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [one_layer(topology, *case) for case in cases]


def expect_one_batch(case: tuple[Any, ...], ranks: Sequence[dict[str, Any]]) -> None:
    """The parts of all ranks against nn.BatchNorm2d on the concatenated batch."""
    shares, dtype, _, affine = case
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype], "err_msg": str(case)}
    whole = outcome(layer(dtype, affine), *batch(sum(shares), dtype))
    for name in ("output", "input gradient"):
        np.testing.assert_allclose(np.concatenate([rank[name] for rank in ranks]), whole[name], **close)
    for name in [name for name in whole if name.startswith("gradient of")]:
        scale = np.abs(whole[name]).max()  # of a sum over many values, partly cancelling
        np.testing.assert_allclose(sum(rank[name] for rank in ranks) / scale, whole[name] / scale, **close)
    for rank in ranks:
        assert rank["num_batches_tracked"] == 1
        assert rank["format kept"]
        for name in ("running_mean", "running_var"):
            np.testing.assert_allclose(rank[name], whole[name], **close)
            np.testing.assert_array_equal(rank[name], ranks[0][name])


def without_dropout() -> ModelConfig:
    config = small_config("learned")
    return config.model_copy(update={"trunk": config.trunk.model_copy(update={"dropout": (0.0,) * 6})})


def network_outcome(topology: Topology | None, shares: Sequence[int]) -> dict[str, Any]:
    """Logits, running statistics and the gradient of all weights of the whole network, temperature included."""
    torch.manual_seed(0)
    network = build_model(without_dropout()).double()
    images = torch.randn(sum(shares), 3, 32, 64, dtype=torch.float64)
    if topology is not None:
        network, images = synchronise(network, CPU), images.split(list(shares))[topology.rank]
    logits = network(images).logits
    logits.square().sum().backward()
    found = {"logits": logits.detach()} | dict(network.named_buffers())
    found |= {f"gradient of {name}": weight.grad for name, weight in network.named_parameters()}
    return {name: value.numpy() for name, value in found.items()}


def special_cases(_topology: Topology) -> dict[str, Any]:
    """One value per process suffices; one value in all has no variance; evaluation exchanges nothing."""
    norm, rank = synchronise(layer(torch.float32, True), CPU), _topology.rank
    single = norm(torch.full((1, CHANNELS, 1, 1), float(rank)))
    try:
        norm(torch.zeros(1 - rank, CHANNELS, 1, 1))
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
    norm.eval()
    evaluated = [norm(torch.ones(1, CHANNELS, 2, 2)) for _ in range(rank + 1)]  # uneven: an exchange would hang
    cumulative = synchronise(nn.BatchNorm2d(1, momentum=None), CPU)
    for value in (1.0, 4.0):
        cumulative(torch.full((2, 1, 2, 2), value + rank))
    half = layer(torch.float32, True)
    images, gradient = batch(2, torch.bfloat16)
    low = outcome(synchronise(copy.deepcopy(half), CPU), images.float(), gradient.float())
    images = images.requires_grad_()
    output = synchronise(half, CPU)(images)
    output.backward(gradient)
    return {
        "single": single.flatten()[0].item(),
        "refused": refused,
        "evaluated": len(evaluated),
        "cumulative": cumulative.running_mean.item(),
        "half": (output.dtype, float((output.float() - torch.from_numpy(low["output"])).detach().abs().max())),
        "half gradient": float((images.grad.float() - torch.from_numpy(low["input gradient"])).abs().max()),
    }


@pytest.mark.faults
def test_two_processes_normalise_as_one() -> None:
    shares = (3, 1)
    with processes(2) as run:
        layers = run(grouped, several_layers, LAYER_CASES)
        networks = run(grouped, network_outcome, shares)
        special = run(grouped, special_cases)

    for number, case in enumerate(LAYER_CASES):
        expect_one_batch(case, [rank[number] for rank in layers])

    whole = network_outcome(None, shares)
    np.testing.assert_allclose(
        np.concatenate([rank.pop("logits") for rank in networks]), whole.pop("logits"), 1e-9, 1e-9
    )
    for name, value in whole.items():
        found = sum(rank[name] for rank in networks) if name.startswith("gradient of") else networks[1][name]
        scale = np.abs(value).max() or 1
        np.testing.assert_allclose(found / scale, value / scale, rtol=0, atol=1e-9, err_msg=name)

    # mean 1/2, biased variance 1/4: xhat is -1 and 1, times the weight 0.5, plus the bias -1
    assert [rank["single"] for rank in special] == pytest.approx([-1.5, -0.5], abs=1e-4)
    for rank in special:
        assert "more than 1 value per channel over all processes" in rank["refused"]
        assert rank["cumulative"] == pytest.approx((1.5 + 4.5) / 2)
        assert rank["half"][0] == torch.bfloat16
        assert rank["half"][1] < 0.05  # bfloat16 holds values up to 8 to within 0.03
        assert rank["half gradient"] < 0.05
    assert [rank["evaluated"] for rank in special] == [1, 2]


@pytest.mark.faults
def test_four_processes_normalise_as_one() -> None:
    with processes(4) as run:
        layers = run(grouped, several_layers, FOUR_CASES)
    for number, case in enumerate(FOUR_CASES):
        expect_one_batch(case, [rank[number] for rank in layers])


@pytest.mark.parametrize("training", [True, False])
def test_one_process_computes_the_very_same_bits(training: bool) -> None:
    images, gradient = batch(4, torch.float32)
    plain = layer(torch.float32, True).train(training)
    expected = outcome(plain, images, gradient)
    found = outcome(synchronise(layer(torch.float32, True).train(training), CPU), images, gradient)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, strict=True)


def test_the_network_keeps_its_parameters_buffers_names_and_modes() -> None:
    network = build_model(small_config("learned"))
    network.underlying_model.mod2.eval()
    before = network.state_dict(keep_vars=True)
    modes = {name: module.training for name, module in network.named_modules()}
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    synchronised = synchronise(network, CPU)
    after = synchronised.state_dict(keep_vars=True)
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert modes == {name: module.training for name, module in synchronised.named_modules()}
    assert norms == {name for name, module in synchronised.named_modules() if isinstance(module, CpuSyncBatchNorm)}
    assert "temperature.1" in norms


def test_on_a_gpu_torch_s_own_layer_is_used() -> None:
    network = synchronise(build_model(small_config("learned")), torch.device("cuda", 0))
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert isinstance(network.temperature[1], nn.SyncBatchNorm)
