from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from abet.models.precision import full_precision
from abet.models.products import neighbour_products
from abet.models.resample import BAND_ROWS, coordinates, resample, resample_squared_norm

SIDES = st.integers(1, 12)


def enlarge(maps, size):
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


@pytest.mark.parametrize(("inputs", "outputs"), [(512, 1024), (1024, 2048), (49, 97), (9, 4), (1, 5), (5, 1), (1, 1)])
def test_coordinates_are_exact_quotients_rounded_once(inputs, outputs):
    low, a = coordinates(inputs, outputs)
    for i in range(outputs):
        exact = Fraction(i * (inputs - 1), max(outputs - 1, 1))
        assert 0 <= low[i] <= max(inputs - 2, 0)
        assert 0 <= a[i] <= 1
        assert a[i] == float(exact - int(low[i]))


@settings(deadline=None, max_examples=60)
@given(h=SIDES, w=SIDES, height=SIDES, width=SIDES)
def test_equals_bilinear_interpolation_at_any_pair_of_sizes(h, w, height, width):
    maps = torch.randn(2, 3, h, w, dtype=torch.float64)
    torch.testing.assert_close(resample(maps, (height, width)), enlarge(maps, (height, width)), rtol=0, atol=1e-13)


@settings(deadline=None, max_examples=60)
@given(h=SIDES, w=SIDES, height=SIDES, width=SIDES)
def test_neighbour_products_hold_the_squared_norm_at_any_pair_of_sizes(h, w, height, width):
    features = torch.randn(2, 5, h, w, dtype=torch.float64)
    squared = resample_squared_norm(neighbour_products(features), (height, width))
    expected = enlarge(features, (height, width)).square().sum(1, keepdim=True)
    torch.testing.assert_close(squared, expected, rtol=0, atol=1e-12)


def test_several_bands_join_without_a_seam():
    size = (2 * BAND_ROWS + 7, 3 * BAND_ROWS)
    maps = torch.randn(1, 2, 71, 83, dtype=torch.float64)
    torch.testing.assert_close(resample(maps, size), enlarge(maps, size), rtol=0, atol=1e-13)


def test_equal_sizes_change_no_bit():
    maps = torch.randn(1, 2, 5, 70)
    assert torch.equal(resample(maps, (5, 70)), maps)


def test_gradients_are_the_transposed_products():
    for size in [(7, 9), (2, 3), (4, 1)]:
        maps = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x, size=size: resample(x, size), maps)
        grid = torch.randn(1, 1, 7, 9, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x, size=size: resample_squared_norm(x, size), grid)


def test_a_pixel_that_is_not_finite_stays_local():
    maps = torch.zeros(1, 1, 300, 300)
    maps[0, 0, 0, 0] = torch.nan
    result = resample(maps, (600, 600))
    assert result[0, 0, 0, 0].isnan()
    assert result[0, 0, 2 * BAND_ROWS :].isfinite().all()
    assert result[0, 0, :, 2 * BAND_ROWS :].isfinite().all()


def test_matrices_made_in_inference_mode_serve_training():
    with torch.inference_mode():
        resample(torch.randn(1, 1, 13, 17), (29, 31))
    maps = torch.randn(1, 1, 13, 17, requires_grad=True)
    resample(maps, (29, 31)).sum().backward()
    assert maps.grad.isfinite().all()


def test_full_precision_switches_reduced_products_off_and_puts_them_back():
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    start = [backend.fp32_precision for backend in backends]
    try:
        backends[0].fp32_precision, backends[1].fp32_precision = "tf32", "bf16"
        with (  # noqa: PT012
            torch.autocast("cpu", torch.bfloat16),
            pytest.raises(KeyError),
            full_precision(torch.device("cpu")),
        ):
            assert [backend.fp32_precision for backend in backends] == ["ieee", "ieee"]
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
            raise KeyError
        assert [backend.fp32_precision for backend in backends] == ["tf32", "bf16"]
    finally:
        for backend, precision in zip(backends, start, strict=True):
            backend.fp32_precision = precision
