"""Cross-entropy as a sum over valid pixels."""

import json
import math

import numpy as np
import pytest
import torch

from abet.labels import IGNORE
from abet.losses import count_valid, cross_entropy_sum
from tests.losses.crops import crops


def naive(logits, labels):
    """(loss, gradient) by a loop over pixels in double precision."""
    total, gradient = 0.0, np.zeros(logits.shape)
    for b, y, x in np.ndindex(*labels.shape):
        label = int(labels[b, y, x])
        if label == IGNORE:
            continue
        values = [float(v) for v in logits[b, :, y, x]]
        largest = max(values)
        log_sum = largest + math.log(math.fsum(math.exp(v - largest) for v in values))
        total += log_sum - values[label]
        gradient[b, :, y, x] = [math.exp(v - log_sum) - (c == label) for c, v in enumerate(values)]
    return total, gradient


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_loss_and_gradient_equal_a_loop_over_pixels(dtype):
    logits, labels = crops()
    expected, gradient = naive(logits, labels)
    logits.requires_grad_()
    loss = cross_entropy_sum(logits, labels.to(dtype))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(logits.grad.numpy(), gradient, atol=1e-6)


def test_sums_of_parts_add_up_so_that_dividing_by_all_valid_pixels_is_the_mean():
    logits, labels = crops(size=(4, 6, 7))
    labels[0] = IGNORE
    parts = sum(cross_entropy_sum(logits[part], labels[part]) for part in (slice(0, 1), slice(1, 4)))
    mean = torch.nn.functional.cross_entropy(logits.double(), labels.long(), ignore_index=IGNORE)
    assert (parts / count_valid(labels)).item() == pytest.approx(mean.item(), rel=1e-6)


def test_a_crop_without_a_valid_pixel_is_zero_with_zero_gradient():
    logits, labels = crops()
    logits.requires_grad_()
    loss = cross_entropy_sum(logits, torch.full_like(labels, IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_valid_pixels_are_those_not_ignored():
    _, labels = crops()
    expected = sum(int(value) != IGNORE for value in labels.flatten())
    assert count_valid(labels) == count_valid(labels.long()) == expected
    assert isinstance(count_valid(labels), int)


def test_it_is_computed_in_float32_inside_autocast_and_from_half_precision():
    logits, labels = crops()
    half = logits.bfloat16()
    expected, _ = naive(half.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cross_entropy_sum(half, labels).item() == pytest.approx(expected, rel=1e-6)
        assert cross_entropy_sum(logits, labels).item() == pytest.approx(naive(logits, labels)[0], rel=1e-6)


def test_a_nan_in_the_logits_is_not_hidden():
    logits, labels = crops()
    labels[0, 0, 0] = 1
    logits[0, 2, 0, 0] = math.nan
    assert cross_entropy_sum(logits, labels).isnan()


def test_a_large_crop_keeps_its_digits():
    """A million pixels: a running float32 sum would lose the third digit."""
    logits = torch.zeros(1, 2, 1024, 1024)
    labels = torch.zeros(1, 1024, 1024, dtype=torch.uint8)
    assert cross_entropy_sum(logits, labels).item() == pytest.approx(2**20 * math.log(2), rel=1e-6)


@pytest.mark.parametrize(("name", "ignore"), [("map", 65), ("cs", 255)])
def test_the_mean_agrees_with_the_reference_implementation(golden_dir, name, ignore):
    golden = np.load(golden_dir / "train_golden.npz")
    expected = json.loads((golden_dir / "train_golden.json").read_text())[f"ce/{name}"]
    logits = torch.from_numpy(golden[f"imgwt/{name}/logits"])
    target = golden[f"imgwt/{name}/target"]
    labels = torch.from_numpy(np.where(target == ignore, IGNORE, target).astype(np.uint8))
    assert (cross_entropy_sum(logits, labels) / count_valid(labels)).item() == pytest.approx(expected, rel=1e-6)
