"""The head's kernels give what the same functions give on the CPU, in both directions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from abet.models import products, resample
from abet.models.kernel_choice import use_kernels
from abet.models.products import neighbour_products, project

pytestmark = pytest.mark.gpu

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Of the norm of a result, whose sums are in another order; a gradient for bfloat16 features is bfloat16."""


@pytest.fixture(params=["kernels", "operations"])
def way(request: pytest.FixtureRequest, gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> str:
    """By Triton's kernels, or by torch's operations where they do not work."""
    if request.param == "operations":
        monkeypatch.setenv("ABET_KERNELS", "0")
    assert use_kernels(torch.ones(1, device=gpu)) == (request.param == "kernels")
    return str(request.param)


def compare(function: Callable[..., Tensor], gpu: torch.device, *arguments: Tensor) -> None:
    """The result and the gradients of ``function`` on both devices."""
    found = []
    for device in (torch.device("cpu"), gpu):
        inputs = [value.to(device, copy=True).requires_grad_() for value in arguments]
        result = function(*inputs)
        factors = torch.randn(result.shape, generator=torch.Generator().manual_seed(5), dtype=result.dtype)
        torch.autograd.backward((result * factors.to(device)).sum())
        found.append([result.detach().cpu(), *(value.grad.cpu() for value in inputs if value.grad is not None)])
    for ours, theirs in zip(found[1], found[0], strict=True):
        assert ours.dtype == theirs.dtype
        error = (ours.double() - theirs.double()).norm() / (theirs.double().norm() + 1e-30)
        assert error < TOLERANCE[theirs.dtype], error


SHAPES = [(2, 70, 5, 37), (1, 3, 1, 6), (1, 64, 6, 1), (1, 5, 1, 1), (2, 256, 33, 40)]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_of_neighbours(
    gpu: torch.device, shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    compare(neighbour_products, gpu, torch.randn(shape).to(dtype).contiguous(memory_format=layout))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 16, 50, 60)])
def test_projections(
    gpu: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, ...],
    layout: torch.memory_format,
    dtype: torch.dtype,
) -> None:
    monkeypatch.setattr(products, "GPU_CHUNK_ELEMENTS", 16 * 1100)  # parts, and remainders of them
    torch.manual_seed(0)
    features = torch.randn(shape).to(dtype).contiguous(memory_format=layout)
    weight = torch.randn(6, shape[1], dtype=torch.promote_types(dtype, torch.float32))
    compare(project, gpu, features, weight)


SIZES = [
    ((5, 7), (9, 13)),
    ((5, 7), (3, 2)),
    ((1, 4), (6, 1)),
    ((3, 1), (7, 5)),
    ((1, 1), (9, 9)),
    ((56, 80), (112, 161)),
]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("source", "size"), SIZES)
def test_resampling(gpu: torch.device, source: tuple[int, int], size: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    grid = (2 * source[0] - 1, 2 * source[1] - 1)
    compare(lambda maps: resample.resample(maps, size), gpu, torch.randn(2, 3, *source, dtype=dtype))
    compare(lambda maps: resample.resample_squared_norm(maps, size), gpu, torch.randn(2, 1, *grid, dtype=dtype))


@pytest.mark.usefixtures("way")
def test_what_is_not_finite_reaches_exactly_what_mixes_it_in(gpu: torch.device) -> None:
    maps = torch.randn(1, 2, 4, 5)
    maps[0, 0, 1, 2], maps[0, 0, 3, 4], maps[0, 1, 0, 0] = torch.inf, torch.nan, -torch.inf
    wanted = resample.resample(maps, (7, 12))
    torch.testing.assert_close(resample.resample(maps.to(gpu), (7, 12)).cpu(), wanted, equal_nan=True)


def test_kernels_give_the_same_bits_every_time(gpu: torch.device) -> None:
    features = torch.randn(2, 64, 40, 60, device=gpu, requires_grad=True)
    found = []
    for _ in range(3):
        maps = resample.resample_squared_norm(neighbour_products(features), (80, 120))
        features.grad = None
        torch.autograd.backward(maps.square().sum())
        assert features.grad is not None
        found.append((maps.detach().clone(), features.grad.clone()))
    for maps, gradient in found[1:]:
        assert torch.equal(maps, found[0][0])
        assert torch.equal(gradient, found[0][1])


def test_more_outputs_than_a_grid_has_rows_of_blocks(gpu: torch.device) -> None:
    from abet.models import kernels

    maps = torch.randn(1, 2, 17_000_000, device=gpu)
    first, weights = torch.zeros(2, dtype=torch.int32, device=gpu), torch.tensor([[1.0, 0.0], [0.5, 0.5]], device=gpu)
    found = kernels.apply_taps(maps, first, weights)
    torch.testing.assert_close(found, torch.stack([maps[:, 0], maps.mean(1)], dim=1))


def test_no_image_is_no_error(gpu: torch.device) -> None:
    features = torch.randn(0, 8, 4, 5, device=gpu, requires_grad=True)
    maps = resample.resample_squared_norm(neighbour_products(features), (8, 10))
    torch.autograd.backward(maps.sum())
    assert maps.shape == (0, 1, 8, 10)
    assert features.grad is not None


def test_a_first_pass_without_gradients_does_not_spoil_training(gpu: torch.device) -> None:
    features = torch.randn(1, 8, 6, 7, device=gpu)
    with torch.inference_mode():
        wanted = resample.resample_squared_norm(neighbour_products(features), (13, 11))
    trained = features.clone().requires_grad_()
    maps = resample.resample_squared_norm(neighbour_products(trained), (13, 11))
    torch.autograd.backward(maps.sum())
    assert torch.equal(maps, wanted)


def test_a_tensor_of_another_gpu_is_computed_there(gpu: torch.device) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU alone")
    other = torch.device("cuda", 1)
    features = torch.randn(1, 8, 6, 7)
    with torch.cuda.device(gpu):
        found = neighbour_products(features.to(other))
    torch.testing.assert_close(found.cpu(), neighbour_products(features))
