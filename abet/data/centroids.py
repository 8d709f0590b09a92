"""Where each class lies in each training label: what class-uniform sampling aims its crops at. No torch import.

    with progress("centroids", len(dataset.pairs)) as advance:
        centroids = compute_centroids(dataset, tile_pixels=1024, processes=8, advance=advance)
    cars = centroids.of_class(13)

A label is cut into square tiles, and every class in a tile yields one centroid: how the reference prepares the uniform
sampling of Zhu et al., Improving Semantic Segmentation via Video Propagation and Label Relaxation (CVPR 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abet.data.images import IndexArray, read_label
from abet.data.index import Dataset
from abet.data.parallel import in_processes
from abet.data.tables import ClassTable, LabelTable
from abet.errors import DataError, UsageError
from abet.labels import IGNORE
from abet.progress import Advance

Rows = NDArray[np.int32]
"""(K, 3) int32: class, x, y of each centroid of one label."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Centroids:
    """K centroids, sorted by class, then image, then tile (left to right, then down): four arrays of one length."""

    images: NDArray[np.int32]
    """(K,) int32: the image is ``dataset.pairs[i]``."""
    classes: NDArray[np.uint8]
    """(K,) uint8 train ids, ascending."""
    x: NDArray[np.int32]
    """(K,) int32, pixels from the left edge of the full image."""
    y: NDArray[np.int32]
    """(K,) int32, pixels from its upper edge."""

    def __len__(self) -> int:
        """How many centroids there are."""
        return len(self.classes)

    def of_class(self, train_id: int) -> "Centroids":
        """Those of one class, perhaps none; views, not copies."""
        # without the dtype, numpy would convert all classes for each search
        first, end = np.searchsorted(self.classes, np.array([train_id, train_id + 1], np.uint8))
        part = slice(first, end)
        return Centroids(images=self.images[part], classes=self.classes[part], x=self.x[part], y=self.y[part])


def tile_centroids(label: IndexArray, tile_pixels: int, num_classes: int) -> Rows:
    """The centre of mass of every class in every tile, rounded down; it need not lie on its class.

    Tiles do not overlap. What is left over at the right and lower edge is not covered, so a label smaller than a tile
    yields nothing (reference behaviour). All sums are of integers below 2**53, hence exact.

    Args:
        label: (H, W) uint8 train ids; values from ``num_classes`` on, IGNORE among them, are passed over.
        tile_pixels: side of a tile.
        num_classes: C, at most 255.

    Returns:
        (K, 3) int32: class, x, y in pixels of the label, sorted by class, then tile (left to right, then down).
    """
    assert label.dtype == np.uint8, label.dtype
    assert tile_pixels >= 1, tile_pixels
    assert 1 <= num_classes <= IGNORE, num_classes
    rows, columns = label.shape[0] // tile_pixels, label.shape[1] // tile_pixels
    if not rows * columns:
        return np.empty((0, 3), np.int32)
    covered = label[: rows * tile_pixels, : columns * tile_pixels].reshape(rows, tile_pixels, -1)
    sums = np.concatenate([_sums(np.ascontiguousarray(band), num_classes) for band in covered], axis=1)
    classes, tiles = np.nonzero(sums[0].T)
    count, x, y = sums[:, tiles, classes]
    return np.stack([classes, x // count, y // count + tiles // columns * tile_pixels], axis=1).astype(np.int32)


def _sums(band: IndexArray, num_classes: int) -> NDArray[np.int64]:
    """Pixels, sum of x and sum of y of every class in the tiles of one row: (3, tiles, C).

    Labels hold long runs of one class, so that the work is in runs rather than in pixels.
    """
    tile, width = band.shape
    flat = band.reshape(-1)
    begins = np.empty(flat.shape, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins.reshape(band.shape)[:, ::tile] = True
    start = np.flatnonzero(begins)
    length, value = np.diff(start, append=flat.size), flat[start]
    kept = value < num_classes
    start, length, value = start[kept], length[kept], value[kept]
    y, x = np.divmod(start, width)
    place = x // tile * num_classes + value
    weights = (length, length * (2 * x + length - 1) // 2, length * y)
    sums = [np.bincount(place, weight, width // tile * num_classes) for weight in weights]
    return np.stack(sums).astype(np.int64).reshape(3, -1, num_classes)


def compute_centroids(dataset: Dataset, *, tile_pixels: int, processes: int, advance: Advance) -> Centroids:
    """The centroids of all labels of a training set; the same for any number of ``processes``.

    ``advance`` is called with the labels done since the last call.

    Raises:
        UsageError: fewer than one process, or a tile of less than one pixel.
        DataError: a label that cannot be read: the first one in the order of the data set.
        AbetError: a process died.
    """
    for name, value in (("tile_pixels", tile_pixels), ("processes", processes)):
        if value < 1:
            raise UsageError(f"{name} {value}: at least 1 is needed")
    work = partial(label_centroids, labels=dataset.labels, tile_pixels=tile_pixels, num_classes=len(dataset.classes))
    files = [pair.label for pair in dataset.pairs]  # without the images' names: half as much to send
    found: list[Rows] = []
    try:
        with in_processes(work, files, processes, purpose="reads labels") as results:
            for rows in results:
                found += rows
                advance(len(rows))
    except DataError as error:
        raise DataError(
            f"{error}. `abet data check {dataset.name} {dataset.root} --split {dataset.split}` lists all that is wrong"
        ) from None
    return _join(found)


def label_centroids(file: Path, *, labels: LabelTable | ClassTable, tile_pixels: int, num_classes: int) -> Rows:
    """`tile_centroids` of a label file. Raises DataError where it cannot be read."""
    return tile_centroids(labels.apply(read_label(file), file=file), tile_pixels, num_classes)


def _join(found: Sequence[Rows]) -> Centroids:
    """``found`` holds what each image yielded, in the order of the data set."""
    rows = np.concatenate([np.empty((0, 3), np.int32), *found])
    images = np.repeat(np.arange(len(found), dtype=np.int32), [len(part) for part in found])
    order = np.argsort(rows[:, 0], kind="stable")
    classes, x, y = rows[order].T
    return Centroids(images=images[order], classes=classes.astype(np.uint8), x=x.copy(), y=y.copy())
