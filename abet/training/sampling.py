"""What a training job takes its crops from: the epochs' lists, and the coarse split that joins in.

    sampling = open_sampling(recipe, train, folder=site.scratch_folder / CENTROIDS, ...)

Class-uniform sampling needs the places of every class, which take minutes to find the first time and come from a cache
after that. The first process of each node finds them; the others read what it left. Where the site's artifacts lie in
S3, the cache lies beside them too, so that machines whose scratch is new need not find them again.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from abet.config import Recipe
from abet.cpus import available_cpus
from abet.data.centroid_cache import cache_path, load_or_compute
from abet.data.centroids import Centroids
from abet.data.epochs import EpochLists
from abet.data.index import Dataset, open_dataset
from abet.distributed import Topology, work_apart
from abet.errors import DataError, UsageError
from abet.places import S3Uri
from abet.progress import note
from abet.site import SiteConfig
from abet.storage import Storage, StorageRefused, open_storage

CENTROIDS: Final = "centroids"
"""The folder of the cache, below the site's scratch, and below its artifacts where those lie in S3."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which crops an epoch is made of, and where those beyond the training split come from."""

    lists: EpochLists
    boosted: Dataset | None
    notes: tuple[str, ...]
    """What the log should say of it."""

    def sha256(self) -> str:
        """Fingerprint of all that an epoch's list follows from, apart from the seed."""
        lists = self.lists
        boosted = None if self.boosted is None else self.boosted.list_sha256()
        numbers = [lists.images, lists.share, lists.last_boosted_epoch, boosted]
        digest = hashlib.sha256(json.dumps(numbers).encode())
        for places in (*lists.places, *lists.boosted):
            digest.update(f"{len(places)}:".encode() + np.ascontiguousarray(places, "<i4").tobytes())
        return digest.hexdigest()


def open_sampling(
    recipe: Recipe, train: Dataset, *, root: Path, folder: Path, processes: int = 1, shared: Storage | None = None
) -> Sampling:
    """The lists of a recipe's epochs; reads every label of ``train`` unless ``folder`` holds its places already.

    ``processes`` read labels side by side. What ``folder`` lacks is looked for in ``shared``, and kept there.

    Raises:
        DataError: the boosted split is missing or incomplete, a label cannot be read, or no class has a place.
    """
    config, seed = recipe.sampling, recipe.training.seed
    images = len(train.pairs)
    if not config.class_uniform_share:
        return Sampling(lists=EpochLists(seed=seed, images=images), boosted=None, notes=())
    _require_share(config.class_uniform_share, images, recipe.model.num_classes)
    boosted = _open_boosted(recipe, root)
    cached = partial(load_or_compute, tile_pixels=config.tile_pixels, processes=processes, folder=folder, shared=shared)
    places = _by_class(cached(train), recipe.model.num_classes)
    more: list[NDArray[np.int32]] = []
    if boosted is not None:
        more = _by_class(cached(boosted), recipe.model.num_classes, only=config.boost_classes, images_before=images)
    _require_places(train, config.tile_pixels, [*places, *more])
    never = recipe.reference_quirks.boosted_centroids_never_cut
    lists = EpochLists(
        seed=seed,
        images=images,
        share=config.class_uniform_share,
        places=places,
        boosted=more,
        last_boosted_epoch=None if never else config.last_boosted_epoch,
    )
    return Sampling(lists=lists, boosted=boosted, notes=_notes(train, lists))


def find_places_on_each_node(recipe: Recipe, root: Path, site: SiteConfig, topology: Topology) -> None:
    """Let the first process of each node fill the cache of places, with all of its cores; the others wait.

    Raises:
        LostPeerError: it failed on another node; says why.
    """
    if not recipe.sampling.class_uniform_share:
        return

    folder = site.scratch_folder / CENTROIDS

    def find() -> None:
        train = open_dataset(recipe.data.dataset, root, recipe.data.train_split)
        require_classes(recipe, train)
        found = open_sampling(
            recipe, train, root=root, folder=folder, processes=available_cpus(), shared=_shared_cache(site)
        )
        kept = [cache_path(each, recipe.sampling.tile_pixels, folder) for each in (train, found.boosted) if each]
        if topology.processes > 1 and not all(path.is_file() for path in kept):
            raise UsageError(
                f"{folder}: the places of the classes could not be kept there, and each of {topology.processes} "
                "processes would have to find them itself; set `scratch` in the site file to a folder that can be "
                "written to"
            )

    work_apart(topology, find if topology.local_rank == 0 else None)


def _shared_cache(site: SiteConfig) -> Storage | None:
    """What the site's machines share beside the artifacts; a folder of artifacts is as near as any scratch."""
    if not isinstance(site.artifacts, S3Uri):
        return None
    try:
        return open_storage(site.artifacts / CENTROIDS, site.s3)
    except StorageRefused as error:
        note(f"{error}: the places of the classes are looked for on this machine alone")
        return None


def require_classes(recipe: Recipe, data: Dataset) -> None:
    """Raises UsageError unless the network tells apart as many classes as the data have."""
    if recipe.model.num_classes != len(data.classes):
        raise UsageError(
            f"model.num_classes {recipe.model.num_classes}: {data.name} has {len(data.classes)} classes; "
            f"--set model.num_classes={len(data.classes)}"
        )


def _open_boosted(recipe: Recipe, root: Path) -> Dataset | None:
    split = recipe.sampling.boost_split
    if split is None:
        return None
    try:
        return open_dataset(recipe.data.dataset, root, split)
    except DataError as error:
        raise DataError(
            f"{error}\nsampling.boost_split {split} adds places of classes {list(recipe.sampling.boost_classes)}; to "
            "train without it: --set sampling.boost_split=null --set sampling.boost_classes=[]"
        ) from None
    except UsageError as error:
        raise UsageError(f"sampling.boost_split: {error}") from None


def _by_class(
    found: Centroids, num_classes: int, *, only: Sequence[int] | None = None, images_before: int = 0
) -> list[NDArray[np.int32]]:
    """Per class (M, 3) int32: image (counted on from ``images_before``), x, y."""
    everyone = range(num_classes) if only is None else only
    empty = np.empty((0, 3), np.int32)
    return [
        np.column_stack([own.images + images_before, own.x, own.y]).astype(np.int32) if train_id in everyone else empty
        for train_id in range(num_classes)
        for own in [found.of_class(train_id)]
    ]


def _require_share(share: float, images: int, num_classes: int) -> None:
    if int(images * share / num_classes) < 1:
        least = next((part for part in range(1, 1001) if int(images * part / 1000 / num_classes)), None)
        least_share = "none is large enough" if least is None else f"{least / 1000} is large enough"
        raise UsageError(
            f"sampling.class_uniform_share {share} of {images} images is less than one crop for each of {num_classes} "
            f"classes: {least_share}; or set it to 0"
        )


def _require_places(train: Dataset, tile_pixels: int, places: Sequence[NDArray[np.int32]]) -> None:
    if not any(map(len, places)):
        raise DataError(
            f"{train.name}, split {train.split}: no label holds a whole square of {tile_pixels} pixels (with anything "
            "but ignored pixels in it), so no class has a place to take crops around; lower sampling.tile_pixels, or "
            "set sampling.class_uniform_share=0"
        )


def _notes(train: Dataset, lists: EpochLists) -> tuple[str, ...]:
    absent = [row.name for row, count in zip(train.classes, lists.counts(), strict=True) if not count]
    present = len(lists.places) - len(absent)
    lines = [
        f"class-uniform sampling: {lists.length} crops an epoch, {lists.per_class * present} of them around a class, "
        f"{lists.per_class} for each of {present}"
    ]
    lines += [f"no place of {', '.join(absent)}: an epoch is shorter by their share"] if absent else []
    return tuple(lines)
