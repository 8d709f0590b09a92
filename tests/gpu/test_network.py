"""The networks, their heads and losses on a GPU are those of the CPU."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from abet.losses import cross_entropy_sum
from abet.losses.image_weighted import image_weighted_sum
from abet.losses.relaxed import hard_boundary_sum, relaxed_sum
from abet.model_config import TemperatureModel
from abet.models.build import build_model
from abet.models.compiling import compiled
from abet.models.head import AbeTHead
from abet.models.precision import reproducible
from abet.models.recompute import recompute_blocks
from tests.conftest import random_weights, small_config

pytestmark = pytest.mark.gpu

ROUNDING = 1e-4
"""Of logits up to about 20, in float32 on both."""
HALF_ROUNDING = 0.03
"""Of a cosine, in bfloat16 up to the features."""


def network(head: TemperatureModel = "learned") -> nn.Module:
    model: nn.Module = build_model(small_config(head))
    model.load_state_dict(dict(random_weights(head).tensors))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def image(*size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(7)).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("head", ["none", "baseline", "learned"])
def test_evaluation_gives_the_numbers_of_the_cpu(gpu: torch.device, head: TemperatureModel) -> None:
    model = network(head).eval()
    pixels = image(1, 3, 97, 130)
    with torch.inference_mode():
        wanted = model(pixels)
        with reproducible(gpu):
            found, again = (model.to(gpu)(pixels.to(gpu)) for _ in range(2))
    for ours, repeated, theirs in zip(found, again, wanted, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours.cpu(), theirs, rtol=ROUNDING, atol=ROUNDING)
            assert torch.equal(ours, repeated)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_and_no_cosine_exceeds_one(gpu: torch.device, dtype: torch.dtype) -> None:
    model = network().eval()
    pixels = image(1, 3, 97, 130)
    with torch.inference_mode():
        wanted = model(pixels)
        with torch.autocast("cuda", dtype=dtype):
            found = model.to(gpu)(pixels.to(gpu))
    assert {value.dtype for value in found} == {torch.float32}
    assert found.cosine.abs().max() <= 1 + 1e-6
    assert (found.cosine.cpu() - wanted.cosine).abs().mean() < HALF_ROUNDING


def test_gradients_of_the_head_are_those_of_float64(gpu: torch.device) -> None:
    torch.manual_seed(0)
    head = AbeTHead(in_channels=32, num_classes=5)
    features = torch.rand(2, 32, 9, 12)

    def gradients(head: nn.Module, features: Tensor) -> list[Tensor]:
        features = features.clone().requires_grad_()
        weights = torch.linspace(-1, 1, 2 * 5 * 17 * 23, dtype=features.dtype, device=features.device)
        logits = head(features, (17, 23)).logits
        torch.autograd.backward((logits.flatten() * weights).mean())
        assert features.grad is not None
        return [features.grad, *(parameter.grad for parameter in head.parameters() if parameter.grad is not None)]

    exact = gradients(copy.deepcopy(head).double(), features.double())
    for ours, theirs in zip(gradients(head.to(gpu), features.to(gpu)), exact, strict=True):
        error = (ours.cpu().double() - theirs).norm() / theirs.norm()
        assert error < 1e-4, error


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": cross_entropy_sum,
    "image-weighted": lambda logits, labels: image_weighted_sum(
        logits, labels, bound=6.0, batch_statistics=False, ignored_count_as_last=False
    ),
    "relaxed": lambda logits, labels: relaxed_sum(logits, labels, bound=1.0, strict=(2, 3)),
    "hard": lambda logits, labels: hard_boundary_sum(logits, labels, bound=1.0),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_their_gradients_are_those_of_the_cpu(gpu: torch.device, loss: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    coarse = torch.randint(6, (2, 6, 8), dtype=torch.uint8)
    labels = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)
    labels = labels.where(labels < 5, 255)
    logits = (3 * torch.randn(2, 5, 48, 64)).to(dtype)
    results = []
    for device in (torch.device("cpu"), gpu):
        inputs = logits.to(device, copy=True).requires_grad_()
        value = LOSSES[loss](inputs, labels.to(device))
        torch.autograd.backward(value)
        assert inputs.grad is not None
        results.append((value.detach().cpu(), inputs.grad.float().cpu()))
    (value, gradient), (ours, our_gradient) = results
    torch.testing.assert_close(ours, value, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(our_gradient, gradient, rtol=1e-2 if dtype is torch.bfloat16 else 1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_crop_that_is_ignored_altogether_adds_nothing(gpu: torch.device, loss: str) -> None:
    logits = torch.randn(2, 5, 16, 16, device=gpu, requires_grad=True)
    value = LOSSES[loss](logits, torch.full((2, 16, 16), 255, dtype=torch.uint8, device=gpu))
    torch.autograd.backward(value)
    assert value == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def gradients(model: nn.Module, pixels: Tensor, labels: Tensor) -> Tensor:
    torch.manual_seed(3)  # dropout
    with torch.autocast("cuda", dtype=torch.bfloat16):
        logits = model(pixels).logits
    torch.autograd.backward(nn.functional.cross_entropy(logits, labels))
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


def batch(gpu: torch.device) -> tuple[Tensor, Tensor]:
    return image(2, 3, 128, 192).to(gpu), torch.randint(
        19, (2, 128, 192), generator=torch.Generator().manual_seed(8)
    ).to(gpu)


def test_recomputed_blocks_drop_the_same_channels_and_take_less_memory(gpu: torch.device) -> None:
    pixels, labels = batch(gpu)
    found, peaks = [], []
    for recompute in (False, True):
        model = network().train().to(gpu)
        if recompute:
            recompute_blocks(model)
        torch.cuda.reset_peak_memory_stats(gpu)
        found.append((gradients(model, pixels, labels), [buffer.clone() for buffer in model.buffers()]))
        peaks.append(torch.cuda.max_memory_allocated(gpu))
        del model
    (kept, statistics), (recomputed, others) = found
    assert (kept - recomputed).norm() / kept.norm() < 1e-2  # atomic sums differ from run to run
    for one, other in zip(statistics, others, strict=True):
        torch.testing.assert_close(one, other)
    assert peaks[1] < peaks[0]


def test_a_compiled_network_has_the_gradients_of_the_other_one(gpu: torch.device) -> None:
    found = []
    for compile_it in (False, True):
        model = network().double().train().to(gpu)
        for module in model.modules():
            if isinstance(module, nn.Dropout2d):
                module.p = 0.0  # inductor draws other channels
        pixels, labels = batch(gpu)
        logits = (compiled(model) if compile_it else model)(pixels.double()).logits
        torch.autograd.backward(nn.functional.cross_entropy(logits, labels))
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, plain in found[0].items():
        assert plain.any(), name
        assert (found[1][name] - plain).norm() / plain.norm() < 1e-6, name
