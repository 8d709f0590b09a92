from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from abet.models.products import neighbour_products
from abet.models.resample import BAND_ROWS, Taps, _taps, coordinates, resample, resample_squared_norm

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


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("size", [(31, 37), (150, 131), (9, 90)])
def test_exactly_the_positions_that_mix_in_a_value_that_is_not_finite_are_nan(value, size):
    maps = torch.randn(2, 2, 30, 40, dtype=torch.float64)
    maps[1, 0, 11, 13] = maps[1, 0, 29, 39] = value
    result = resample(maps, size)
    touched = torch.zeros(2, 2, *size, dtype=torch.bool)
    for i, j in ((11, 13), (29, 39)):
        touched[1, 0] |= near(i, 30, size[0])[:, None] & near(j, 40, size[1])
    assert torch.equal(result.isnan(), touched)
    expected = enlarge(maps.nan_to_num(0, 0, 0), size)
    torch.testing.assert_close(result[~touched], expected[~touched], rtol=0, atol=1e-13)


def near(position, inputs, outputs):
    """Which outputs of an axis lie less than one input from ``position``."""
    distances = [abs(Fraction(i * (inputs - 1), outputs - 1) - position) for i in range(outputs)]
    return torch.tensor([distance < 1 for distance in distances])


def test_a_squared_norm_that_is_not_finite_stays_local():
    features = torch.randn(1, 3, 30, 40)
    features[0, 1, 11, 13] = torch.inf
    squared = resample_squared_norm(neighbour_products(features), (59, 79))
    touched = near(11, 30, 59)[:, None] & near(13, 40, 79)
    assert torch.equal(squared[0, 0].isnan(), touched)


def matrix(taps: Taps, inputs: int) -> torch.Tensor:
    """What a GPU's kernel multiplies by: ``out[o] = sum_t weights[o, t] * x[first[o] + t]``, weights of 0 apart."""
    result = torch.zeros(len(taps.first), inputs, dtype=torch.float64)
    for output, (first, weights) in enumerate(zip(taps.first.tolist(), taps.weights.tolist(), strict=True)):
        for tap, weight in enumerate(weights):
            if weight:
                result[output, first + tap] += weight
    return result


@given(SIDES, SIDES, st.booleans())
def test_a_gpus_taps_and_their_transpose_are_the_same_interpolation(inputs, outputs, quadratic):
    forward, backward = _taps(inputs, outputs, quadratic, torch.float64, torch.device("cpu"))
    samples = 2 * inputs - 1 if quadratic else inputs
    rows = torch.eye(samples, dtype=torch.float64)[None, None]  # one column per input
    function = resample_squared_norm if quadratic else resample
    wanted = torch.stack([function(rows[..., [column]], (outputs, 1))[0, 0, :, 0] for column in range(samples)], dim=1)
    torch.testing.assert_close(matrix(forward, samples), wanted)
    torch.testing.assert_close(matrix(backward, outputs), wanted.T)
    assert forward.weights.is_contiguous()
    assert backward.weights.is_contiguous()
