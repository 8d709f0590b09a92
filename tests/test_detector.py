"""`abet.load`: the detector in Python."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import abet
from abet import checkpoint
from abet.errors import CheckpointError, DataError, UsageError
from abet.model_config import TemperatureModel
from tests.conftest import random_weights


def image(height: int = 40, width: int = 56) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(3).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_a_score_map_has_the_images_size(learned_checkpoint: Path) -> None:
    detector = abet.load(learned_checkpoint, device="cpu")
    for height, width in [(40, 56), (41, 57), (33, 17)]:
        score = detector.score(image(height, width))
        assert score.shape == (height, width)
        assert score.dtype == np.float32


def test_the_network_sees_the_normalised_image(learned_checkpoint: Path) -> None:
    detector = abet.load(learned_checkpoint, device="cpu")
    pixels = image()
    scaled = (pixels / 255.0 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    batch = torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        direct = detector.network(batch).logits
    assert torch.allclose(detector.output(pixels).logits, direct, atol=1e-3)


def test_a_path_and_its_pixels_score_alike(learned_checkpoint: Path, tmp_path: Path) -> None:
    Image.fromarray(image()).save(tmp_path / "a.png")
    detector = abet.load(str(learned_checkpoint), device="cpu")
    assert np.array_equal(detector.score(tmp_path / "a.png", "msp"), detector.score(image(), "msp"))


def test_prediction_holds_classes_and_every_defined_score(learned_checkpoint: Path, plain_checkpoint: Path) -> None:
    prediction = abet.load(learned_checkpoint, device="cpu").predict(image())
    assert prediction.classes.dtype == np.uint8
    assert prediction.classes.max() < 19
    closed_form = ["abet", "energy", "entropy", "msp", "max_logit", "godin", "max_cosine"]
    assert list(prediction.scores) == [*closed_form, "ash_abet", "ash_energy"]
    plain = abet.load(plain_checkpoint, device="cpu").predict(image())
    assert list(plain.scores) == ["energy", "entropy", "msp", "max_logit", "ash_energy"]


@pytest.mark.parametrize("head", ["learned", "baseline", "none"])
def test_scores_of_the_features_take_the_same_pass(tmp_path: Path, head: TemperatureModel) -> None:
    checkpoint.save(random_weights(head), tmp_path / "weights")
    detector = abet.load(tmp_path / "weights", device="cpu")
    output, seen = detector.output(image()), detector.observe(image(), ("msp", "ash_energy"))
    for maps, same in zip(output, (seen.logits, seen.cosine, seen.temperature), strict=True):
        assert (maps is same is None) or torch.equal(maps, same)
    assert seen.features is not None
    assert detector.observe(image(), ("msp",)).features is None, "half a gigabyte that nobody needs"


def test_scores_that_are_not_there_are_refused(plain_checkpoint: Path) -> None:
    detector = abet.load(plain_checkpoint, device="cpu")
    with pytest.raises(UsageError, match="needs the learned temperature"):
        detector.score(image(), "abet")
    with pytest.raises(UsageError, match="did you mean 'entropy'"):
        detector.score(image(), "entropyy")


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_other_arrays_are_refused(learned_checkpoint: Path, wrong: "np.ndarray[tuple[int, ...], np.dtype]") -> None:
    with pytest.raises(DataError, match="expected uint8 RGB"):
        abet.load(learned_checkpoint, device="cpu").score(wrong)


def test_an_unknown_device_and_recipe_are_refused(learned_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown device"):
        abet.load(learned_checkpoint, device="quantum")
    with pytest.raises(UsageError, match="is not here"):
        abet.load(learned_checkpoint, device="cuda:99")
    with pytest.raises(UsageError, match="unknown recipe"):
        abet.load(tmp_path / "x.pth", model="smal")


def test_tensors_that_contradict_the_manifest_are_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    from abet import checkpoint
    from tests.conftest import random_weights, small_config

    checkpoint.save(replace(random_weights(), model=small_config(num_classes=20)), tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"do not fit its own configuration.*h\.h\.weight"):
        abet.load(tmp_path / "c")


def test_tensors_of_another_type_are_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    from abet import checkpoint
    from tests.conftest import random_weights

    weights = random_weights()
    half = {name: value.half() for name, value in weights.tensors.items()}
    checkpoint.save(replace(weights, tensors=half), tmp_path / "c")
    with pytest.raises(CheckpointError, match="do not fit its own configuration"):
        abet.load(tmp_path / "c")


def test_more_classes_than_a_class_map_holds_are_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    from abet import checkpoint
    from tests.conftest import random_weights, small_config

    checkpoint.save(replace(random_weights(), model=small_config(num_classes=257)), tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"257 classes.*uint8.*256 at most"):
        abet.load(tmp_path / "c")
