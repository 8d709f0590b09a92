"""Counting on a GPU gives the bytes of counting on the CPU, and no score map leaves it."""

import numpy as np
import pytest
import torch

from abet.counting import Counter, LabelledImage
from abet.labels import ID, OOD, VOID
from abet.metrics.pixel import MIN_BINS, PixelCounter
from abet.metrics.tensors import ClassPlaces, TensorCounter
from abet.scores import SCORES
from tests.metrics.strategies import EXTREMES
from tests.metrics.test_pixel import to_bytes

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")


def images(count: int = 3) -> list[tuple[torch.Tensor, np.ndarray]]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        scores = rng.normal(-2, 3, (257, 511)).astype(np.float32)
        scores[:40] = np.round(scores[:40])
        scores[40:60] = rng.choice(np.float32(EXTREMES), (20, 511))
        scores[60:80] = rng.integers(0, 2**32, (20, 511), np.uint32).view(np.float32)
        labels = rng.choice(np.array([ID, OOD, VOID], np.uint8), scores.shape, p=[0.9, 0.05, 0.05])
        labels[:, : 100 * number] = ID
        made.append((torch.from_numpy(scores), labels))
    return made


@pytest.mark.parametrize("max_bins", [MIN_BINS, 5000, 2**20])
@pytest.mark.parametrize("buffer_pixels", [1000, 2**20])
def test_counts_are_those_of_the_cpu(gpu: torch.device, max_bins: int, buffer_pixels: int) -> None:
    theirs = PixelCounter(max_bins=max_bins)
    ours = TensorCounter(gpu, max_bins=max_bins, buffer_pixels=buffer_pixels)
    for scores, labels in images():
        theirs.add(scores.numpy(), labels)
        ours.add(scores.to(gpu), ClassPlaces.of(labels, gpu))
    assert to_bytes(ours.state()) == to_bytes(theirs.state())


@pytest.mark.parametrize("key", SCORES)
def test_all_states_of_a_score_are_those_of_the_cpu(gpu: torch.device, key: str) -> None:
    found = []
    for device in (CPU, gpu):
        counter = Counter(key, num_classes=19, device=device, protocols=True)
        for number, (scores, labels) in enumerate(images()):
            counter.add_map(scores.to(device), LabelledImage.of(f"{number}", labels, device))
        reference, protocols = counter.reference(), counter.protocols()
        assert (reference is None) == (SCORES[key].reference is None)
        assert protocols is not None
        states = [counter.pixel(), protocols, *([] if reference is None else [reference])]
        found.append([to_bytes(state) for state in states])
    assert found[0] == found[1]
