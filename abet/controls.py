"""What needs no network: two scores that any detector must beat, as rows of the same table.

    abet controls --dataset road_anomaly --train-dataset cityscapes --output runs/controls
    abet report runs/abet runs/controls

``colour_density`` asks how rare a colour is in the training set, ``position_prior`` how often this part of the
picture is OOD in the other images. A data set on which they do well can be won by a trick.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from abet.data.images import ImageArray
from abet.data.index import Dataset
from abet.data.registry import OOD_SETS
from abet.errors import DataError, UsageError
from abet.files import read_json, write_json
from abet.labels import ID, IGNORE, OOD
from abet.metrics.curves import curves
from abet.metrics.label_counts import NO_PIXELS, add_labels
from abet.metrics.pixel import PixelCounter, PixelState
from abet.metrics.ranking import summarise
from abet.progress import progress
from abet.run import CHECKPOINTS, NO_NETWORK, OWNER, Agree, evaluation_dir, nobody_else, open_run
from abet.version import __version__

NO_REFERENCE: Final = "a control, not a score of the paper: its protocol has no range to cut this one to"
COLOUR_BINS: Final = 32
"""Per channel."""
COLOUR_SMOOTHING_BINS: Final = 1.0
BLUR_ROWS: Final = 128
"""Images of so many rows are blurred with a sigma of one pixel, others in proportion."""
BLUR_CELLS: Final = 2
"""A blur is worked out on squares of pixels, so large that its sigma is at least so many of them."""
COLOUR_FLOOR: Final = 1e-9
"""Added to every bin's share: the density of colours that were never seen."""
GRID: Final = (16, 32)
"""Rows and columns of the position prior, whatever the size of an image."""
GRID_SMOOTHING_CELLS: Final = 1.0
PSEUDO_IMAGES: Final = 1.0
"""Weight of the overall share of OOD in each cell, in images."""
BUFFER_PIXELS: Final = 2**22

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def evaluate_controls(dataset: Dataset, training: Dataset, run: Path, *, agree: Agree = nobody_else) -> dict[str, Any]:
    """Score every image of an OOD set by both controls; write and return ``metrics.json``'s content.

    ``curves.json`` is written beside it, and the run directory's ``config.yaml``. Images may differ in size. Equal
    files give equal bytes. ``training`` may be ``dataset`` itself: colours are then fitted to its ID pixels.

    Raises:
        UsageError: ``dataset`` is no OOD set, or ``run`` belongs to a network, another training set or other images.
        DataError: an image or label that breaks its contract, or a training set without a valid pixel.
    """
    if dataset.name not in OOD_SETS:
        raise UsageError(f"{dataset.name} has no OOD labels: controls are evaluated on {' or '.join(OOD_SETS)}")
    config = _config(training)
    _claim(run, dataset, config, agree)
    density = fit_colours(training)
    prior = count_positions(dataset)
    counters = {key: PixelCounter(buffer_pixels=BUFFER_PIXELS) for key in ("colour_density", "position_prior")}
    pixels = dict(NO_PIXELS)
    with progress(f"{dataset.name} controls", len(dataset.pairs)) as advance:
        for pair in dataset.pairs:
            image, label = dataset.read(pair)
            counters["colour_density"].add(density.score(image), label)
            counters["position_prior"].add(prior.score(label), label)
            pixels = add_labels(pixels, label)
            advance(1)
    states = {key: counter.state() for key, counter in counters.items()}
    return _write(dataset, run, {"checkpoint": config["checkpoint"], "pixels": pixels}, states)


def _claim(run: Path, dataset: Dataset, config: dict[str, Any], agree: Agree) -> None:
    """Begin or rejoin a run directory that holds controls alone, and of this data set the same images."""
    if (run / CHECKPOINTS).is_dir() or (run / OWNER).is_file():
        # Not evaluated yet, it would take the controls for its own and refuse its network afterwards
        raise UsageError(f"{run} is the run of a network: controls have one of their own, choose another --output")
    open_run(run, config, agree=agree)
    path = evaluation_dir(run, dataset.name) / "metrics.json"
    if not path.is_file():
        return
    found = read_json(path)
    if found.get("ood_definition") != dataset.definition:
        there, here = (each or "the default" for each in (found.get("ood_definition"), dataset.definition))
        raise UsageError(
            f"{path.parent} holds the controls of another OOD definition ({there} there, {here} here): choose another "
            "--output or remove that folder"
        )
    if found.get("list_sha256") != dataset.list_sha256():
        raise UsageError(
            f"{path.parent} holds the controls of other images ({found.get('split')}, {found.get('images')} images "
            f"there; {dataset.split}, {len(dataset.pairs)} here): choose another --output or remove that folder"
        )


def _write(dataset: Dataset, run: Path, known: dict[str, Any], states: Mapping[str, PixelState]) -> dict[str, Any]:
    absent = {"reference_protocol": None, "reference_protocol_reason": NO_REFERENCE}
    metrics = {
        "schema": 1,
        "dataset": dataset.name,
        "split": dataset.split,
        **({} if dataset.definition is None else {"ood_definition": dataset.definition}),
        "images": len(dataset.pairs),
        **known,
        "scores": {key: {**summarise(state), **absent} for key, state in states.items()},
        "list_sha256": dataset.list_sha256(),
        "abet": __version__,
    }
    folder = evaluation_dir(run, dataset.name)
    shown = {key: curves(state) for key, state in states.items()}
    write_json(folder / "curves.json", {"schema": 1, "dataset": dataset.name, "scores": shown})
    write_json(folder / "metrics.json", metrics)
    return metrics


def _config(training: Dataset) -> dict[str, Any]:
    """``config.yaml`` of the run: in place of weights, a fingerprint of everything that the scores come from."""
    settings = {
        "training": f"{training.name}/{training.split}",
        "training_images": len(training.pairs),
        "training_list_sha256": training.list_sha256(),
        "colour": [COLOUR_BINS, COLOUR_SMOOTHING_BINS, BLUR_ROWS, COLOUR_FLOOR],
        "position": [*GRID, GRID_SMOOTHING_CELLS, PSEUDO_IMAGES],
    }
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    return {"checkpoint": {"uri": NO_NETWORK, "sha256": digest}, "controls": settings}


@dataclass(frozen=True, kw_only=True)
class ColourDensity:
    """How common smoothed colours are: a histogram over R, G and B, read with trilinear interpolation."""

    log_density: Doubles
    """(bins, bins, bins) natural logarithm of the share per bin."""

    def score(self, image: ImageArray) -> Floats:
        """(H, W) float32 negative log density of an image (H, W, 3)."""
        place = np.clip(blurred(image) * (COLOUR_BINS / 256) - 0.5, 0, COLOUR_BINS - 1)
        low = np.minimum(place.astype(np.intp), COLOUR_BINS - 2)
        share = place - low
        rows, columns, _ = place.shape
        total = np.zeros((rows, columns))
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(np.array(corner) == 1, share, 1 - share), axis=-1)
            r, g, b = (low[..., channel] + corner[channel] for channel in range(3))
            total += weight * self.log_density[r, g, b]
        height, width = image.shape[:2]
        square = blur_square(height)
        whole = interpolated(-total, (square * rows, square * columns))  # the last squares may reach over the edge
        return whole[:height, :width].astype(np.float32)


def fit_colours(training: Dataset) -> ColourDensity:
    """The density of colours on the valid pixels of a training set, or on the ID pixels of an OOD set.

    Raises:
        DataError: no pixel is valid, or a file breaks its contract.
    """
    counts = np.zeros(COLOUR_BINS**3, np.int64)
    is_ood_set = training.name in OOD_SETS
    with progress(f"{training.name} colours", len(training.pairs)) as advance:
        for pair in training.pairs:
            image, label = training.read(pair)
            smooth, seen = blurred(image), at_centres(label, blur_square(image.shape[0]))
            valid = seen == ID if is_ood_set else seen != IGNORE
            bins = (smooth[valid] * (COLOUR_BINS / 256)).astype(np.intp)
            flat = np.ravel_multi_index(tuple(np.minimum(bins, COLOUR_BINS - 1).T), (COLOUR_BINS,) * 3)
            counts += np.bincount(flat, minlength=counts.size)
            advance(1)
    if not counts.any():
        raise DataError(f"{training.root}: no valid pixel in {len(training.pairs)} images; colours cannot be counted")
    shares = smoothed((counts / counts.sum()).reshape((COLOUR_BINS,) * 3), COLOUR_SMOOTHING_BINS)
    return ColourDensity(log_density=np.log(shares + COLOUR_FLOOR))


def blurred(image: ImageArray) -> Doubles:
    """An image (H, W, 3), Gaussian-smoothed within itself by a sigma of one pixel in 128 rows.

    Returns:
        (ceil(H / n), ceil(W / n), 3) of 0..255: averages over n x n pixels, smoothed (n: `blur_square`). After such
        a blur they tell all, and a photograph takes a fraction of a second instead of several.
    """
    square = blur_square(image.shape[0])
    averages = np.asarray(Image.fromarray(image).reduce(square), np.float64)
    return smoothed(averages, image.shape[0] / (square * BLUR_ROWS), axes=(0, 1))


def blur_square(rows: int) -> int:
    """Side of the squares of pixels on which an image of so many rows is blurred: 1 below 512 rows, 4 at 1024."""
    return max(1, rows // (BLUR_CELLS * BLUR_ROWS))


def at_centres(label: npt.NDArray[np.uint8], square: int) -> npt.NDArray[np.uint8]:
    """The label (H, W) at the centres of squares of pixels: (ceil(H / square), ceil(W / square))."""
    places = [np.minimum(np.arange(0, size, square) + square // 2, size - 1) for size in label.shape]
    return label[np.ix_(*places)]


def smoothed(field: Doubles, sigma: float, axes: tuple[int, ...] | None = None) -> Doubles:
    """Gaussian smoothing along ``axes`` (all by default), cut at 3 sigma; edge values continue beyond the edge."""
    reach = max(1, round(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in range(field.ndim) if axes is None else axes:
        padded = np.pad(field, [(reach, reach) if a == axis else (0, 0) for a in range(field.ndim)], mode="edge")
        moved, length = np.moveaxis(padded, axis, 0), field.shape[axis]
        total = sum(weight * moved[start : start + length] for start, weight in enumerate(kernel))
        field = np.moveaxis(np.asarray(total), 0, axis)
    return field


@dataclass(frozen=True, kw_only=True)
class PositionPrior:
    """Pixels of a whole set per cell of a coarse grid."""

    id: Doubles
    """(rows, columns) ID pixels, each image weighing the same."""
    ood: Doubles
    """(rows, columns) OOD pixels, likewise."""

    def score(self, label: npt.NDArray[np.uint8]) -> Floats:
        """(H, W) float32 log share of OOD at this place in all images but the one with this label."""
        own_id, own_ood = (cells(label == value) for value in (ID, OOD))
        known, unknown = (np.maximum(total, 0) for total in (self.id - own_id, self.ood - own_ood))
        overall = (unknown.sum() + 1e-6) / (known.sum() + unknown.sum() + 2e-6)
        known, unknown = (smoothed(field, GRID_SMOOTHING_CELLS) for field in (known, unknown))
        share = (unknown + PSEUDO_IMAGES * overall) / (known + unknown + PSEUDO_IMAGES)
        return interpolated(np.log(share), label.shape).astype(np.float32)


def count_positions(dataset: Dataset) -> PositionPrior:
    """The prior of an OOD set. Raises DataError for a file that breaks its contract."""
    known, unknown = np.zeros(GRID), np.zeros(GRID)
    with progress(f"{dataset.name} positions", len(dataset.pairs)) as advance:
        for pair in dataset.pairs:
            _, label = dataset.read(pair)
            known += cells(label == ID)
            unknown += cells(label == OOD)
            advance(1)
    return PositionPrior(id=known, ood=unknown)


def cells(mask: npt.NDArray[np.bool_]) -> Doubles:
    """Share of each grid cell's pixels that (H, W) ``mask`` covers."""
    places = [np.arange(size) * count // size for size, count in zip(mask.shape, GRID, strict=True)]
    flat = (places[0][:, None] * GRID[1] + places[1][None, :]).ravel()
    count = np.bincount(flat, minlength=GRID[0] * GRID[1])
    covered = np.bincount(flat[mask.ravel()], minlength=GRID[0] * GRID[1])
    return (covered / np.maximum(count, 1)).reshape(GRID)


def interpolated(grid: Doubles, shape: tuple[int, ...]) -> Doubles:
    """A grid at (H, W) pixels, bilinear between the centres of its cells."""
    for axis, size in enumerate(shape):
        place = np.clip((np.arange(size) + 0.5) * grid.shape[axis] / size - 0.5, 0, grid.shape[axis] - 1)
        low = np.minimum(place.astype(np.intp), grid.shape[axis] - 2)
        share = np.expand_dims(place - low, 1 - axis)
        grid = np.take(grid, low, axis) * (1 - share) + np.take(grid, low + 1, axis) * share
    return grid
