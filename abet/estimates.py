"""How long what follows the images will take: writing the counts of all scores, and merging them.

    finishing_seconds(pixels, len(scores), protocols=True, merged=True)

On a GPU, or where a network is small, that is no matter of moments: a score has up to 2^20 bins, all compressed.
"""

import io
import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from abet.arrays import save_arrays
from abet.labels import ID, OOD
from abet.metrics.curves import curves
from abet.metrics.keys import Scores
from abet.metrics.pixel import MAX_BINS, Labels, PixelState
from abet.metrics.protocols import ProtocolState
from abet.metrics.ranking import summarise
from abet.metrics.sorted_keys import sorted_classes

PATCH: Final = (256, 512)


def count_map(scores: Scores, labels: Labels, *, protocols: bool) -> tuple[PixelState, ProtocolState | None]:
    """What the pass counts of one map on this machine's processor, were it all of the set."""
    classes = sorted_classes(scores, labels)
    state = PixelState.of_sorted(*classes)
    return state, ProtocolState.of_sorted("", state, *classes) if protocols else None


def finishing_seconds(pixels: int, scores: int, *, protocols: bool, merged: bool) -> float:
    """Time that writing the counts of so many scores, each of ``pixels``, will take; ``merged``: and merging them.

    Measured on a patch whose scores are all different, as those of a network mostly are, and in proportion to the
    bins. The draws of the protocols' intervals, whose number is that of the images, are not among it.
    """
    rng = np.random.default_rng(0)
    labels = np.full(PATCH, ID, np.uint8)
    labels[64:128, 64:192] = OOD
    state, each = count_map(rng.standard_normal(PATCH).astype(np.float32), labels, protocols=protocols)
    arrays: dict[str, NDArray[Any]] = {f"pixel.{name}": array for name, array in state.to_arrays().items()}
    arrays |= {} if each is None else {f"protocols.{name}": array for name, array in each.to_arrays().items()}
    start = time.perf_counter()
    content = io.BytesIO()
    save_arrays(content, arrays)
    if merged:
        _merge(content)
    seconds = time.perf_counter() - start
    return seconds * scores * min(pixels, MAX_BINS) / labels.size


def _merge(content: io.BytesIO) -> None:
    """The costliest steps of `abet.merge`, of one score."""
    content.seek(0)
    with np.load(content) as file:
        held = {name.removeprefix("pixel."): file[name] for name in file if name.startswith("pixel.")}
    state = PixelState.from_arrays(held)
    curves(state)
    summarise(state)
