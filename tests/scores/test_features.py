"""Distances from what was seen in training, against loops over pixels, scikit-learn and scipy."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import cdist
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors

from abet.scores import SCORES, Observation, features
from tests.fits import made_up

SIZE = (9, 13)


def observation(maps: torch.Tensor, fitted) -> Observation:
    return Observation(logits=torch.zeros(len(maps), 3, *SIZE), features=maps, fitted=fitted)


def vectors(count, channels, *, seed):
    """Non-negative, as they are after a ReLU, and none of them zero."""
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(seed)).abs_()


def enlarged(values: torch.Tensor) -> np.ndarray:
    """(B, h, w) to full size, by torch's own interpolation."""
    return F.interpolate(values[:, None].double(), size=SIZE, mode="bilinear", align_corners=True)[:, 0].numpy()


def score(key, maps, per_position, fitted):
    """The score, and what it should be by the distance of each position's features."""
    rows = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).double().numpy()
    expected = torch.from_numpy(per_position(rows)).reshape(len(maps), *maps.shape[2:])
    result = SCORES[key].function(observation(maps, fitted))
    assert result.dtype == torch.float32
    return result.numpy(), enlarged(expected)


# --- sml


def test_sml_is_the_largest_logit_standardised_by_the_predicted_class():
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    mean, variance = [0.5, -1.0, 2.0], [4.0, 0.25, 1.0]
    fitted = made_up({"sml.mean": torch.tensor(mean).double(), "sml.variance": torch.tensor(variance).double()})
    result = SCORES["sml"].function(Observation(logits=logits, fitted=fitted))
    for image in range(2):
        for row in range(4):
            for column in range(5):
                values = logits[image, :, row, column].tolist()
                k = values.index(max(values))
                z = (max(values) - mean[k]) / math.sqrt(variance[k])
                assert result[image, row, column].item() == pytest.approx(-z, rel=1e-5, abs=1e-6)
                bounded = SCORES["sml"].reference(result, 3)[image, row, column].item()
                assert bounded == pytest.approx(0.3 - z / 10, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("mean", "variance"), [(math.nan, math.nan), (1.0, 0.0), (0.1, 3.6e-17), (-20.0, 3.9e-10), (0.0, 0.0)]
)
def test_a_class_of_which_nothing_is_known_has_no_sml(mean, variance):
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]]).T.reshape(1, 2, 1, 2)
    fitted = made_up(
        {"sml.mean": torch.tensor([1.0, mean]).double(), "sml.variance": torch.tensor([1.0, variance]).double()}
    )
    known, unknown = SCORES["sml"].function(Observation(logits=logits, fitted=fitted)).flatten()
    assert known == -1
    assert unknown.isnan()


# --- mahalanobis


def fit_gaussians(samples, labels, classes):
    """Class means and their shared covariance, the second pass around the means of the first."""
    means = np.full((classes, samples.shape[1]), np.nan)
    for k in np.unique(labels):
        means[k] = samples[labels == k].mean(0)
    shared = EmpiricalCovariance(assume_centered=True).fit(samples - means[labels])
    tensors = {
        "mahalanobis.count": torch.from_numpy(np.bincount(labels, minlength=classes)),
        "mahalanobis.mean": torch.from_numpy(means),
        "mahalanobis.covariance": torch.from_numpy(shared.covariance_),
    }
    return means, shared, made_up(tensors)


@pytest.mark.parametrize("dead", [False, True])
def test_mahalanobis_is_the_least_distance_by_the_shared_covariance(dead):
    samples = vectors(500, 6, seed=1).double().numpy()
    labels = np.arange(500) % 3 * 2  # of five classes, two occur nowhere
    samples[:, 0] += labels
    if dead:
        samples[:, 4] = 0
    means, shared, fitted = fit_gaussians(samples, labels, 5)
    maps = vectors(2 * 4 * 5, 6, seed=2).reshape(2, 4, 5, 6).permute(0, 3, 1, 2)

    def naive(rows):
        differences = [rows - mean for mean in means if not np.isnan(mean).any()]
        return np.min([np.einsum("ni,ij,nj->n", d, shared.get_precision(), d) for d in differences], axis=0)

    result, expected = score("mahalanobis", maps, naive, fitted)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_mahalanobis_equals_scipy_where_the_covariance_has_an_inverse():
    samples = vectors(300, 4, seed=3).double().numpy()
    means, shared, fitted = fit_gaussians(samples, np.zeros(300, np.int64), 1)
    maps = vectors(20, 4, seed=4).reshape(1, 4, 5, 4).permute(0, 3, 1, 2)
    inverse = np.linalg.inv(shared.covariance_)
    result, expected = score(
        "mahalanobis", maps, lambda rows: cdist(rows, means, "mahalanobis", VI=inverse)[:, 0] ** 2, fitted
    )
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


# --- knn


@pytest.mark.parametrize("neighbours", [1, 3, 10])
def test_knn_is_the_distance_to_the_kth_nearest_of_the_bank(neighbours):
    bank = F.normalize(vectors(50, 6, seed=5))
    fitted = made_up({"knn.bank": bank}, neighbours=neighbours)
    maps = vectors(2 * 4 * 5, 6, seed=6).reshape(2, 4, 5, 6).permute(0, 3, 1, 2)
    index = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(bank.double().numpy())

    def naive(rows):
        return index.kneighbors(rows / np.linalg.norm(rows, axis=1, keepdims=True))[0][:, -1]

    result, expected = score("knn", maps, naive, fitted)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)


def test_a_feature_without_a_direction_is_at_one_from_all():
    fitted = made_up({"knn.bank": F.normalize(vectors(5, 4, seed=7))}, neighbours=2)
    result = SCORES["knn"].function(observation(torch.zeros(1, 4, 2, 2), fitted))
    torch.testing.assert_close(result, torch.ones(1, *SIZE))


@pytest.mark.parametrize("key", ["mahalanobis", "knn"])
def test_blocks_change_no_score(key, monkeypatch):
    samples = vectors(100, 6, seed=8)
    gaussians = fit_gaussians(samples.double().numpy(), np.arange(100) % 2, 2)[2]
    fitted = made_up({**gaussians.tensors, "knn.bank": F.normalize(samples)}, neighbours=4)
    maps = vectors(4 * 5, 6, seed=9).reshape(1, 4, 5, 6).permute(0, 3, 1, 2)
    whole = SCORES[key].function(observation(maps, fitted))
    monkeypatch.setattr(features, "CPU_BLOCK_ELEMENTS", 700)
    torch.testing.assert_close(SCORES[key].function(observation(maps, fitted)), whole, rtol=1e-5, atol=1e-5)
