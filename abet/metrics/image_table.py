"""Every image by itself: its figures, and what the set's 95% threshold does to it. The content of ``images.json``."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from abet.metrics.curves import finite
from abet.metrics.image_counts import ImageCounts, ImageRows
from abet.metrics.keys import to_keys
from abet.metrics.per_image import FIGURES, PerImageState
from abet.metrics.pixel import PixelState
from abet.metrics.protocols import ProtocolState
from abet.metrics.ranking import fpr95, sweep, undefined


def image_table(pixel: Mapping[str, PixelState], protocols: Mapping[str, ProtocolState]) -> dict[str, Any]:
    """The table by columns, as strict JSON; at least one score. Lists run along ``images``, names in ascending order.

    pixel, protocols: by score, of the same images.

    images: names. pixels: how many are ``id`` and ``ood``. scores: by score
        auroc, ap, fpr95: ``value``, ``low`` and ``high`` of the image's own figures, null where it has none;
        threshold: the set's own for 95% of its OOD pixels (raw score units), null where that is no finite number;
        false_positives: ID pixels that reach it, ``low`` and ``high``; missed: OOD pixels that do not, likewise. Both
        are null without threshold. Images are counted in bins that the set's images share; pixels in the bin of the
        threshold may lie on either side, and so the ends differ by as many.
    """
    first = next(iter(protocols.values()))
    return {
        "images": list(first.images.names),
        "pixels": {"id": _sums(first.images.id_count), "ood": _sums(first.images.ood_count)},
        "scores": {key: _columns(pixel[key], state) for key, state in protocols.items()},
    }


def _columns(pixel: PixelState, state: ProtocolState) -> dict[str, Any]:
    threshold = None if undefined(pixel) else finite([fpr95(sweep(pixel)).threshold])[0]
    columns: dict[str, Any] = {**_figures(state.per_image), "threshold": threshold}
    if threshold is None:
        return columns | {"false_positives": None, "missed": None}
    return columns | flagged(state.images, threshold)


def _figures(state: PerImageState) -> dict[str, Any]:
    none = np.full((3, 3), np.nan)
    rows = np.array([none if row is None else row for row in state.figures.values()]).reshape(-1, 3, 3)
    ends = ("value", "low", "high")
    return {
        figure: {end: finite(rows[:, place, part]) for part, end in enumerate(ends)}
        for place, figure in enumerate(FIGURES)
    }


def flagged(counts: ImageCounts, threshold: float) -> dict[str, dict[str, list[int]]]:
    """Of each image the bounds of its ID pixels that reach ``threshold``, and of its OOD pixels that do not."""
    key = to_keys(np.array([threshold], np.float32))[0]
    surely, perhaps = counts.low_key >= key, counts.high_key >= key
    return {
        "false_positives": {
            "low": _sums(counts.id_count[:, surely]),
            "high": _sums(counts.id_count[:, perhaps]),
        },
        "missed": {
            "low": _sums(counts.ood_count[:, ~perhaps]),
            "high": _sums(counts.ood_count[:, ~surely]),
        },
    }


def _sums(rows: ImageRows) -> list[int]:
    sums: npt.NDArray[np.int64] = rows.sum(axis=1, dtype=np.int64)
    return [int(value) for value in sums]
