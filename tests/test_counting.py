"""What is counted of one score: the same in arrays and on tensors, and what the metrics' own functions count."""

import numpy as np
import pytest
import torch

from abet.counting import MERGED_IMAGES, Counter, LabelledImage
from abet.errors import DataError
from abet.labels import ID, OOD, VOID
from abet.metrics.pixel import PixelCounter, PixelState
from abet.metrics.protocols import ProtocolState
from abet.metrics.reference import ReferenceState
from abet.metrics.tensors import TensorCounter
from abet.scores import SCORES, Observation
from tests.metrics.test_pixel import to_bytes

CPU = torch.device("cpu")
OF_OUTPUTS = [key for key, score in SCORES.items() if not score.fitted and "features" not in score.needs]
"""How a map came about is nothing to the counting."""


@pytest.fixture(params=["arrays", "tensors"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "tensors":
        monkeypatch.setattr("abet.counting.in_arrays", lambda _device: False)
    return str(request.param)


def outputs(count: int) -> list[tuple[Observation, np.ndarray]]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        cosine, heat = rng.uniform(-1, 1, (1, 19, 12, 16)), rng.uniform(0.01, 1, (1, 1, 12, 16))
        cosine[..., 0, :3] = 0, np.nan, np.inf
        logits, cosine, heat = (torch.from_numpy(each.astype(np.float32)) for each in (cosine / heat, cosine, heat))
        labels = rng.choice(np.array([ID, OOD, VOID], np.uint8), (12, 16), p=[0.8, 0.1, 0.1])
        made.append((Observation(logits=logits, cosine=cosine, temperature=heat), labels))
    return made


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("key", OF_OUTPUTS)
def test_all_states_are_those_that_the_metrics_count(key: str) -> None:
    images = outputs(MERGED_IMAGES + 2 if key == "msp" else 3)
    counter = Counter(key, num_classes=19, device=CPU, protocols=True)
    maps = []
    for number, (output, labels) in enumerate(images):
        raw = counter.add(output, LabelledImage.of(f"{number}", labels, CPU))
        maps.append((f"{number}", raw.numpy(), labels))
    pixel, protocols, reference = counter.pixel(), counter.protocols(), counter.reference()
    assert to_bytes(pixel) == to_bytes(PixelState.merge(*(PixelState.count(*each[1:]) for each in maps)))
    assert protocols is not None
    assert to_bytes(protocols) == to_bytes(ProtocolState.merge(*(ProtocolState.count(*each) for each in maps)))
    normalise = SCORES[key].reference
    if normalise is None:
        assert reference is None
        return
    assert reference is not None
    wanted = ReferenceState.merge(*(ReferenceState.count(normalise(raw, 19), labels) for _, raw, labels in maps))
    assert to_bytes(reference) == to_bytes(wanted)


def test_keys_are_sorted_once_for_the_whole_and_for_each_image(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    if way == "arrays":
        sort = np.sort
        monkeypatch.setattr(np, "sort", lambda keys: sizes.append(keys.size) or sort(keys))
        monkeypatch.setattr(PixelCounter, "add", None)
    else:
        monkeypatch.setattr(TensorCounter, "add", None)
    counter = Counter("msp", num_classes=19, device=CPU, protocols=True)
    (output, labels), *_ = outputs(1)
    counter.add(output, LabelledImage.of("a", labels, CPU))
    state = counter.pixel()
    assert way == "tensors" or sizes == [state.id_pixels, state.ood_pixels]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("protocols", [False, True])
def test_labels_of_no_meaning_are_refused(protocols: bool) -> None:
    (output, labels), *_ = outputs(1)
    labels[0, 0] = 7
    with pytest.raises(DataError, match="1 labels are neither"):
        Counter("msp", num_classes=19, device=CPU, protocols=protocols).add(output, LabelledImage.of("a", labels, CPU))
