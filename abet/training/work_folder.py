"""Where a trainer works whose run is kept in S3: a folder per start and node, below the site's scratch.

It holds an ordinary run directory. No two starts share one, nor do two nodes on one machine; the folder of the start
before is how a checkpoint survives that was committed, but not copied yet, when its trainer died.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from abet.checkpoint import step_folders
from abet.places import S3Uri
from abet.run import CHECKPOINTS, CONFIG, FAILED_BATCHES, METRICS, PICTURES, PROVENANCE, TENSORBOARD, step_name
from abet.site import SiteConfig
from abet.training.commit import fault_of
from abet.training.ownership import Owner, Ownership

FOLDER = "runs"
ALIVE = ".alive"
"""Locked by the kernel as long as its trainer lives."""
NAME = re.compile(r"g([0-9]{4,})-[0-9a-f]{8}-r[0-9]{4,}")


def work_root(uri: S3Uri, site: SiteConfig) -> Path:
    """The folder of all starts of one run on this machine."""
    digest = hashlib.sha256(f"{site.s3.endpoint} {uri}".encode()).hexdigest()[:16]
    return site.scratch_folder / FOLDER / f"{uri.name[:60]}-{digest}"


def work_folder(root: Path, owner: Owner, first_rank: int) -> Path:
    """The folder of one start on the node whose lowest rank is ``first_rank``.

    It is named after all that is known of the owner: a run that was removed and begun anew finds nothing of the old.
    """
    digest = hashlib.sha256(json.dumps(owner.model_dump()).encode()).hexdigest()[:8]
    return root / f"g{owner.generation:04d}-{digest}-r{first_rank:04d}"


@contextmanager
def alive(run: Path) -> Iterator[None]:
    """Let others see that ``run`` is worked in, until the block or this process ends."""
    with (run / ALIVE).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_older(root: Path, owner: Owner) -> None:
    """Remove the folders of earlier starts, except where a trainer still lives: it finds out by itself that it lost."""
    for run in root.iterdir():
        match = NAME.fullmatch(run.name)
        if match and int(match[1]) < owner.generation and not _is_alive(run):
            shutil.rmtree(run, ignore_errors=True)


def _is_alive(run: Path) -> bool:
    try:
        with (run / ALIVE).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def leftovers(root: Path, predecessor: Owner | None) -> dict[int, Path]:
    """Step -> folder, newest first, of the sound checkpoints that the start right before this one left here.

    Should it live, it commits nothing more from here on. What even older starts left is never looked at: others may
    have gone on since.
    """
    run = None if predecessor is None else work_folder(root, predecessor, 0)
    if run is None or not run.is_dir():
        return {}
    Ownership.take(run)
    return {step: folder for step, folder in step_folders(run).items() if fault_of(folder) is None}


def adopt(folder: Path, run: Path) -> None:
    """Bring a checkpoint and all else of the start that left it to ``run``; its files are immutable, so links do."""
    source = folder.parents[1]
    for name in (CONFIG, PROVENANCE, METRICS):
        if (source / name).is_file():
            shutil.copyfile(source / name, run / name)
    for path in (source / CHECKPOINTS).glob("*.json"):
        shutil.copyfile(path, run / CHECKPOINTS / path.name)
    for name in (TENSORBOARD, PICTURES, FAILED_BATCHES):
        if (source / name).is_dir():
            shutil.copytree(source / name, run / name, dirs_exist_ok=True)
    link(folder, run / CHECKPOINTS / folder.name)


def link(source: Path, target: Path) -> None:
    """``target``, a folder, with the files of ``source`` that it lacks."""
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        if not (target / path.name).exists():
            os.link(path, target / path.name)


def step_in(run: Path, step: int) -> Path:
    """Where a folder that is worked in keeps ``step``: its names need no generation."""
    return run / CHECKPOINTS / step_name(step)
