"""Centroids of classes in tiles: sums over runs against one mask for every class in every tile.

    python benchmarks/centroids.py --output benchmarks/results/centroids-cpu.md
    python benchmarks/centroids.py --maps 1 --files 16

Labels of 3000 x 4000 pixels and 65 classes: regions around random points, most of them of few classes, with wavy and
ragged borders. The three ways to compute run one after the other on one core and must agree; decoding is timed apart.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import scipy
from common import machine, positive, publish
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

from abet.data.centroids import compute_centroids, tile_centroids
from abet.data.images import IndexArray, read_label
from abet.data.index import Dataset, Pair
from abet.data.mapillary import LABELS
from abet.labels import MAPILLARY
from abet.progress import format_seconds

HEIGHT, WIDTH, TILE = 3000, 4000, 1024
NUM_CLASSES = len(MAPILLARY)
COARSE = 4
REGIONS = 700
TRAINING_MAPS = 18_000

Rows = NDArray[np.int32]
Result = TypeVar("Result")


def make_label(seed: int) -> IndexArray:
    """A label of regions, (HEIGHT, WIDTH) uint8; some are unlabelled (65), as in Mapillary Vistas."""
    rng = np.random.default_rng(seed)
    # small regions about the horizon, large ones elsewhere
    points = rng.random((REGIONS, 2)) * (HEIGHT, WIDTH)
    points[REGIONS // 3 :, 0] = rng.normal(HEIGHT / 2, HEIGHT / 12, REGIONS - REGIONS // 3)
    popularity = 1 / np.arange(1, NUM_CLASSES + 2)
    classes = rng.permutation(NUM_CLASSES + 1)[rng.choice(NUM_CLASSES + 1, REGIONS, p=popularity / popularity.sum())]
    grid = np.stack(np.mgrid[:HEIGHT:COARSE, :WIDTH:COARSE], axis=-1)
    coarse = classes.astype(np.uint8)[cKDTree(points).query(grid)[1]]
    y, x = (np.clip(place + _waves(rng), 0, size - 1) // COARSE for place, size in _places())
    return np.ascontiguousarray(coarse[y, x])


def _places() -> tuple[tuple[NDArray[np.int64], int], ...]:
    return (np.arange(HEIGHT)[:, None], HEIGHT), (np.arange(WIDTH)[None], WIDTH)


def _waves(rng: np.random.Generator) -> NDArray[np.int64]:
    """How far each pixel is moved: smoothly by up to a hundred pixels, and one by one by up to two."""
    smooth = Image.fromarray(rng.normal(0, 25, (HEIGHT // 100, WIDTH // 100)).astype(np.float32))
    waves = np.asarray(smooth.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    return waves.astype(np.int64) + rng.integers(-2, 3, (HEIGHT, WIDTH))


def one_mask_per_class(label: IndexArray, tile_pixels: int, num_classes: int) -> Rows:
    """The baseline: a mask, and its centre of mass, for every class in every tile."""
    rows = []
    for top in range(0, label.shape[0] - tile_pixels + 1, tile_pixels):
        for left in range(0, label.shape[1] - tile_pixels + 1, tile_pixels):
            tile = label[top : top + tile_pixels, left : left + tile_pixels]
            for train_id in range(num_classes):
                mask = tile == train_id
                if mask.any():
                    y, x = ndimage.center_of_mass(mask)
                    rows.append((train_id, int(x) + left, int(y) + top))
    return _sorted(rows)


def one_call_per_tile(label: IndexArray, tile_pixels: int, num_classes: int) -> Rows:
    """A better baseline: SciPy takes all classes of a tile at once."""
    rows = []
    ones = np.ones((tile_pixels, tile_pixels), np.uint8)
    for top in range(0, label.shape[0] - tile_pixels + 1, tile_pixels):
        for left in range(0, label.shape[1] - tile_pixels + 1, tile_pixels):
            tile = label[top : top + tile_pixels, left : left + tile_pixels]
            classes = np.flatnonzero(np.bincount(tile.ravel(), minlength=256)[:num_classes])
            for train_id, (y, x) in zip(classes.tolist(), ndimage.center_of_mass(ones, tile, classes), strict=True):
                rows.append((train_id, int(x) + left, int(y) + top))
    return _sorted(rows)


def _sorted(rows: Sequence[tuple[int, int, int]]) -> Rows:
    return np.array(sorted(rows, key=lambda row: row[0]), np.int32)


CONTESTANTS: dict[str, Callable[[IndexArray, int, int], Rows]] = {
    "one mask per class and tile (baseline)": one_mask_per_class,
    "SciPy, one call per tile": one_call_per_tile,
    "abet, runs": tile_centroids,
}


class Times(NamedTuple):
    """Seconds per label."""

    contestants: dict[str, float]
    decode: float
    table: float
    files: dict[int, float]
    """Number of processes -> `compute_centroids` over files, start of the processes included."""

    @property
    def whole(self) -> float:
        """From the file to its centroids, on one core."""
        return self.decode + self.table + self.contestants["abet, runs"]


def timed(work: Callable[[], Result], repeats: int = 1) -> tuple[float, Result]:
    """The least seconds of ``repeats`` calls, and what the last one returned."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return min(times), result


def compare(labels: Sequence[IndexArray], repeats: int) -> dict[str, float]:
    """Mean seconds per label of every contestant; the baselines run once. Raises AssertionError when they disagree."""
    times = dict.fromkeys(CONTESTANTS, 0.0)
    for label in labels:
        answers = []
        for name, find in CONTESTANTS.items():
            call = repeats if find is tile_centroids else 1
            seconds, rows = timed(lambda find=find, label=label: find(label, TILE, NUM_CLASSES), call)
            times[name] += seconds / len(labels)
            answers.append(rows)
        assert all(np.array_equal(answers[0], answer) for answer in answers[1:]), "the contestants disagree"
    return times


def over_files(folder: Path, files: int, processes: int) -> float:
    """Seconds per label of `compute_centroids` over ``files`` files."""
    stored = sorted(folder.glob("*.png"))
    pairs = tuple(Pair(name=f"{i}", image=folder, label=stored[i % len(stored)]) for i in range(files))
    dataset = Dataset(
        name="mapillary", split="training", root=folder, layout="synthetic", pairs=pairs, labels=LABELS
    )  # fmt: skip
    seconds, _ = timed(
        lambda: compute_centroids(dataset, tile_pixels=TILE, processes=processes, advance=lambda *_: None)
    )
    return seconds / files


def measure(labels: Sequence[IndexArray], repeats: int, files: int) -> Times:
    """All times. What is compared stays on one core; several processes use all that there are."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if cores:
        os.sched_setaffinity(0, {min(cores)})
    contestants = compare(labels, repeats)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        decode = table = 0.0
        for number, label in enumerate(labels):
            path = folder / f"{number}.png"
            Image.fromarray(label).save(path)
            seconds, raw = timed(lambda path=path: read_label(path), repeats)
            decode += seconds / len(labels)
            table += timed(lambda path=path, raw=raw: LABELS.apply(raw, file=path), repeats)[0] / len(labels)
        alone = over_files(folder, files, 1)
        if cores:
            os.sched_setaffinity(0, cores)
        together = {len(cores): over_files(folder, files, len(cores))} if len(cores) > 1 else {}
    return Times(contestants, decode, table, {1: alone, **together})


def describe(labels: Sequence[IndexArray]) -> str:
    """What the labels are like."""
    runs = np.mean([np.count_nonzero(np.diff(label, axis=1)) + HEIGHT for label in labels])
    present = np.mean([len(tile_centroids(label, TILE, NUM_CLASSES)) for label in labels])
    return (
        f"{len(labels)} labels of {HEIGHT} x {WIDTH} pixels, {runs:,.0f} runs of one class in a row and "
        f"{present:.0f} centroids per label (tiles of {TILE} pixels, {NUM_CLASSES} classes)"
    )


def table(times: Times, worst: dict[str, float]) -> list[str]:
    """The rows of every contestant; ``worst``: the same for a label in which every pixel is of another class."""
    baseline, worst_baseline = next(iter(times.contestants.values())), next(iter(worst.values()))
    lines = ["| | seconds per label | ratio | of a label of noise | ratio |", "|---|---:|---:|---:|---:|"]
    for name, seconds in times.contestants.items():
        noise = worst[name]
        lines.append(
            f"| {name} | {seconds:.4f} | {baseline / seconds:.1f} | {noise:.3f} | {worst_baseline / noise:.1f} |"
        )
    return lines


def whole_set(times: Times) -> list[str]:
    """What the training set would take."""
    lines = [f"| cores | {TRAINING_MAPS:,} labels |", "|---:|---:|"]
    return lines + [f"| {cores} | {format_seconds(TRAINING_MAPS * times.whole / cores)} |" for cores in (1, 16, 32)]


def report(maps: int, repeats: int, files: int) -> str:
    """Measure and describe the result."""
    on = machine()
    labels = [make_label(seed) for seed in range(maps)]
    times = measure(labels, repeats, files)
    noise = np.random.default_rng(0).integers(0, NUM_CLASSES, (HEIGHT, WIDTH), dtype=np.uint8)
    worst = compare([noise], repeats)
    parts = {"PNG decoding": times.decode, "label table": times.table, "centroids": times.contestants["abet, runs"]}
    lines = [
        "# Centroids: sums over runs against masks\n",
        f"{on}; Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}. "
        f"{describe(labels)}. One core; the fastest of {repeats} runs (the baselines: one run). All agree.\n",
        *table(times, worst),
        "",
        "From the file to its centroids, seconds per label: "
        + ", ".join(f"{name} {seconds:.3f}" for name, seconds in parts.items())
        + f"; {times.whole:.3f} together. `compute_centroids` over {files} files: "
        + ", ".join(f"{seconds:.3f} with {count} processes" for count, seconds in times.files.items()).replace(
            "1 processes", "1 process"
        )
        + ".\n",
        "Estimated for the training set, if all its labels were of this size, cores were the limit and files came "
        "as fast:\n",
        *whole_set(times),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=positive, default=3, help="labels that are compared")
    parser.add_argument("--files", type=positive, default=48, help="label files that are read in processes")
    parser.add_argument("--repeats", type=positive, default=5, help="runs of abet's rows")
    parser.add_argument("--output", type=Path, help="also write the report to this Markdown file")
    arguments = parser.parse_args()
    publish(report(arguments.maps, arguments.repeats, arguments.files), arguments.output)


if __name__ == "__main__":
    main()
