"""Statistics in one pass, against two passes over everything at once; the order of the images leaves no trace."""

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance

from abet.data.index import Dataset
from abet.detector import Detector
from abet.errors import CheckpointError, DataError, UsageError
from abet.fit import Fit
from abet.fit.activations import Activations
from abet.fit.bank import Bank, priorities
from abet.fit.moments import LogitMoments, whitening
from abet.fit.run import nearest_labels
from abet.labels import IGNORE
from abet.scores import SCORES, Observation
from abet.scores.fitted import Fitted, unpack
from tests.fits import SETTINGS, fitted_content, made_up, training_images


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return training_images(tmp_path_factory.mktemp("cityscapes"))


@pytest.fixture(scope="module")
def content(learned: Detector, dataset: Dataset) -> bytes:
    return fitted_content(learned, dataset)


@pytest.fixture(scope="module")
def fitted(content: bytes) -> Fitted:
    return unpack(content, source="test")


@pytest.fixture(scope="module")
def everything(learned: Detector, dataset: Dataset) -> dict[str, np.ndarray]:
    """All ID pixels and positions of all images, in memory."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("top", "winner", "features", "classes")}
    for pair in dataset.pairs:
        image, label = dataset.read(pair)
        seen = learned.observe(image, ("knn",))
        logits = seen.logits[0].numpy()
        parts["top"].append(logits.max(0)[label != IGNORE])
        parts["winner"].append(logits.argmax(0)[label != IGNORE])
        assert seen.features is not None
        _, height, width = seen.features[0].shape
        for row in range(height):
            for column in range(width):
                # the pixel nearest to the position, the corners of both grids being one
                y = round(row * (label.shape[0] - 1) / (height - 1) + 1e-9)
                x = round(column * (label.shape[1] - 1) / (width - 1) + 1e-9)
                if label[y, x] != IGNORE:
                    parts["features"].append(seen.features[0, :, row, column].numpy()[None])
                    parts["classes"].append(np.array([label[y, x]], np.int64))
    return {name: np.concatenate(values) for name, values in parts.items()}


def test_logit_moments_are_those_of_the_predicted_class(fitted: Fitted, everything: dict[str, np.ndarray]) -> None:
    for k in range(19):
        values = everything["top"][everything["winner"] == k].astype(np.float64)
        assert fitted["sml.count"][k] == len(values)
        if len(values):
            assert fitted["sml.mean"][k].item() == pytest.approx(values.mean(), rel=1e-12)
            assert fitted["sml.variance"][k].item() == pytest.approx(values.var(), rel=1e-8, abs=1e-12)
        else:
            assert fitted["sml.mean"][k].isnan()
            assert fitted["sml.variance"][k].isnan()


def test_feature_moments_are_those_of_the_labelled_class(fitted: Fitted, everything: dict[str, np.ndarray]) -> None:
    features, classes = everything["features"].astype(np.float64), everything["classes"]
    centred = features.copy()
    for k in range(19):
        inside = classes == k
        assert fitted["mahalanobis.count"][k] == inside.sum()
        if inside.any():
            np.testing.assert_allclose(fitted["mahalanobis.mean"][k], features[inside].mean(0), rtol=1e-12, atol=1e-12)
            centred[inside] -= features[inside].mean(0)
    shared = EmpiricalCovariance(assume_centered=True).fit(centred).covariance_
    np.testing.assert_allclose(fitted["mahalanobis.covariance"], shared, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fitted["dice.mean"], features.mean(0), rtol=1e-12)
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(fitted["dice.mean_direction"], directions.mean(0), rtol=1e-12)


def test_the_threshold_is_the_percentile_of_all_activations(fitted: Fitted, everything: dict[str, np.ndarray]) -> None:
    exact = np.quantile(everything["features"], 0.9, method="inverted_cdf")
    assert exact <= fitted["react.threshold"].item() <= exact * (1 + 2**-11)


def test_the_bank_holds_features_of_every_class_alike(fitted: Fitted, everything: dict[str, np.ndarray]) -> None:
    bank = fitted["knn.bank"].numpy()
    directions = everything["features"] / np.linalg.norm(everything["features"], axis=1, keepdims=True)
    products = bank @ directions.T
    np.testing.assert_allclose(products.max(1), 1, atol=1e-5)
    found = np.bincount(everything["classes"][products.argmax(1)], minlength=19)
    np.testing.assert_array_equal(found, np.minimum(np.bincount(everything["classes"], minlength=19), 10))


def test_the_images_in_any_order_give_the_same_tensors(
    learned: Detector, dataset: Dataset, content: bytes, fitted: Fitted
) -> None:
    assert fitted_content(learned, dataset) == content
    shuffled = unpack(fitted_content(learned, replace(dataset, pairs=dataset.pairs[::-1])), source="test")
    for name, values in fitted.tensors.items():
        assert torch.equal(shuffled[name].nan_to_num(-1), values.nan_to_num(-1)), name


def test_another_seed_is_another_bank_and_nothing_else(learned: Detector, dataset: Dataset, fitted: Fitted) -> None:
    other = unpack(fitted_content(learned, dataset, seed=1), source="test")
    changed = [n for n, v in fitted.tensors.items() if not torch.equal(other[n].nan_to_num(-1), v.nan_to_num(-1))]
    assert changed == ["knn.bank"]


def test_the_header_says_what_it_is_of(learned: Detector, dataset: Dataset, fitted: Fitted) -> None:
    header = fitted.header
    assert header.weights_sha256 == learned.sha256
    assert (header.dataset, header.split, header.images) == ("cityscapes", "train", 4)
    assert header.list_sha256 == dataset.list_sha256()
    labels = [dataset.read(pair)[1] for pair in dataset.pairs]
    assert header.pixels == sum(int((label != IGNORE).sum()) for label in labels)
    assert header.settings == SETTINGS


def test_what_cannot_be_fitted_is_refused(learned: Detector, dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="at least one vector for each of 19 classes"):
        fitted_content(learned, dataset, bank_vectors=18)
    with pytest.raises(DataError, match="fewer neighbours"):
        fitted_content(learned, dataset, neighbours=5000)
    other = replace(learned, config=learned.config.model_copy(update={"num_classes": 65}))
    with pytest.raises(CheckpointError, match="65 classes apart, cityscapes has 19"):
        Fit(detector=other, dataset=dataset, settings=SETTINGS)


@pytest.mark.parametrize(("tensor", "what"), [("h.h.weight", "logits"), ("features", "features")])
def test_a_network_that_is_not_finite_is_refused_by_the_image_s_name(
    learned: Detector, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tensor: str, what: str
) -> None:
    if tensor == "features":
        observe = Detector.observe

        def broken(self: Detector, image: Any, keys: Any) -> Observation:
            seen = observe(self, image, keys)
            assert seen.features is not None
            features = seen.features.clone()
            features[0, 3] = torch.inf
            return replace(seen, features=features)

        monkeypatch.setattr(Detector, "observe", broken)
    else:
        network = copy.deepcopy(learned.network)
        with torch.no_grad():
            network.get_parameter(tensor)[2, 0] = torch.nan
        learned = replace(learned, network=network)
    with pytest.raises(DataError, match=rf"{dataset.pairs[0].name}: the network's {what} are not finite.*; choose"):
        fitted_content(learned, dataset)


def test_images_without_a_class_are_refused(
    learned: Detector, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Dataset.read
    monkeypatch.setattr(
        Dataset, "read", lambda self, pair: (read(self, pair)[0], np.full_like(read(self, pair)[1], IGNORE))
    )
    with pytest.raises(DataError, match="no pixel of these images has a class: choose others"):
        fitted_content(learned, dataset)


def test_distances_are_read_from_the_file_and_not_computed_anew(
    learned: Detector, dataset: Dataset, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a host makes of the covariance has last bits of its own."""
    seen = fitted["mahalanobis.count"] > 0
    means = fitted["mahalanobis.mean"][seen].numpy()
    white = (means - fitted["mahalanobis.centre"].double().numpy()) @ fitted["mahalanobis.whitening"].double().numpy()
    np.testing.assert_allclose(fitted["mahalanobis.white_mean"], white, rtol=1e-4, atol=1e-4)
    inverse = np.linalg.pinv(fitted["mahalanobis.covariance"].numpy(), hermitian=True)
    matrix = fitted["mahalanobis.whitening"].double().numpy()
    np.testing.assert_allclose(matrix @ matrix.T, inverse, rtol=1e-4, atol=1e-4 * abs(inverse).max())

    def refuse(*_: object) -> None:
        raise AssertionError("computed anew")

    image, _ = dataset.read(dataset.pairs[0])
    for module, name in ((torch.linalg, "eigh"), (np.linalg, "eigh")):
        monkeypatch.setattr(module, name, refuse)
    assert replace(learned, fitted=fitted).score(image, "mahalanobis").shape == image.shape[:2]


# --- the parts


def test_a_direction_that_varies_by_rounding_alone_is_left_out_of_the_distance() -> None:
    """Five directions of eight, turned anyhow: an eigenvalue of 0 comes out as some 1e-16 of either sign."""
    rng = np.random.default_rng(1)
    turned = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    covariance = (turned[:, :5] * [4.0, 3.0, 2.0, 1.0, 0.5]) @ turned[:, :5].T
    covariance = (covariance + covariance.T) / 2
    assert (np.linalg.eigvalsh(covariance)[:3] > 0).any(), "of the three that are 0, some are above it"
    means, count = rng.normal(size=(3, 8)), np.array([5, 0, 7])
    found = whitening(count, means, covariance)
    matrix = found["mahalanobis.whitening"].astype(np.float64)
    assert matrix.shape == (8, 5)
    inverse = (turned[:, :5] / [4.0, 3.0, 2.0, 1.0, 0.5]) @ turned[:, :5].T
    np.testing.assert_allclose(matrix @ matrix.T, inverse, atol=1e-6)
    point = rng.normal(size=8)
    white = (point - found["mahalanobis.centre"]) @ matrix - found["mahalanobis.white_mean"]
    wanted = [(point - means[k]) @ inverse @ (point - means[k]) for k in (0, 2)]
    np.testing.assert_allclose((white**2).sum(1), wanted, rtol=1e-5)
    tiny = whitening(count, means[:, :3], np.diag([2.0, 1.0, 1e-17]))
    assert tiny["mahalanobis.whitening"].shape == (3, 2), "an eigenvalue above 0 that is none beside the largest"


@pytest.mark.parametrize("logit", [0.1, -9.3, 17.77])
@pytest.mark.parametrize("pixels", [1000, 100_000, 1_000_000])
def test_a_class_that_always_has_one_logit_has_no_sml_however_its_sums_are_rounded(logit: float, pixels: int) -> None:
    moments = LogitMoments(3)
    top, spread = np.full(pixels, logit, np.float32), np.float32([0.1, 0.1001])
    for _ in range(2):
        moments.add(np.concatenate([top, spread]), np.concatenate([np.ones(pixels, np.int64), np.int64([2, 2])]))
    found = moments.tensors()
    assert found["sml.variance"][1] <= 1.4e-13 * logit**2
    assert found["sml.mean"][1].item() == pytest.approx(float(np.float32(logit)), rel=4e-14)
    fitted = made_up({name: found[name] for name in ("sml.mean", "sml.variance")})
    logits = torch.full((1, 3, 1, 2), -100.0)
    logits[0, 1, 0, 0], logits[0, 2, 0, 1] = logit - 0.01, 0.1002
    constant, narrow = SCORES["sml"].function(Observation(logits=logits, fitted=fitted)).flatten()
    assert constant.isnan()
    assert narrow.item() == pytest.approx(-3, rel=1e-3), "a deviation of five hundredths of a percent counts"


def test_logit_moments_of_an_image_larger_than_a_block_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    top, winner = rng.normal(5, 2, 5000).astype(np.float32), rng.integers(0, 4, 5000)
    moments = LogitMoments(5)
    moments.add(top, winner)
    moments.add(top[:0], winner[:0])
    found = moments.tensors()
    for k in range(4):
        values = [float(value) for value, of in zip(top, winner, strict=True) if of == k]
        mean = math.fsum(values) / len(values)
        assert found["sml.count"][k] == len(values)
        assert found["sml.mean"][k].item() == pytest.approx(mean, rel=1e-14)
        assert found["sml.variance"][k].item() == pytest.approx(
            math.fsum((value - mean) ** 2 for value in values) / len(values), rel=1e-12
        )
    assert found["sml.variance"][4].isnan()


def test_a_bank_is_a_function_of_seed_name_and_position() -> None:
    rng = np.random.default_rng(0)
    images = {f"image{n}": torch.from_numpy(rng.random((40, 3), np.float32)) for n in range(5)}
    positions = np.arange(40)
    classes = {name: rng.integers(0, 2, 40) for name in images}
    banks = []
    for names in (list(images), list(images)[::-1]):
        bank = Bank(2, 3, vectors=20, seed=7)
        for name in names:
            bank.add(name, positions, images[name], classes[name])
        banks.append(bank.tensor())
    assert torch.equal(*banks)
    every = [(number, name, n) for name in images for n, number in enumerate(priorities(7, name, positions))]
    smallest = [(name, n) for _, name, n in sorted(every) if classes[name][n] == 1][:10]
    expected = [images[name][n] / images[name][n].norm() for name, n in smallest]
    torch.testing.assert_close(banks[0][10:], torch.stack(expected))


def test_priorities_are_spread_evenly() -> None:
    numbers = np.concatenate([priorities(0, f"image{n}", np.arange(5000)) for n in range(4)])
    assert len(np.unique(numbers)) == len(numbers)
    counts = np.histogram(numbers.astype(np.float64) / 2**64, bins=10, range=(0, 1))[0]
    assert abs(counts / 2000 - 1).max() < 0.1


@pytest.mark.parametrize("percent", [1, 50, 90, 100])
def test_percentiles_of_numbers_of_either_sign(percent: float) -> None:
    values = torch.randn(3000, generator=torch.Generator().manual_seed(0))
    values[:100] = -0.0
    activations = Activations(torch.device("cpu"))
    for part in values.split(700):
        activations.add(part)
    exact = float(np.quantile(values.numpy(), percent / 100, method="inverted_cdf"))
    assert exact <= activations.percentile(percent) <= exact + abs(exact) * 2**-11 + 1e-38


def test_labels_of_positions_are_those_of_the_nearest_pixels() -> None:
    label = np.arange(35, dtype=np.uint8).reshape(5, 7)
    np.testing.assert_array_equal(nearest_labels(label, (3, 4)), label[::2, ::2])
    np.testing.assert_array_equal(nearest_labels(label, (5, 7)), label)
    np.testing.assert_array_equal(nearest_labels(label, (1, 1)), label[:1, :1])
