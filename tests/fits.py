"""Fits for tests: by `abet.fit` on a small training set, and made up."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from abet.data.index import Dataset, open_dataset
from abet.detector import Detector
from abet.fit import Fit
from abet.fit.moments import whitening
from abet.scores.fitted import FORMAT, TENSORS, FitHeader, FitSettings, Fitted, pack, unpack
from tests.trees import make_cityscapes

SETTINGS = FitSettings(bank_vectors=190, neighbours=3)


def training_images(root: Path, *, count: int = 4) -> Dataset:
    """A small set in the tree of Cityscapes."""
    make_cityscapes(root, count=count, size=(48, 64))
    return open_dataset("cityscapes", root)


def fitted_content(detector: Detector, dataset: Dataset, **changes: Any) -> bytes:
    settings = FitSettings.model_validate({**SETTINGS.model_dump(), **changes})
    return Fit(detector=detector, dataset=dataset, settings=settings).run()


def made_up(tensors: dict[str, Tensor], **settings: Any) -> Fitted:
    """A fit that holds these tensors, and what follows from a covariance; those that are not named hold nothing."""
    if "mahalanobis.covariance" in tensors:
        moments = (tensors[f"mahalanobis.{name}"].numpy() for name in ("count", "mean", "covariance"))
        tensors = {**tensors, **{name: torch.from_numpy(value) for name, value in whitening(*moments).items()}}
    header = FitHeader(
        format=FORMAT,
        abet="0",
        weights_sha256="0" * 64,
        dataset="cityscapes",
        split="train",
        list_sha256="0" * 64,
        images=1,
        pixels=1,
        positions=1,
        settings=FitSettings(**settings),
    )
    return unpack(pack({name: tensors.get(name, torch.zeros(1)) for name in TENSORS}, header), source="made up")
