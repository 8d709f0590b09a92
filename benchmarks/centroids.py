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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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
TRAINING_LABELS = 18_000

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
    grid = np.moveaxis(np.mgrid[:HEIGHT:COARSE, :WIDTH:COARSE], 0, -1)
    coarse = classes.astype(np.uint8)[cKDTree(points).query(grid)[1]]
    y = np.clip(np.arange(HEIGHT)[:, None] + _waves(rng), 0, HEIGHT - 1)
    x = np.clip(np.arange(WIDTH) + _waves(rng), 0, WIDTH - 1)
    label: IndexArray = coarse[y // COARSE, x // COARSE]
    return label


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


OURS = "abet, runs"
CONTESTANTS: dict[str, Callable[[IndexArray, int, int], Rows]] = {
    "one mask per class and tile (baseline)": one_mask_per_class,
    "SciPy, one call per tile": one_call_per_tile,
    OURS: tile_centroids,
}


class Times(NamedTuple):
    """Seconds per label."""

    contestants: dict[str, float]
    decode: float
    table: float
    files: dict[int, float]
    """Number of processes -> `compute_centroids` over files, start of the processes included."""


def timed(work: Callable[..., Result], *arguments: Any, repeats: int = 1) -> tuple[float, Result]:
    """The least seconds of ``repeats`` calls, and what the last one returned."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work(*arguments)
        times.append(time.perf_counter() - start)
    return min(times), result


def compare(labels: Sequence[IndexArray], repeats: int) -> dict[str, float]:
    """Mean seconds per label of every contestant, the baselines from one run. They must agree."""
    times = dict.fromkeys(CONTESTANTS, 0.0)
    for label in labels:
        answers = []
        for name, find in CONTESTANTS.items():
            calls = repeats if name == OURS else 1
            seconds, rows = timed(find, label, TILE, NUM_CLASSES, repeats=calls)
            times[name] += seconds / len(labels)
            answers.append(rows)
        assert all(np.array_equal(answers[0], answer) for answer in answers[1:]), "the contestants disagree"
    return times


def reading(stored: Sequence[Path], repeats: int) -> tuple[float, float]:
    """Mean seconds per label: to decode it, and to put it through the label table."""
    decode = table = 0.0
    for path in stored:
        seconds, raw = timed(read_label, path, repeats=repeats)
        decode += seconds / len(stored)
        table += timed(lambda raw, path: LABELS.apply(raw, file=path), raw, path, repeats=repeats)[0] / len(stored)
    return decode, table


def over_files(stored: Sequence[Path], files: int, processes: int) -> float:
    """Seconds per label of `compute_centroids` over ``files`` files."""
    labels = [stored[number % len(stored)] for number in range(files)]
    pairs = tuple(Pair(name=str(number), image=path, label=path) for number, path in enumerate(labels))
    dataset = Dataset(name="mapillary", split="training", root=Path(), layout="none", pairs=pairs, labels=LABELS)
    start = time.perf_counter()
    compute_centroids(dataset, tile_pixels=TILE, processes=processes, advance=lambda units, status="": None)
    return (time.perf_counter() - start) / files


@contextmanager
def one_core() -> Iterator[int]:
    """Keep to one core where the system can; tells how many there are."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if cores:
        os.sched_setaffinity(0, {min(cores)})
    try:
        yield len(cores) or os.cpu_count() or 1
    finally:
        if cores:
            os.sched_setaffinity(0, cores)


def measure(labels: Sequence[IndexArray], repeats: int, files: int) -> Times:
    """All times: on one core, and over files with as many processes as cores too."""
    with tempfile.TemporaryDirectory() as folder:
        stored = [Path(folder) / f"{number}.png" for number in range(len(labels))]
        for path, label in zip(stored, labels, strict=True):
            Image.fromarray(label).save(path)
        with one_core() as cores:
            contestants = compare(labels, repeats)
            decode, table = reading(stored, repeats)
            over = {1: over_files(stored, files, 1)}
        if cores > 1:
            over[cores] = over_files(stored, files, cores)
    return Times(contestants, decode, table, over)


def describe(labels: Sequence[IndexArray]) -> str:
    """What the labels are like."""
    runs = np.mean([np.count_nonzero(np.diff(label, axis=1)) + HEIGHT for label in labels])
    present = np.mean([len(tile_centroids(label, TILE, NUM_CLASSES)) for label in labels])
    return (
        f"Labels of {HEIGHT} x {WIDTH} pixels ({len(labels)}, synthetic), each with {runs:,.0f} runs of one class in a "
        f"row and {present:.0f} centroids (tiles of {TILE} pixels, {NUM_CLASSES} classes)"
    )


def rows(times: Times, noise: dict[str, float]) -> list[str]:
    """A table of the contestants; ``noise``: their seconds for a label in which no two neighbours are alike."""
    baseline = next(iter(CONTESTANTS))
    lines = ["| | seconds per label | ratio | of noise | ratio |", "|---|---:|---:|---:|---:|"]
    for name in CONTESTANTS:
        cells = [name]
        for seconds in (times.contestants, noise):
            cells += [f"{seconds[name]:.4f}", f"{seconds[baseline] / seconds[name]:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def estimate(times: Times) -> list[str]:
    """What a whole training set would take."""
    seconds = TRAINING_LABELS * times.files[1]
    per_cores = [(cores, format_seconds(seconds / cores)) for cores in (1, 16, 32)]
    return ["| cores | time |", "|---:|---:|", *(f"| {cores} | {text} |" for cores, text in per_cores)]


def report(maps: int, repeats: int, files: int) -> str:
    """Measure and describe the result."""
    on = machine()
    labels = [make_label(seed) for seed in range(maps)]
    times = measure(labels, repeats, files)
    with one_core():
        noise = compare([np.random.default_rng(0).integers(0, NUM_CLASSES, (HEIGHT, WIDTH), np.uint8)], repeats)
    over = ", ".join(f"{seconds:.3f} with {count}" for count, seconds in times.files.items())
    lines = [
        "# Centroids: sums over runs against masks\n",
        f"{on}; Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}. "
        f"{describe(labels)}. All on one core; the fastest of {repeats} runs (abet), one run (the others). The "
        "centroids agree, all of them. Noise: a label of random pixels, the worst case.\n",
        *rows(times, noise),
        "",
        f"- Before that, seconds per label: {times.decode:.3f} for the PNG, {times.table:.3f} for the label table.",
        f"- `compute_centroids` over {files} files, seconds per label, the start of processes included: {over}.",
        f"- Estimated from the one process: {TRAINING_LABELS:,} labels of this size, where files come fast enough and "
        "every core is as fast as one alone:\n",
        *estimate(times),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=positive, default=3, help="labels that are compared")
    parser.add_argument("--files", type=positive, default=96, help="label files that are read in processes")
    parser.add_argument("--repeats", type=positive, default=5, help="runs of abet's rows")
    parser.add_argument("--output", type=Path, help="also write the report to this Markdown file")
    arguments = parser.parse_args()
    publish(report(arguments.maps, arguments.repeats, arguments.files), arguments.output)


if __name__ == "__main__":
    main()
