"""Shaped activations, against the head in its direct form on features that a loop has changed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from abet.models.build import build_model
from abet.models.direct import direct_output
from abet.models.head import Output
from abet.scores import SCORES, Observation, missing
from tests.conftest import random_weights, small_config
from tests.fits import made_up

SIZE = (17, 25)
HEADS = ("learned", "none", "baseline")


@pytest.fixture(scope="module", params=HEADS)
def network(request):
    model = build_model(small_config(request.param)).eval()
    model.load_state_dict(random_weights(request.param).tensors)
    return model


def observe(network, fitted=None, *, seed=0):
    """Features as they are after a ReLU, and what the network says of them."""
    channels = network.class_weights().shape[1]
    maps = torch.randn(1, channels, 5, 7, generator=torch.Generator().manual_seed(seed)).relu_()
    with torch.inference_mode():
        output = network.classify(maps, SIZE)
    return Observation(**output._asdict(), features=maps, head=network, fitted=fitted)


def directly(network, maps, weights=None):
    """The head on enlarged features; ``weights`` (C, K) in place of its own."""
    if hasattr(network, "temperature"):
        output = direct_output(network, maps, SIZE)
        if weights is None:
            return output
        enlarged = F.interpolate(maps, size=SIZE, mode="bilinear", align_corners=True)
        norm = torch.linalg.vector_norm(enlarged, dim=1, keepdim=True)
        cosine = F.conv2d(enlarged / (norm + 1e-4), weights[:, :, None, None])
        return Output(cosine / output.temperature, cosine, output.temperature)
    enlarged = F.interpolate(maps, size=SIZE, mode="bilinear", align_corners=True)
    weights = network.class_weights() if weights is None else weights
    bias = network.h.h.bias if hasattr(network, "h") else None
    return Output(F.conv2d(enlarged, weights[:, :, None, None], bias))


def check(shape, network, seen, expected):
    with torch.inference_mode():
        for name in ("abet", "energy"):
            if name == "abet" and seen.cosine is None:
                continue
            wanted = SCORES[name].function(Observation(**expected._asdict()))
            result = SCORES[f"{shape}_{name}"].function(seen)
            np.testing.assert_allclose(result.numpy(), wanted.numpy(), rtol=2e-4, atol=2e-4)


def test_react_clips_the_activations(network):
    seen = observe(network, made_up({"react.threshold": torch.tensor(0.7)}))
    clipped = torch.from_numpy(np.minimum(seen.features.numpy(), np.float32(0.7)))
    with torch.inference_mode():
        check("react", network, seen, directly(network, clipped))


@pytest.mark.parametrize("percentile", [0, 30, 90])
def test_dice_keeps_the_weights_that_contribute_most(network, percentile):
    channels = network.class_weights().shape[1]
    means = torch.rand(2, channels, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    fitted = made_up({"dice.mean": means[0], "dice.mean_direction": means[1]}, dice_percentile=percentile)
    seen = observe(network, fitted)
    weights = network.class_weights().detach()
    mean = means[1] if seen.cosine is not None else means[0]
    contributions = (weights.double() * mean).numpy()
    kept = contributions > np.percentile(contributions, percentile)
    assert kept.mean() == pytest.approx(1 - percentile / 100, abs=0.01)
    with torch.inference_mode():
        check("dice", network, seen, directly(network, seen.features, weights * torch.from_numpy(kept)))


def test_ash_keeps_the_largest_activations_of_every_position(network):
    seen = observe(network)
    pruned = seen.features.numpy().copy()
    channels = pruned.shape[1]
    for row in range(pruned.shape[2]):
        for column in range(pruned.shape[3]):
            smallest = np.argsort(pruned[0, :, row, column])[: round(channels * 0.6)]
            pruned[0, smallest, row, column] = 0
    with torch.inference_mode():
        check("ash", network, seen, directly(network, torch.from_numpy(pruned)))


def test_a_factor_common_to_all_channels_leaves_the_cosine_alone():
    model = build_model(small_config("learned")).eval()
    model.load_state_dict(random_weights("learned").tensors)
    seen = observe(model)
    with torch.inference_mode():
        larger = model.classify(3 * seen.features, SIZE)
    torch.testing.assert_close(larger.cosine, seen.cosine, rtol=0, atol=1e-3)
    assert (larger.temperature - seen.temperature).abs().max() > 1e-3


def test_both_scores_of_a_shape_take_one_pass_of_the_head(network, monkeypatch):
    seen = observe(network, made_up({"react.threshold": torch.tensor(0.7)}))
    calls = []
    classify = network.classify
    monkeypatch.setattr(network, "classify", lambda *args, **more: calls.append(1) or classify(*args, **more))
    with torch.inference_mode():
        for key in ("react_energy", "react_energy", "ash_energy", "ash_energy"):
            SCORES[key].function(seen)
    assert len(calls) == 2


def test_neither_features_nor_weights_are_touched(network):
    seen = observe(network, made_up({"react.threshold": torch.tensor(0.1)}))
    before = seen.features.clone(), network.class_weights().clone()
    with torch.inference_mode():
        SCORES["react_energy"].function(seen)
        SCORES["ash_energy"].function(seen)
    assert torch.equal(seen.features, before[0])
    assert torch.equal(network.class_weights(), before[1])


FEATURE_SCORES = tuple(key for key, row in SCORES.items() if "features" in row.needs)


@pytest.mark.parametrize("key", FEATURE_SCORES)
def test_a_feature_that_is_not_a_number_gives_no_number_exactly_where_it_reaches(network, key):
    """A broken network must not look like one that is sure."""
    if missing(SCORES[key], "learned" if hasattr(network, "temperature") else "none"):
        return
    channels = network.class_weights().shape[1]
    draw = torch.Generator().manual_seed(3)
    tensors = {
        "mahalanobis.count": torch.tensor([5, 5]),
        "mahalanobis.mean": torch.rand(2, channels, generator=draw, dtype=torch.float64),
        "mahalanobis.covariance": torch.eye(channels, dtype=torch.float64),
        "knn.bank": F.normalize(torch.rand(9, channels, generator=draw)),
        "react.threshold": torch.tensor(0.5),
        "dice.mean": torch.rand(channels, generator=draw, dtype=torch.float64),
        "dice.mean_direction": torch.rand(channels, generator=draw, dtype=torch.float64),
    }
    seen = observe(network, made_up(tensors, neighbours=3))
    seen.features[0, 7, 1, 2] = torch.nan
    seen.features[0, :, 4, 6] = torch.nan
    with torch.inference_mode():
        result = SCORES[key].function(seen)
    reached = np.zeros(SIZE, bool)
    for row, column in ((1, 2), (4, 6)):
        # steps of four between two positions, whose pixels mix the positions on both sides
        reached |= np.logical_and.outer(abs(np.arange(17) - 4 * row) < 4, abs(np.arange(25) - 4 * column) < 4)
    np.testing.assert_array_equal(result[0].isnan().numpy(), reached)
