"""The protocols beside the pooled figures, as one state of a score: what ``abet evaluate --protocols`` adds.

`abet.metrics.smiyc`, `abet.metrics.per_image` and `abet.metrics.bootstrap` read each image by itself, so an image is
counted once for all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy.typing as npt

from abet.metrics import bootstrap, per_image, reference, smiyc
from abet.metrics.bootstrap import Resampled, resample
from abet.metrics.image_counts import ImageCounts
from abet.metrics.keys import Scores
from abet.metrics.per_image import PerImageState
from abet.metrics.pixel import Labels, PixelState, check_pixels
from abet.metrics.reference import ReferenceState
from abet.metrics.smiyc import SmiycState
from abet.metrics.sorted_keys import SortedKeys, sorted_classes

SEED: Final = 0
"""Of the draws of every evaluation, so that runs on the same images pair."""
_PARTS: Final = ("smiyc", "per_image", "images")


@dataclass(frozen=True, eq=False, kw_only=True)
class ProtocolState:
    """What an evaluation shard stores of one score for these protocols; states of any shards merge."""

    smiyc: SmiycState
    per_image: PerImageState
    images: ImageCounts

    @classmethod
    def count(cls, name: str, scores: Scores, labels: Labels) -> ProtocolState:
        """The state of one image: its name in the data set; scores and labels as for `PixelState.count`."""
        check_pixels(scores, labels)
        classes = sorted_classes(scores, labels)
        return cls.of_sorted(name, PixelState.of_sorted(*classes), *classes)

    @classmethod
    def of_sorted(cls, name: str, pixels: PixelState, id_keys: SortedKeys, ood_keys: SortedKeys) -> ProtocolState:
        """The same from the image's counts and the sorted keys of its ID and OOD pixels."""
        return cls(
            smiyc=SmiycState.of_sorted(id_keys, ood_keys),
            per_image=PerImageState.count(name, pixels),
            images=ImageCounts.count(name, pixels),
        )

    @classmethod
    def merge(cls, *states: ProtocolState) -> ProtocolState:
        """The state of all images of all states, at least one, in any order. Raises DataError as its parts do."""
        return cls(
            smiyc=SmiycState.merge(*(state.smiyc for state in states)),
            per_image=PerImageState.merge(*(state.per_image for state in states)),
            images=ImageCounts.merge(*(state.images for state in states)),
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of all parts, as PART.NAME."""
        return {f"{part}.{name}": array for part in _PARTS for name, array in getattr(self, part).to_arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ProtocolState:
        """The state that `to_arrays` wrote. Raises DataError for anything else."""
        split: dict[str, dict[str, npt.NDArray[Any]]] = {part: {} for part in _PARTS}
        for name, array in arrays.items():
            part, _, rest = name.partition(".")
            split[part][rest] = array
        return cls(
            smiyc=SmiycState.from_arrays(split["smiyc"]),
            per_image=PerImageState.from_arrays(split["per_image"]),
            images=ImageCounts.from_arrays(split["images"]),
        )


def summarise_protocols(
    states: Mapping[str, ProtocolState], references: Mapping[str, ReferenceState]
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Per score the entries of its protocols by the protocol's name, and of each pair of scores the paired intervals.

    states, references: by score; a score without reference counts has no entry of Meta-OoD's protocol.
    """
    drawn = {key: resample(state.images, seed=SEED) for key, state in states.items()}
    entries = {key: _entry(state, references.get(key), drawn[key]) for key, state in states.items()}
    pairs = [
        {"score": one, "minus": other, **bootstrap.compare(drawn[one], drawn[other])}
        for one, other in combinations(states, 2)
    ]
    return entries, pairs


def _entry(state: ProtocolState, counted: ReferenceState | None, drawn: Resampled) -> dict[str, Any]:
    meta_ood = {} if counted is None else {reference.META_OOD_PROTOCOL: counted.summarise(step_back=False)}
    return {
        smiyc.PROTOCOL: state.smiyc.summarise(),
        per_image.PROTOCOL: state.per_image.summarise(),
        bootstrap.PROTOCOL: drawn.interval(),
        **meta_ood,
    }
