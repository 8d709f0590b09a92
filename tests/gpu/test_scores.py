"""`abet fit`, and the scores that it completes or that shape features, are on a GPU near those of the CPU."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from abet.data.index import Dataset
from abet.detector import Detector, load_detector
from abet.scores import SCORES
from abet.scores.fitted import Fitted, unpack
from tests.evaluations import evaluate
from tests.fits import fitted_content, training_images

pytestmark = pytest.mark.gpu

KEYS = tuple(key for key, row in SCORES.items() if row.fitted or "features" in row.needs)
ROUNDING = 1e-3
"""Of a score's spread. Sums of float32 are in another order, and a distance is divided by small deviations."""
TURNED_PIXELS = 0.005
"""Share of pixels whose largest class, or whose activation at a limit, may be another one."""


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return training_images(tmp_path_factory.mktemp("cityscapes"))


def on(device: torch.device, checkpoint: Path) -> Detector:
    return load_detector(checkpoint, device=str(device))


def fit(detector: Detector, training: Dataset) -> Fitted:
    return unpack(fitted_content(detector, training), source=str(detector.device))


def test_a_fit_is_that_of_the_cpu(gpu: torch.device, learned_checkpoint: Path, training: Dataset) -> None:
    ours, theirs = (fit(on(device, learned_checkpoint), training) for device in (gpu, torch.device("cpu")))
    for name in ("mahalanobis.mean", "mahalanobis.covariance", "dice.mean", "dice.mean_direction", "knn.bank"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-4, equal_nan=True, msg=name)
    assert torch.equal(ours["mahalanobis.count"], theirs["mahalanobis.count"])
    assert ours["react.threshold"].item() == pytest.approx(theirs["react.threshold"].item(), rel=2e-3)
    # a pixel between two classes may go to either
    moved = int((ours["sml.count"] - theirs["sml.count"]).abs().sum())
    assert moved <= TURNED_PIXELS * theirs.header.pixels
    sums = [float((each["sml.count"] * each["sml.mean"]).nansum()) for each in (ours, theirs)]
    assert sums[0] == pytest.approx(sums[1], rel=1e-4)


def test_maps_are_those_of_the_cpu_by_one_fit(
    gpu: torch.device, learned_checkpoint: Path, training: Dataset, mixed_sizes: Dataset
) -> None:
    here = on(torch.device("cpu"), learned_checkpoint)
    fitted = fit(here, training)
    there = replace(on(gpu, learned_checkpoint), fitted=fitted.to(gpu))
    image, _ = mixed_sizes.read(mixed_sizes.pairs[0])
    found, wanted = (each.predict(image, scores=KEYS).scores for each in (there, replace(here, fitted=fitted)))
    for key in KEYS:
        ours, theirs = found[key].astype(np.float64), wanted[key].astype(np.float64)
        spread = np.nanstd(theirs)
        apart = ~np.isclose(ours, theirs, rtol=0, atol=ROUNDING * spread, equal_nan=True)
        assert spread > 0, key
        assert apart.mean() <= TURNED_PIXELS, (key, apart.mean())


def test_figures_are_those_of_the_cpu_each_by_its_own_fit(
    gpu: torch.device, learned_checkpoint: Path, training: Dataset, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    found = []
    for number, device in enumerate((gpu, torch.device("cpu"))):
        detector = on(device, learned_checkpoint)
        detector = replace(detector, fitted=fit(detector, training).to(device))
        found.append(evaluate(detector, mixed_sizes, tmp_path / f"{number}", scores=KEYS, protocols=True)["scores"])
    for key in KEYS:
        for figure in ("auroc", "ap"):
            ours, theirs = (each[key][figure]["value"] for each in found)
            assert ours == pytest.approx(theirs, abs=5e-3), (key, figure)
