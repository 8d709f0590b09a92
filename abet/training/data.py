"""The data of a training job on every node: fetched once per node, and the same for all ranks.

    with process_group(topology):
        root = stage_on_each_node(place, site, topology, what="cityscapes")
        ...
        require_same_data(topology, train, validation)

The processes have met before anything is fetched, and none waits for another one within an exchange: a node that has
its copy does not give up on one that fetches it for hours.
"""

import socket
from pathlib import Path

from abet.config import Recipe
from abet.data.index import Dataset
from abet.distributed import Topology, from_all_ranks, work_apart
from abet.errors import DataError, UsageError
from abet.places import Place
from abet.site import SiteConfig
from abet.staging import keep_for_this_process, stage


def stage_on_each_node(place: Place, site: SiteConfig, topology: Topology, *, what: str) -> Path:
    """As `abet.staging.stage`, by the first process of each node; the others take the folder that it found.

    Raises:
        LostPeerError: it failed on another node; says why.
    """
    if isinstance(place, Path):
        return place
    staged: list[Path] = []
    first = topology.local_rank == 0
    work_apart(topology, (lambda: staged.append(stage(place, site, what=what))) if first else None)
    folders = from_all_ranks(topology, str(staged[0]) if staged else None)
    folder = Path(folders[topology.rank - topology.local_rank])
    keep_for_this_process(folder)
    return folder


def shared_images(recipe: Recipe, train: Dataset, validation: Dataset, boosted: Dataset | None) -> list[str]:
    """What the log should say of validation images that are trained on; mostly nothing.

    Raises:
        UsageError: the split with coarse labels holds images of one of the others.
    """
    coarse, of_training, of_validation = (
        frozenset(pair.image for pair in data.pairs) if data else frozenset[Path]()
        for data in (boosted, train, validation)
    )
    for images, data, key in (
        (of_training, train, "data.train_split"),
        (of_validation, validation, "data.validation_split"),
    ):
        if boosted is not None and coarse & images:
            raise UsageError(
                f"sampling.boost_split {boosted.split} holds images of {key} {data.split}: name a split of other "
                "images, such as train_extra, or set sampling.boost_split=null and sampling.boost_classes=[]"
            )
    both = len(of_training & of_validation)
    return (
        [f"{both} of the {len(of_validation)} validation images are trained on: the mIoU says little"] if both else []
    )


def require_same_epochs(topology: Topology, sha256: str) -> None:
    """Raises DataError, in every process, unless all of them draw their crops from the same epochs' lists."""
    found = from_all_ranks(topology, [socket.gethostname(), sha256])
    for rank, (host, other) in enumerate(found):
        if other != found[0][1]:
            raise DataError(
                f"rank 0 on {found[0][0]} and rank {rank} on {host} found other places of the classes: their labels "
                "differ, though names and sizes agree; let all nodes have the same files"
            )


def require_same_data(topology: Topology, *datasets: Dataset) -> None:
    """Raises DataError, in every process, unless all of them read lists of the same files."""
    mine = [socket.gethostname(), *(dataset.list_sha256() for dataset in datasets)]
    host, *expected = (everyone := from_all_ranks(topology, mine))[0]
    for rank, (other, *found) in enumerate(everyone):
        for dataset, one, two in zip(datasets, expected, found, strict=True):
            if one != two:
                raise DataError(
                    f"{dataset.name} ({dataset.split}): rank 0 on {host} and rank {rank} on {other} read other files "
                    "(names, sizes or classes differ); let all nodes have the same files, and nobody write to them "
                    "while a job starts"
                )
