"""What is counted of one score while a shard runs: on the device that the scores are on, images by the way.

    counter = Counter("abet", num_classes=19, device=device, protocols=False)
    for name, output, label in images:
        counter.add(output, LabelledImage.of(name, label, device))
    counter.pixel(), counter.reference(), counter.protocols()

On a GPU no score map comes to the host, only counts do. On a CPU it is numpy that sorts, several times faster than
torch there. The bytes are the same (`abet.metrics.tensors`).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abet.detector import score_tensor
from abet.errors import UsageError
from abet.metrics import tensors
from abet.metrics.keys import NEGATIVE_INFINITY, POSITIVE_INFINITY, Keys, Scores, to_scores
from abet.metrics.pixel import NO_EDGES, PixelCounter, PixelState, check_pixels
from abet.metrics.protocols import ProtocolState
from abet.metrics.reference import ReferenceState, raw_edges
from abet.metrics.sorted_keys import sorted_classes
from abet.metrics.tensors import ClassPlaces, TensorCounter
from abet.scores import SCORES, Observation, Score

BUFFER_PIXELS = 2**23
"""Of each score's two key buffers: 32 MiB each, of which those of rare OOD pixels are hardly touched on a CPU."""
MERGED_IMAGES = 64
"""How many images' own counts are kept until they share bins."""
CHECKED_SCORES = 2**16
"""At which a plug-in's reference is looked at: 128 between any two powers of two."""
ROUNDING = 1e-6
"""By how much a reference may fall, of its value or of 1: some units in the last place of float32."""


def in_arrays(device: torch.device) -> bool:
    """Whether numpy counts what torch computes on this device."""
    return device.type == "cpu"


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """What all scores of one image are counted by."""

    name: str
    label: NDArray[np.uint8]
    """(H, W): ID, OOD or VOID."""
    places: ClassPlaces | None
    """Where the classes are, on the device; None where counting is numpy's."""

    @classmethod
    def of(cls, name: str, label: NDArray[np.uint8], device: torch.device) -> Self:
        """Raises DataError for labels that are neither ID, OOD nor VOID."""
        return cls(name=name, label=label, places=None if in_arrays(device) else ClassPlaces.of(label, device))


def reference_edges(score: Score, num_classes: int) -> Keys:
    """The edges of the reference's bins in raw scores of a row that has a reference (`raw_edges`).

    Raises UsageError for a plug-in whose reference fails, or falls between two of `CHECKED_SCORES` raw scores: edges
    are found by bisection, and would be some or other of those that such a one has.
    """
    reference = score.reference
    assert reference is not None, score.key
    if score.distribution is None:
        return raw_edges(lambda raw: np.asarray(reference(raw, num_classes)))
    what = f"the reference of score {score.key!r} of {score.distribution}"

    def guarded(raw: Scores) -> Scores:
        try:
            found = np.asarray(reference(raw, num_classes))
        except Exception as error:  # whatever somebody's module raises
            raise UsageError(
                f"{what} failed ({type(error).__name__}: {error}): mend or uninstall that package"
            ) from error
        if found.shape != raw.shape or found.dtype.kind not in "fiub":
            raise UsageError(
                f"{what} gave {found.dtype} {found.shape} for float32 {raw.shape}: one number for each raw score is "
                "needed; mend or uninstall that package"
            )
        return found

    keys = np.linspace(NEGATIVE_INFINITY + 1, POSITIVE_INFINITY - 1, CHECKED_SCORES).astype(np.uint32)
    with np.errstate(all="ignore"):
        _require_no_fall(what, to_scores(keys), guarded(to_scores(keys)))
        return raw_edges(guarded)


def _require_no_fall(what: str, raw: Scores, values: Scores) -> None:
    """Raises UsageError where ``values`` of ascending ``raw`` scores fall by more than rounding; NaN is below all."""
    most = np.finfo(np.float64).max / 2
    ranked = np.nan_to_num(values.astype(np.float64), nan=-most, posinf=most, neginf=-most)
    highest = np.maximum.accumulate(ranked)
    falls = np.flatnonzero(highest - ranked > ROUNDING * np.maximum(np.abs(highest), 1))
    if falls.size:
        there = int(falls[0])
        here = int(ranked[:there].argmax())
        raise UsageError(
            f"{what} falls from {values[here]} at a raw score of {raw[here]} to {values[there]} at {raw[there]}: it "
            "must not fall anywhere (docs/scores.md); mend or uninstall that package"
        )


class Counter:
    """All metric states of one score while a shard runs."""

    def __init__(self, key: str, *, num_classes: int, device: torch.device, protocols: bool) -> None:
        """protocols: whether to count each image by itself, too. Raises UsageError as `reference_edges`."""
        self.key = key
        self._reference = SCORES[key].reference
        edges = NO_EDGES if self._reference is None else reference_edges(SCORES[key], num_classes)
        buffer = 1 if protocols else BUFFER_PIXELS  # keys that are sorted by image wait in no buffer
        self._counter = (
            PixelCounter(buffer_pixels=buffer, edges=edges)
            if in_arrays(device)
            else TensorCounter(device, buffer_pixels=buffer, edges=edges)
        )
        self._images: list[ProtocolState] | None = [] if protocols else None

    def add(self, output: Observation, image: LabelledImage) -> Tensor:
        """Count one image, and return its score map: (H, W) float32, raw, on the device."""
        raw = score_tensor(self.key, output)
        self.add_map(raw, image)
        return raw

    def add_map(self, raw: Tensor, image: LabelledImage) -> None:
        """Count one image by its score map; where it is also counted by itself, its keys are sorted once for both."""
        if self._images is not None:
            self._images.append(self._add_sorted(raw, image))
            if len(self._images) == MERGED_IMAGES:
                self._images[:] = [ProtocolState.merge(*self._images)]
        elif isinstance(self._counter, PixelCounter):
            self._counter.add(raw.numpy(), image.label)
        else:
            assert image.places is not None
            self._counter.add(raw, image.places)

    def _add_sorted(self, raw: Tensor, image: LabelledImage) -> ProtocolState:
        if isinstance(self._counter, PixelCounter):
            check_pixels(raw.numpy(), image.label)
            arrays = sorted_classes(raw.numpy(), image.label)
            return ProtocolState.of_sorted(image.name, self._counter.add_sorted(*arrays), *arrays)
        assert image.places is not None
        classes = tensors.sorted_classes(raw, image.places)
        return ProtocolState.of_sorted(image.name, self._counter.add_sorted(*classes), *classes)

    def pixel(self) -> PixelState:
        """Counts of everything added so far."""
        return self._counter.state()

    def reference(self) -> ReferenceState | None:
        """The same in the reference's 100 bins; None for a score that the reference does not have."""
        if self._reference is None:
            return None
        below, state = self._counter.below(), self.pixel()
        return ReferenceState.of_below(below, id_pixels=state.id_pixels, ood_pixels=state.ood_pixels)

    def protocols(self) -> ProtocolState | None:
        """What is counted of each image by itself; None where nothing is."""
        return None if self._images is None else ProtocolState.merge(*self._images)
