"""Exact moments by class: equal images give equal bytes in whatever order they come.

An image's own sums are in float64, in an order that its device decides; the images' are added exactly.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abet.metrics.exact_sum import ExactSum
from abet.models.precision import full_precision

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

BLOCK_POSITIONS = 1 << 15
"""Feature vectors in float64 at a time: 64 MiB of 256 channels."""
BLOCK_PIXELS = 1 << 8
"""Logits that are added one after the other: numpy adds the blocks' sums in pairs. A sum of 2^25 equal ones is then
within 300 units of 2^-53 of its value; were all added one after the other, it would be within 2^25 units."""


class LogitMoments:
    """Mean and variance of the largest logit over the ID pixels of each predicted class."""

    def __init__(self, num_classes: int) -> None:
        self._classes = num_classes
        self.count = np.zeros(num_classes, np.int64)
        self._sums, self._squares = ExactSum((num_classes,)), ExactSum((num_classes,))

    def add(self, top: NDArray[np.float32], winner: NDArray[np.int64]) -> None:
        """The largest logits (n,) of an image's ID pixels, and their classes (n,)."""
        values = top.astype(np.float64)
        self.count += np.bincount(winner, minlength=self._classes)
        self._sums.add(self._by_class(winner, values))
        self._squares.add(self._by_class(winner, values * values))

    def _by_class(self, winner: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        blocks = -(-len(values) // BLOCK_PIXELS)
        places = winner * blocks + np.arange(len(values)) // BLOCK_PIXELS
        sums = np.bincount(places, values, self._classes * blocks).astype(np.float64, copy=False)
        return np.asarray(sums.reshape(self._classes, blocks).sum(axis=1), np.float64)

    def tensors(self) -> dict[str, Tensor]:
        """``sml.*``."""
        with np.errstate(invalid="ignore"):
            mean = self._sums.value() / self.count
            variance = np.maximum(self._squares.value() / self.count - mean * mean, 0)
        found = {"count": self.count, "mean": mean, "variance": variance}
        return {f"sml.{name}": torch.from_numpy(values) for name, values in found.items()}


class FeatureMoments:
    """Class means, the covariance within all classes together, and the means that DICE needs."""

    def __init__(self, num_classes: int, channels: int) -> None:
        self._classes = num_classes
        self.count = np.zeros(num_classes, np.int64)
        self._sums = ExactSum((num_classes, channels))
        self._products = ExactSum((channels, channels))
        self._directions = ExactSum((channels,))

    def add(self, features: Tensor, classes: Tensor) -> None:
        """An image's ID features (n, K) float32 and their labelled classes (n,) int64, on one device."""
        sums = features.new_zeros(self._classes, features.shape[1], dtype=torch.float64)
        products = features.new_zeros(features.shape[1], features.shape[1], dtype=torch.float64)
        directions = features.new_zeros(features.shape[1], dtype=torch.float64)
        with full_precision(features.device):
            for part, label in zip(
                torch.split(features, BLOCK_POSITIONS), torch.split(classes, BLOCK_POSITIONS), strict=True
            ):
                x = part.double()
                sums += torch.nn.functional.one_hot(label, self._classes).double().T @ x
                products += x.T @ x
                norm = x.norm(dim=1, keepdim=True)
                directions += (x / norm.where(norm > 0, 1)).sum(0)
        self.count += np.bincount(classes.cpu().numpy(), minlength=self._classes)
        self._sums.add(sums.cpu().numpy())
        self._products.add(products.cpu().numpy())
        self._directions.add(directions.cpu().numpy())

    def tensors(self) -> dict[str, Tensor]:
        """``mahalanobis.*`` and ``dice.*``."""
        sums, total = self._sums.value(), int(self.count.sum())
        seen = self.count > 0
        means = np.full_like(sums, np.nan)
        means[seen] = sums[seen] / self.count[seen, None]
        within = self._products.value() - sums[seen].T @ means[seen]
        covariance = (within + within.T) / (2 * total)
        found = {
            "mahalanobis.count": self.count,
            "mahalanobis.mean": means,
            "mahalanobis.covariance": covariance,
            **whitening(self.count, means, covariance),
            "dice.mean": sums.sum(0) / total,
            "dice.mean_direction": self._directions.value() / total,
        }
        return {name: torch.from_numpy(values) for name, values in found.items()}


def whitening(count: Counts, means: Floats, covariance: Floats) -> dict[str, Floats32]:
    """What `abet.scores.features.mahalanobis` multiplies by, of counts (C,), class means (C, K) and covariance (K, K).

    ``mahalanobis.centre`` (K,), ``.whitening`` W (K, R) and ``.white_mean`` (C', R) of the C' classes that were seen:
    ||(x - centre) W - white_mean||^2 is the squared Mahalanobis distance. W W^T is the pseudo-inverse of the
    covariance, as scikit-learn's EmpiricalCovariance has it: a direction without variance (a dead channel) does not
    count. An eigenvalue's last bits depend on the host: found once, in the fit, they are the same wherever it is read.
    """
    values, vectors = np.linalg.eigh(covariance)
    kept = values > np.abs(values).max() * len(values) * np.finfo(values.dtype).eps
    matrix = vectors[:, kept] / np.sqrt(values[kept])
    seen = means[count > 0]
    centre = seen.mean(0)
    found = {"centre": centre, "whitening": matrix, "white_mean": (seen - centre) @ matrix}
    return {f"mahalanobis.{name}": part.astype(np.float32) for name, part in found.items()}
