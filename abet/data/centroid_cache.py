"""Centroids that are computed once: a file named by the fingerprint of what it was made from.

centroids = load_or_compute(dataset, tile_pixels=1024, folder=cache_folder() / "centroids", processes=8)

Losing the file costs the time to make it, no more: whatever cannot be verified is computed again. A storage that
several machines share may hold the same file; whatever happens to it fails no job.
"""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from abet.arrays import save_arrays
from abet.data.centroids import Centroids, compute_centroids, label_centroids
from abet.data.index import Dataset
from abet.errors import AbetError
from abet.files import atomic_path
from abet.progress import note, progress
from abet.storage import NotFound, Storage

COMPARED_LABELS: Final = 4
"""Labels that are read to compare them with a file from elsewhere."""
ALGORITHM: Final = 1
"""Raised with every change that alters a centroid, or the file."""
_DTYPES: Final = {"images": np.int32, "classes": np.uint8, "x": np.int32, "y": np.int32}


def load_or_compute(
    dataset: Dataset, *, tile_pixels: int, folder: Path, processes: int, shared: Storage | None = None
) -> Centroids:
    """The centroids of a training set, from its file in ``folder``; computed, and kept there, where it has none.

    The file holds no path, so it may be copied to wherever the same data set lies. One that is damaged is noted and
    replaced; a folder that cannot be written is noted. Any number of processes may do this at once.

    ``shared`` is looked into before anything is computed, and gets what was: by the same name, verified alike. What
    comes from there is compared with some of the labels, too: another machine's may have the same names and sizes and
    another content. A storage that refuses or does not answer is noted, and costs its patience once.

    Raises:
        UsageError: fewer than one process, or a tile of less than one pixel.
        DataError: a label that cannot be read, or is gone.
        AbetError: a process died.
    """
    made_from, path = fingerprint(dataset, tile_pixels), cache_path(dataset, tile_pixels, folder)
    found = _load(path, dataset, made_from)
    if found is None and shared is not None:
        fetched, answers = _fetch(shared, path)
        if fetched:
            source = f"{shared.place}/{path.name}"
            found = _load(path, dataset, made_from, source=source, check=partial(_require_labels, dataset, tile_pixels))
            if found is None:
                path.unlink()  # here it would be believed without another look at the labels
        shared = shared if answers else None
    if found is not None:
        return found
    with progress(f"centroids of {dataset.name}", len(dataset.pairs)) as advance:
        made = compute_centroids(dataset, tile_pixels=tile_pixels, processes=processes, advance=advance)
    if _save(path, made, made_from) and shared is not None:
        _share(shared, path)
    return made


def cache_path(dataset: Dataset, tile_pixels: int, folder: Path) -> Path:
    """The file in ``folder`` that holds the centroids of ``dataset``, once they are kept."""
    return folder / f"{dataset.name}-{dataset.split}-tile{tile_pixels}-{fingerprint(dataset, tile_pixels)[:32]}.npz"


def fingerprint(dataset: Dataset, tile_pixels: int) -> str:
    """64 hex digits: equal where names, file sizes, split, label table and tile are; neither root nor times count.

    Raises:
        DataError: a file of the list is gone.
    """
    made_from = [ALGORITHM, dataset.list_sha256(), tile_pixels]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def _save(path: Path, made: Centroids, made_from: str) -> bool:
    """Whether the file could be written; where not, that is noted."""
    arrays: dict[str, NDArray[Any]] = {name: getattr(made, name) for name in _DTYPES}
    arrays["made_from"] = np.array(made_from)
    try:
        with atomic_path(path) as temporary:
            save_arrays(temporary, arrays)
    except OSError as error:
        reason = error.strerror or error
        note(f"{path}: could not be written ({reason}); the centroids will be computed again next time")
        return False
    return True


def _fetch(shared: Storage, path: Path) -> tuple[bool, bool]:
    """Bring the storage's file to ``path``: whether it had one, and whether it answers at all."""
    try:
        shared.download(path.name, path)
    except NotFound:
        return False, True
    except (AbetError, OSError) as error:  # no answer, no permission, replaced meanwhile; no room here
        note(f"{shared.place}/{path.name}: could not be fetched ({error}); the centroids are computed here")
        return False, False
    return True, True


def _require_labels(dataset: Dataset, tile_pixels: int, found: Centroids) -> None:
    """Raises ValueError unless some labels, evenly spread, have the centroids that ``found`` says."""
    for image in np.unique(np.linspace(0, len(dataset.pairs) - 1, COMPARED_LABELS).astype(int)):
        file = dataset.pairs[image].label
        own = label_centroids(file, labels=dataset.labels, tile_pixels=tile_pixels, num_classes=len(dataset.classes))
        theirs = found.images == image
        same = np.array_equal(own, np.stack([found.classes, found.x, found.y], axis=1)[theirs])
        _require(same, f"made from labels of the same names and sizes, but of another content: {file}")


def _share(shared: Storage, path: Path) -> None:
    try:
        shared.upload(path, path.name)
    except (AbetError, OSError) as error:
        note(f"{shared.place}/{path.name}: could not be stored ({error}); other machines will compute the same again")


def _load(
    path: Path,
    dataset: Dataset,
    made_from: str,
    *,
    source: str | None = None,
    check: Callable[[Centroids], None] = lambda _: None,
) -> Centroids | None:
    """What the file holds, which came from ``source``; None where there is none, or none to rely upon.

    ``check`` raises where something else is wrong with it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            _require(str(file["made_from"]) == made_from, "made from other labels")
            found = Centroids(**{name: file[name] for name in _DTYPES})
        _verify(found, images=len(dataset.pairs), classes=len(dataset.classes))
        check(found)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # a damaged archive raises whatever its parsers raise: zlib, zip, numpy, ours
        note(f"{source or path}: passed over, not usable ({error})")
        return None
    return found


def _verify(found: Centroids, *, images: int, classes: int) -> None:
    """Raises ValueError for arrays that `compute_centroids` cannot have returned."""
    for name, dtype in _DTYPES.items():
        array = getattr(found, name)
        _require(array.dtype == dtype and array.shape == (len(found),), f"{name} is {array.dtype} {array.shape}")
    if len(found):
        _require(found.images.min() >= 0 and found.images.max() < images, f"images beyond the {images}")
        _require(found.classes.max() < classes, f"classes beyond the {classes}")
    _require(bool(np.all(found.classes[1:] >= found.classes[:-1])), "classes out of order")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
