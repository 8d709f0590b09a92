"""Means of each image's own AUROC, AP and FPR95: an image counts once, however many pixels it has.

Pooled figures are ruled by the images with the most OOD pixels, and ask for one threshold for all; these ask how well
each image is ranked in itself. An image without OOD or without ID pixels has none of the three figures: it is left out,
and counted. Every image's figures are those of `abet.metrics.ranking` with their brackets, so the means have brackets
too: the mean of the lower ends, and of the upper ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from abet.errors import DataError
from abet.metrics.pixel import PixelState
from abet.metrics.ranking import auroc, average_precision, fpr95, sweep, undefined

Floats = npt.NDArray[np.float64]

PROTOCOL: Final = "per-image-mean"
FIGURES: Final = ("auroc", "ap", "fpr95")


@dataclass(frozen=True, eq=False, kw_only=True)
class PerImageState:
    """What an evaluation shard stores of one score: the figures of each image by its name.

    figures: name -> (3, 3) float64: AUROC, AP and FPR95 by value, low and high; None for an image without them.
    tpr: name -> the TPR that the image's FPR95 really reaches.
    """

    figures: Mapping[str, Floats | None]
    tpr: Mapping[str, float]

    @classmethod
    def count(cls, name: str, state: PixelState) -> PerImageState:
        """The state of one image: its name in the data set, and the counts of its pixels alone."""
        if undefined(state):
            return cls(figures={name: None}, tpr={})
        bins = sweep(state)
        point = fpr95(bins)
        figures = np.array([auroc(bins), average_precision(bins), point[:3]], np.float64)
        return cls(figures={name: figures}, tpr={name: point.tpr})

    @classmethod
    def merge(cls, *states: PerImageState) -> PerImageState:
        """The state of all images of all states, the same for any order and grouping.

        Raises DataError where an image occurs twice.
        """
        names = [name for state in states for name in state.figures]
        if len(names) != len(set(names)):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise DataError(f"images counted twice: {', '.join(twice)}; merge each shard once")
        figures = {name: row for state in states for name, row in state.figures.items()}
        tpr = {name: rate for state in states for name, rate in state.tpr.items()}
        return cls(
            figures={name: figures[name] for name in sorted(names)}, tpr={name: tpr[name] for name in sorted(tpr)}
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The state for an ``.npz`` file: ``names``, ``figures`` (images, 3, 3) and ``tpr``; NaN for none."""
        none = np.full((3, 3), np.nan)
        rows = [none if row is None else row for row in self.figures.values()]
        return {
            "names": np.array(list(self.figures), np.str_),
            "figures": np.array(rows, np.float64).reshape(-1, 3, 3),
            "tpr": np.array([self.tpr.get(name, np.nan) for name in self.figures], np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> PerImageState:
        """The state that `to_arrays` wrote. Raises DataError for anything else."""
        names, rows, tpr = arrays["names"].tolist(), arrays["figures"], arrays["tpr"]
        if rows.shape != (len(names), 3, 3) or tpr.shape != (len(names),) or bool(((rows < 0) | (rows > 1)).any()):
            raise DataError("not the figures of images: evaluate this shard again")
        held = ~np.isnan(tpr)
        return cls(
            figures={
                name: np.array(row) if there else None for name, row, there in zip(names, rows, held, strict=True)
            },
            tpr={name: float(rate) for name, rate, there in zip(names, tpr, held, strict=True) if there},
        )

    def summarise(self) -> dict[str, Any]:
        """The means as strict JSON: ``auroc``, ``ap`` and ``fpr95`` as value, low and high, the last with the mean
        ``tpr`` used; ``images`` that have figures and ``left_out`` that have none. Null beside a ``reason`` where no
        image has figures.
        """
        rows = [row for row in self.figures.values() if row is not None]
        summary: dict[str, Any] = {"protocol": PROTOCOL, "images": len(rows), "left_out": len(self.figures) - len(rows)}
        if not rows:
            return summary | dict.fromkeys(FIGURES) | {"reason": "no image has both ID and OOD pixels"}
        sums = np.stack(rows, axis=-1)
        for figure, parts in zip(FIGURES, sums, strict=True):
            summary[figure] = {end: _mean(part) for end, part in zip(("value", "low", "high"), parts, strict=True)}
        summary["fpr95"]["tpr"] = _mean(np.array(list(self.tpr.values())))
        return summary


def _mean(values: Floats) -> float:
    """The mean, from a sum that is rounded once and so does not depend on the order."""
    return math.fsum(values.tolist()) / values.size
