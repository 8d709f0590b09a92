"""A bounded sample of features that does not depend on the order of the images.

Every position of every image has a random number of its own, a function of (seed, image's name, position). Of each
class, the vectors with the smallest numbers are kept: a uniform sample without replacement, whatever comes first.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def priorities(seed: int, name: str, positions: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One uniform 64-bit number per position of image ``name``: SplitMix64 (Steele et al. 2014) from a hash on."""
    start = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "little")
    with np.errstate(over="ignore"):
        state = np.uint64(start) + (positions.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E37_79B9_7F4A_7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
        mixed: NDArray[np.uint64] = state ^ (state >> np.uint64(31))
        return mixed


class Bank:
    """At most ``vectors`` features of length 1, the same number for every class at most."""

    def __init__(self, num_classes: int, channels: int, *, vectors: int, seed: int) -> None:
        self._share, self._seed = vectors // num_classes, seed
        self._numbers = [np.empty(0, np.uint64) for _ in range(num_classes)]
        self._vectors = [torch.empty(0, channels) for _ in range(num_classes)]

    def add(self, name: str, positions: NDArray[np.int64], features: Tensor, classes: NDArray[np.int64]) -> None:
        """An image's ID positions (n,), their features (n, K) float32 on any device, and labelled classes (n,).

        A feature that is zero has no direction, and is left out.
        """
        some = (features != 0).any(dim=1).cpu().numpy()
        numbers = priorities(self._seed, name, positions)
        for index, chosen in self._candidates(numbers, np.where(some, classes, -1)):
            both = np.concatenate([self._numbers[index], numbers[chosen]])
            found = features[torch.from_numpy(chosen).to(features.device)].cpu().double()
            vectors = torch.cat([self._vectors[index], (found / found.norm(dim=1, keepdim=True)).float()])
            order = np.argsort(both, kind="stable")[: self._share]
            self._numbers[index], self._vectors[index] = both[order], vectors[torch.from_numpy(order)]

    def _candidates(
        self, numbers: NDArray[np.uint64], classes: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Class, and which of the image's positions may enter its share."""
        for index, kept in enumerate(self._numbers):
            chosen = np.flatnonzero(classes == index)
            if len(kept) == self._share:
                chosen = chosen[numbers[chosen] < kept[-1]]
            if len(chosen) > self._share:
                chosen = chosen[np.argpartition(numbers[chosen], self._share)[: self._share]]
            if len(chosen):
                yield index, chosen

    def tensor(self) -> Tensor:
        """(M, K) float32, class by class."""
        return torch.cat(self._vectors)
