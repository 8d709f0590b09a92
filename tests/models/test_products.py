import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from abet.models import products
from abet.models.products import neighbour_products, project


@pytest.fixture(params=[1, 2 * 2 * 3 * 4, 1 << 24], ids=["one channel", "two channels", "all channels"])
def per_pass(request, monkeypatch):
    """However many channels one pass takes, the result is the same."""
    monkeypatch.setattr(products, "CPU_CHUNK_ELEMENTS", request.param)


def naive_grid(x):
    """The definition, position by position."""
    _, _, height, width = x.shape
    grid = x.new_zeros(len(x), 1, 2 * height - 1, 2 * width - 1)
    for i in range(height):
        for j in range(width):
            here, right, below = x[..., i, j], x[..., i, j + 1 : j + 2], x[..., i + 1 : i + 2, j]
            grid[:, 0, 2 * i, 2 * j] = (here * here).sum(1)
            if j + 1 < width:
                grid[:, 0, 2 * i, 2 * j + 1] = (here * right[..., 0]).sum(1)
            if i + 1 < height:
                grid[:, 0, 2 * i + 1, 2 * j] = (here * below[..., 0]).sum(1)
            if j + 1 < width and i + 1 < height:
                falling, rising = here * x[..., i + 1, j + 1], x[..., i + 1, j] * x[..., i, j + 1]
                grid[:, 0, 2 * i + 1, 2 * j + 1] = (falling + rising).sum(1) / 2
    return grid


@pytest.mark.usefixtures("per_pass")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 3, 3, 4), (1, 3, 1, 6), (1, 3, 6, 1), (1, 3, 1, 1)])
def test_neighbour_products_are_what_they_say(shape, layout):
    x = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    torch.testing.assert_close(neighbour_products(x), naive_grid(x))
    assert torch.autograd.gradcheck(neighbour_products, x)


@pytest.mark.usefixtures("per_pass")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_projection_is_a_1x1_convolution(layout):
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(project(x, weight), torch.einsum("bkij,ck->bcij", x, weight))
    assert torch.autograd.gradcheck(project, (x, weight))


def test_half_precision_features_are_computed_in_float32_and_their_gradient_has_their_type():
    x = torch.randn(1, 64, 3, 4).bfloat16().requires_grad_()
    weight = torch.randn(5, 64, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        grid, maps = neighbour_products(x), project(x, weight)
    assert torch.equal(grid, neighbour_products(x.float()))
    assert torch.equal(maps, project(x.float(), weight))
    with torch.autocast("cpu", torch.bfloat16):
        (grid.sum() + maps.sum()).backward()
    assert x.grad.dtype == torch.bfloat16
    assert weight.grad.dtype == torch.float32


@pytest.mark.usefixtures("per_pass")
@pytest.mark.parametrize(("features", "weight"), [(True, True), (True, False), (False, True)])
def test_only_the_gradients_that_are_asked_for_are_computed(features, weight):
    x = torch.randn(1, 24, 3, 4, requires_grad=features)
    w = torch.randn(5, 24, requires_grad=weight)
    maps = project(x, w)
    with FlopCounterMode(display=False) as count:
        maps.sum().backward()
    assert count.get_total_flops() == (features + weight) * 2 * 5 * 24 * 12
    assert (x.grad is None, w.grad is None) == (not features, not weight)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 6, 33, 37), (1, 6, 2, 3), (0, 6, 4, 5)])
def test_products_by_positions_as_on_a_gpu_are_those_by_channels(shape, layout, monkeypatch):
    monkeypatch.setattr(products, "GPU_CHUNK_ELEMENTS", 6 * 700)
    monkeypatch.setattr(products, "GPU_SUM_POSITIONS", 64)
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout)
    weight = torch.randn(5, 6, dtype=torch.float64)
    gradient = torch.randn(len(x), 5, x.shape[2] * x.shape[3], dtype=torch.float64)
    torch.testing.assert_close(products._project_positions(x, weight), products._project_channels(x, weight))
    for asked in [(True, True), (True, False), (False, True)]:
        found = products._positions_backward(x, weight, gradient, *asked)
        wanted = products._channels_backward(x, weight, gradient, *asked)
        assert [value is not None for value in found] == list(asked)
        for ours, theirs in zip(found, wanted, strict=True):
            if theirs is not None:
                torch.testing.assert_close(ours, theirs)
