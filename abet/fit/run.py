"""One pass over in-distribution images: every statistic from the same features and logits, in bounded memory."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abet.data.index import Dataset
from abet.detector import Detector
from abet.errors import CheckpointError, DataError, UsageError, not_finite
from abet.fit.activations import Activations
from abet.fit.bank import Bank
from abet.fit.moments import FeatureMoments, LogitMoments
from abet.labels import IGNORE
from abet.memory import readable_memory_errors
from abet.progress import progress
from abet.scores import Observation
from abet.scores.fitted import FORMAT, FitHeader, FitSettings, pack
from abet.version import __version__


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One detector on one training set, whose labelled pixels are what is in-distribution."""

    detector: Detector
    dataset: Dataset
    settings: FitSettings

    def __post_init__(self) -> None:
        """Raises CheckpointError for a network of other classes, UsageError for a bank without a place for a class."""
        classes = len(self.dataset.classes)
        if self.detector.config.num_classes != classes:
            raise CheckpointError(
                f"{self.detector.uri}: tells {self.detector.config.num_classes} classes apart, {self.dataset.name} has "
                f"{classes}: choose a checkpoint that was trained on it"
            )
        if self.settings.bank_vectors < classes:
            raise UsageError(f"bank {self.settings.bank_vectors}: at least one vector for each of {classes} classes")

    def run(self) -> bytes:
        """The content of ``fitted.safetensors``; equal for the images in any order.

        Raises:
            DataError: a file that cannot be read, logits or features that are not finite, no labelled pixel, or fewer
                than k vectors in all.
        """
        statistics = Statistics(self.detector, self.settings)
        with progress(f"fit {self.dataset.name}", len(self.dataset.pairs)) as advance:
            for pair in self.dataset.pairs:
                image, label = self.dataset.read(pair)
                with readable_memory_errors(f"{pair.name} ({label.shape[1]}x{label.shape[0]} pixels)"):
                    statistics.add(pair.name, self.detector.observe(image, ("knn",)), label)
                advance(1)
        header = self._header(statistics)  # first: without pixels there is nothing to compute
        return pack(statistics.tensors(), header)

    def _header(self, statistics: "Statistics") -> FitHeader:
        if not statistics.pixels or not statistics.positions:
            raise DataError(f"{self.dataset.root}: no pixel of these images has a class: choose others")
        return FitHeader(
            format=FORMAT,
            abet=__version__,
            weights_sha256=self.detector.sha256,
            dataset=self.dataset.name,
            split=self.dataset.split,
            list_sha256=self.dataset.list_sha256(),
            images=len(self.dataset.pairs),
            pixels=statistics.pixels,
            positions=statistics.positions,
            settings=self.settings,
        )


class Statistics:
    """Everything that is fitted, while the images come."""

    def __init__(self, detector: Detector, settings: FitSettings) -> None:
        classes, channels = detector.config.num_classes, detector.config.decoder_channels
        self._settings = settings
        self._logits = LogitMoments(classes)
        self._features = FeatureMoments(classes, channels)
        self._activations = Activations(detector.device)
        self._bank = Bank(classes, channels, vectors=settings.bank_vectors, seed=settings.seed)

    @property
    def pixels(self) -> int:
        """ID pixels so far, at full resolution."""
        return int(self._logits.count.sum())

    @property
    def positions(self) -> int:
        """ID positions of the features so far."""
        return int(self._features.count.sum())

    def add(self, name: str, seen: Observation, label: NDArray[np.uint8]) -> None:
        """One image (a batch of one): ``label`` (H, W) holds train ids and IGNORE."""
        assert seen.features is not None
        with torch.inference_mode():
            self._add_logits(name, seen.logits, label)
            self._add_features(name, seen.features, label)

    def _add_logits(self, name: str, logits: Tensor, label: NDArray[np.uint8]) -> None:
        top, winner = logits[0].float().max(dim=0)
        known = label != IGNORE
        values = top.cpu().numpy()[known]
        if not np.isfinite(values).all():
            raise not_finite(name, "logits")
        self._logits.add(values, winner.cpu().numpy()[known])

    def _add_features(self, name: str, features: Tensor, label: NDArray[np.uint8]) -> None:
        near = nearest_labels(label, (features.shape[2], features.shape[3])).ravel()
        positions = np.flatnonzero(near != IGNORE)
        rows = features[0].permute(1, 2, 0).reshape(-1, features.shape[1]).float()
        rows = rows[torch.from_numpy(positions).to(rows.device)]
        if not bool(rows.isfinite().all()):
            raise not_finite(name, "features")
        classes = near[positions].astype(np.int64)
        self._features.add(rows, torch.from_numpy(classes).to(rows.device))
        self._activations.add(rows)
        self._bank.add(name, positions, rows, classes)

    def tensors(self) -> dict[str, Tensor]:
        """By the names of `abet.scores.fitted.TENSORS`. Raises DataError for fewer vectors than neighbours."""
        bank = self._bank.tensor()
        if len(bank) < self._settings.neighbours:
            raise DataError(
                f"{len(bank)} features were found and knn takes the distance to neighbour "
                f"{self._settings.neighbours}: fit on more images, or with fewer neighbours"
            )
        threshold = torch.tensor(self._activations.percentile(self._settings.react_percentile))
        moments = {**self._logits.tensors(), **self._features.tensors()}
        return {**moments, "knn.bank": bank, "react.threshold": threshold}


def nearest_labels(label: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The labels (h, w) of the pixels nearest to the positions of a feature map, whose corners are the label's."""
    rows, columns = (_nearest(samples, length) for samples, length in zip(size, label.shape, strict=True))
    return label[np.ix_(rows, columns)]


def _nearest(samples: int, length: int) -> NDArray[np.int64]:
    steps = max(samples - 1, 1)
    return (2 * np.arange(samples) * (length - 1) + steps) // (2 * steps)
