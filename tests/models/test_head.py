import copy

import pytest
import torch

from abet.models.direct import direct_output
from abet.models.head import AbeTHead, Classifier

SIZES = {
    "equal": ((5, 7), (5, 7)),
    "enlarged": ((5, 7), (10, 14)),
    "odd": ((13, 9), (25, 17)),
    "not a multiple": ((5, 7), (23, 16)),
    "one pixel high": ((1, 7), (4, 13)),
    "one pixel wide": ((6, 1), (11, 5)),
    "one pixel": ((1, 1), (3, 3)),
    "made smaller": ((9, 8), (4, 5)),
    "to one pixel": ((9, 8), (1, 1)),
}


@pytest.fixture
def head():
    torch.manual_seed(0)
    return AbeTHead(in_channels=8, num_classes=5)


def weighted_sum(output):
    """A scalar to which every element of the three maps contributes differently."""
    return sum((torch.linspace(-1, 2, maps.numel()).view_as(maps) * maps).sum() for maps in output)


def gradients(compute, head, features):
    head, features = copy.deepcopy(head), features.clone().requires_grad_()
    output = compute(head, features)
    wanted = [features, *head.parameters()]
    return output, torch.autograd.grad(weighted_sum(output), wanted), head.state_dict()


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("small", "size"), SIZES.values(), ids=SIZES)
def test_equals_the_direct_form_with_its_gradients_and_batch_statistics(head, small, size, training):
    head.double().train(training)
    features = torch.randn(2, 8, *small, dtype=torch.float64)
    output, slopes, state = gradients(lambda h, x: h(x, size), head, features)
    direct, direct_slopes, direct_state = gradients(lambda h, x: direct_output(h, x, size), head, features)
    torch.testing.assert_close(tuple(output), tuple(direct), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(slopes, direct_slopes, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(state, direct_state, rtol=1e-10, atol=1e-10)
    assert (state["temperature.1.num_batches_tracked"] == 1) == training


def test_in_float32_it_is_as_exact_as_float32(head):
    head.eval()
    features = torch.randn(1, 8, 60, 90).relu()
    output = head(features, (119, 180))
    exact = direct_output(copy.deepcopy(head).double(), features.double(), (119, 180))
    torch.testing.assert_close(output.cosine.double(), exact.cosine, rtol=0, atol=1e-6)
    torch.testing.assert_close(output.temperature.double(), exact.temperature, rtol=0, atol=1e-6)


def test_shapes_and_type(head):
    output = head(torch.randn(2, 8, 3, 4), (6, 8))
    assert [tuple(maps.shape) for maps in output] == [(2, 5, 6, 8), (2, 5, 6, 8), (2, 1, 6, 8)]
    assert {maps.dtype for maps in output} == {torch.float32}


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_features_lose_nothing_more_under_autocast(head, half):
    head.eval()
    features = (100 * torch.randn(1, 8, 6, 7)).to(half)
    with torch.autocast("cpu", torch.bfloat16):
        output = head(features, (11, 14))
    for seen, expected in zip(output, head(features.float(), (11, 14)), strict=True):
        assert seen.dtype == torch.float32
        assert torch.equal(seen, expected)
    assert output.cosine.abs().max() <= 1 + 1e-6


def test_zero_features_have_cosine_zero_and_finite_gradients(head):
    features = torch.zeros(1, 8, 3, 4, requires_grad=True)
    output = head(features, (6, 8))
    weighted_sum(output).backward()
    assert (output.cosine == 0).all()
    assert features.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


def test_opposite_neighbours_keep_cosines_and_gradients_bounded(head):
    torch.manual_seed(1)
    features = 100 * torch.randn(1, 8, 32, 1).repeat(1, 1, 1, 2)
    features[..., 1] *= -1 - 1e-5 * torch.rand(32)
    features.requires_grad_()
    output = head.eval()(features, (32, 3))  # the middle column is nearly the zero vector
    assert output.cosine.abs().max() <= 1 + 1e-6
    output.cosine.sum().backward()
    assert features.grad.abs().max() < 1e4


def test_no_cosine_exceeds_one_where_the_norm_cancels():
    """Neighbours that are opposite but for a little of one class's direction: the middle is that direction."""
    torch.manual_seed(0)
    head = AbeTHead(in_channels=256, num_classes=19).eval()
    rests = torch.logspace(3, -2, 256) * head.h.directions().detach()[torch.arange(256) % 19].T
    features = 1000 * torch.randn(1, 256, 256, 1).repeat(1, 1, 1, 2)
    features[..., 1] = rests - features[..., 0]
    cosine = head(features, (256, 3)).cosine
    assert 0.9 < cosine.abs().max() <= 1 + 1e-6


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_a_head_in_half_precision_computes_in_float32(head, half):
    """It says exactly what a float32 head with the same rounded numbers says, and learns the same statistics."""
    head.to(half)
    wide = copy.deepcopy(head).float()
    features = torch.randn(2, 8, 5, 6).to(half)
    for training in (True, False):
        outputs = [h.train(training)(features, (9, 11)) for h in (head, wide)]
        for seen, expected in zip(*outputs, strict=True):
            assert seen.dtype == torch.float32
            assert torch.equal(seen, expected)
        wide.to(half).float()
    statistics = [h.temperature[1].state_dict() for h in (head, wide)]
    assert statistics[0]["num_batches_tracked"] == 1
    assert statistics[0]["running_mean"] != 0
    assert all(
        torch.equal(statistics[0][name], statistics[1][name].to(half)) for name in ("running_mean", "running_var")
    )
    weighted_sum(head(features, (9, 11))).backward()
    assert {parameter.grad.dtype for parameter in head.parameters()} == {half}


def test_nothing_of_the_enlarged_features_is_kept_for_backward():
    head = AbeTHead(in_channels=64, num_classes=3)
    features = torch.randn(1, 64, 8, 8, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        head(features, (32, 32))
    assert max(kept) == features.numel() == 4 * 32 * 32


def test_parameter_names_are_the_references(head):
    names = ["h.h.weight", "temperature.0.weight", "temperature.1.weight", "temperature.1.bias"]
    assert [name for name, _ in head.named_parameters()] == names
    statistics = ["temperature.1.running_mean", "temperature.1.running_var", "temperature.1.num_batches_tracked"]
    assert list(head.state_dict()) == names + statistics


def test_a_classifier_of_half_precision_features_computes_in_float32():
    classifier = Classifier(in_channels=8, num_classes=5, bias=True)
    features = torch.randn(1, 8, 3, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(features)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, classifier(features.float()))
