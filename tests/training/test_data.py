"""The data of a job on several nodes: each fetches its own copy in its own time, and all must have the same."""

import multiprocessing
import os
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from abet import distributed
from abet.config import load_recipe
from abet.data.index import open_dataset
from abet.distributed import Topology, from_all_ranks, process_group
from abet.errors import AbetError, DataError, UsageError
from abet.places import S3Uri
from abet.site import S3Settings, SiteConfig
from abet.staging import staged_root
from abet.storage import S3Storage, locked, open_storage
from abet.training.data import require_same_data, shared_images, stage_on_each_node
from tests.s3_server import S3Server
from tests.test_distributed import processes
from tests.training.tiny import tiny_data

NODES, RANKS = 2, 4
TINY = load_recipe("demo_finetune")


def test_validation_images_that_are_trained_on_are_counted(tmp_path: Path) -> None:
    root = tiny_data(tmp_path)
    train, validation = (open_dataset("cityscapes", root, split) for split in ("train", "val"))
    assert shared_images(TINY, train, validation, None) == []
    (note,) = shared_images(TINY, train, train.select(limit=2), None)
    assert note == "2 of the 2 validation images are trained on: the mIoU says little"


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_boosted_split_of_the_same_images_is_refused(tmp_path: Path, split: str) -> None:
    root = tiny_data(tmp_path)
    train, validation = (open_dataset("cityscapes", root, name) for name in ("train", "val"))
    with pytest.raises(UsageError, match=rf"boost_split {split} holds images of data\..*_split {split}: name a split"):
        shared_images(TINY, train, validation, {"train": train, "val": validation}[split])


def as_nodes(topology: Topology) -> Topology:
    """The processes of one machine as those of `NODES`."""
    return replace(topology, local_rank=topology.rank % (RANKS // NODES))


def prepare(env: dict[str, str], exchange_seconds: float) -> list[str]:
    """Let exchanges wait for a short time alone; the S3 listings of this process from now on."""
    os.environ.update(env)
    distributed.COLLECTIVE_TIMEOUT = timedelta(seconds=exchange_seconds)  # type: ignore[misc]
    asked: list[str] = []
    original = S3Storage.list

    def listed(storage: S3Storage, prefix: str = "") -> Any:
        asked.append(prefix)
        return original(storage, prefix)

    S3Storage.list = listed  # type: ignore[method-assign]
    return asked


def staged(topology: Topology, env: dict[str, str], sites: list[SiteConfig], place: S3Uri) -> dict[str, Any]:
    """What a rank gets, how often it asked, and how long it took."""
    asked, topology = prepare(env, 3), as_nodes(topology)
    with process_group(topology):
        start = time.monotonic()
        (staged_root(place, sites[1]) / "met").touch()
        folder = stage_on_each_node(place, sites[topology.rank // 2], topology, what="cityscapes")
        seconds = time.monotonic() - start
        everyone = from_all_ranks(topology, [topology.rank, "ü" * topology.rank])
    return {"folder": folder, "listings": len(asked), "seconds": seconds, "everyone": everyone}


def refused(topology: Topology, env: dict[str, str], sites: list[SiteConfig], place: S3Uri) -> tuple[str, float]:
    """How a rank ends when the second node's bucket is not there, and when."""
    prepare(env, 60)
    topology = as_nodes(topology)
    start = time.monotonic()
    mine = place if topology.rank < 2 else S3Uri("wrong-bucket")
    try:
        with process_group(topology):
            stage_on_each_node(mine, sites[topology.rank // 2], topology, what="cityscapes")
    except AbetError as error:
        return f"{type(error).__name__}: {error}", time.monotonic() - start
    raise AssertionError


def compared(topology: Topology, roots: list[Path]) -> str | None:
    """What is said of two nodes with these folders."""
    data = [open_dataset("cityscapes", roots[topology.rank // 2], split) for split in ("train", "val")]
    try:
        with process_group(topology):
            require_same_data(topology, *data)
    except DataError as error:
        return str(error)
    return None


def hold(folder: Path, seconds: float, begun: Any) -> None:
    """Another process of that node that copies the data set, and takes so long from when the ranks have met."""
    with locked(folder):
        begun.set()
        while not (folder / "met").exists():
            time.sleep(0.05)
        time.sleep(seconds)


def held(folder: Path, seconds: float) -> Any:
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=hold, args=(folder, seconds, begun), daemon=True)
    process.start()
    assert begun.wait(60)
    return process


@pytest.mark.faults
def test_four_processes_on_two_nodes(s3: S3Server, tmp_path: Path) -> None:
    place = s3.place("data")
    storage = open_storage(place, s3.settings)
    for name in ("a", "b/c"):
        storage.write(name, name.encode(), expect=None)
    sites = [SiteConfig(scratch=tmp_path / f"node-{node}", s3=s3.settings) for node in range(NODES)]
    roots = [tiny_data(tmp_path / name, count=count) for name, count in (("one", 4), ("two", 5))]
    env = {**s3.env, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with processes(RANKS) as run:
        slow = held(staged_root(place, sites[1]), 5)
        found = run(staged, env, sites, place)
        slow.join()
        slow = held(staged_root(place, sites[0]), 60)
        fallen = run(refused, env, sites, place)
        slow.kill()
        same, other = run(compared, [roots[0]] * 2), run(compared, roots)

    folders = [rank["folder"] for rank in found]
    assert [folder.parent for folder in folders] == [staged_root(place, sites[rank // 2]) for rank in range(RANKS)]
    assert all((folder / "b/c").read_bytes() == b"b/c" for folder in folders)
    assert [rank["listings"] for rank in found] == [1, 0, 1, 0]  # one process of each node
    assert min(rank["seconds"] for rank in found) > 4  # longer than any exchange may wait
    assert all(rank["everyone"] == [[rank, "ü" * rank] for rank in range(RANKS)] for rank in found)

    assert fallen[2][0].startswith("StorageRefused: s3://wrong-bucket: cannot list: there is no bucket 'wrong-bucket'")
    for rank in (0, 1, 3):
        said, seconds = fallen[rank]
        assert said.startswith("LostPeerError: rank 2 on ")
        assert "there is no bucket 'wrong-bucket'" in said
        assert seconds < 15  # nobody waited for the copy of the first node

    assert same == [None] * RANKS
    assert {text.split(" on ")[0] for text in other} == {"cityscapes (train): rank 0"}
    assert all(text.count(os.uname().nodename) == 2 for text in other)


def test_one_process_needs_no_agreement(tmp_path: Path) -> None:
    alone = Topology(device=torch.device("cpu"))
    site = SiteConfig(scratch=tmp_path, s3=S3Settings(endpoint="http://127.0.0.1:9"))
    assert stage_on_each_node(tmp_path, site, alone, what="cityscapes") == tmp_path
    require_same_data(alone, open_dataset("cityscapes", tiny_data(tmp_path / "data", count=4), "train"))
    assert list(tmp_path.glob("scratch*")) == []
