"""Where a trainer works whose run is kept in S3: a folder per start and node, below the site's scratch.

It holds an ordinary run directory. No two starts share one, nor do two nodes on one machine; the folder of an earlier
start is how a checkpoint survives that was committed, but not copied yet, when its trainer died.
"""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from abet.checkpoint import step_folders
from abet.places import S3Uri
from abet.progress import note
from abet.run import CHECKPOINTS, CONFIG, FAILED_BATCHES, METRICS, PICTURES, PROVENANCE, TENSORBOARD, step_name
from abet.site import SiteConfig
from abet.training.commit import fault_of
from abet.training.ownership import Owner, Ownership, generation_of

FOLDER = "runs"
ALIVE = ".alive"
"""Locked by the kernel as long as its trainer lives."""
NAME = re.compile(r"g([0-9]{4,})-[0-9a-f]{8}-r[0-9]{4,}")
PATIENCE_SECONDS: Final = 30.0
"""So long a start waits for an earlier trainer, perhaps a stopped one, that is in the middle of a commit."""


def work_root(uri: S3Uri, site: SiteConfig) -> Path:
    """The folder of all starts of one run on this machine."""
    digest = hashlib.sha256(f"{site.s3.endpoint} {uri}".encode()).hexdigest()[:16]
    return site.scratch_folder / FOLDER / f"{uri.name[:60]}-{digest}"


def work_folder(root: Path, owner: Owner, first_rank: int) -> Path:
    """The folder of one start on the node whose lowest rank is ``first_rank``."""
    return _folder(root, owner.name, first_rank)


def _folder(root: Path, owner_name: str, first_rank: int) -> Path:
    return root / f"{owner_name}-r{first_rank:04d}"


@contextmanager
def alive(run: Path) -> Iterator[None]:
    """Make ``run`` and let others see that it is worked in, until the block or this process ends.

    Raises OSError when a later start has removed it at that moment.
    """
    (run / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    with (run / ALIVE).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        (run / CHECKPOINTS).stat()
        yield


def remove_older(root: Path, owner: Owner, step: int | None) -> None:
    """Remove the folders of earlier starts that the run needs no more, now that it has come to ``step`` in S3.

    A folder with a later checkpoint stays: it may be the only copy. So does one where a trainer still lives: that one
    finds out by itself that it lost.
    """
    reached = -1 if step is None else step
    for run in root.iterdir():
        match = NAME.fullmatch(run.name)
        if match is None or int(match[1]) >= owner.generation:
            continue
        with suppress(OSError):  # another process of this start removes them, too
            if max(step_folders(run), default=-1) <= reached and not _is_alive(run):
                shutil.rmtree(run, ignore_errors=True)


def _is_alive(run: Path) -> bool:
    try:
        with (run / ALIVE).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def leftovers(root: Path, owner: Owner, generation: int) -> list[dict[int, Path]]:
    """What earlier starts left here: of each that left any, newest first, step -> folder of its sound checkpoints.

    Looked at are those since which the run in S3, whose newest checkpoint is of ``generation``, has gained nothing: of
    what is even older, somebody else may have gone on from an earlier step. Should one of them live, it commits nothing
    more from here on; one that is stuck within a commit is passed over.
    """
    found = []
    for name in reversed(owner.uncopied):
        run = _folder(root, name, 0)
        if generation_of(name) < generation or not step_folders(run):
            continue
        try:
            Ownership.take(run, patience_seconds=PATIENCE_SECONDS)
        except TimeoutError:
            note(
                f"{run}: what is left there is not used: its trainer has been in the middle of a commit for "
                f"{PATIENCE_SECONDS:g} s; end that process"
            )
            continue
        found.append({step: folder for step, folder in step_folders(run).items() if fault_of(folder) is None})
    return found


def later_than(step: int | None, left: Sequence[dict[int, Path]]) -> dict[int, Path]:
    """Of `leftovers`, those beyond ``step``: of one start alone, the last one that came so far."""
    reached = -1 if step is None else step
    for steps in left:
        if later := {found: steps[found] for found in sorted(steps) if found > reached}:
            return later
    return {}


def adopt(folder: Path, run: Path) -> None:
    """Bring a checkpoint and all else of the start that left it to ``run``; its files are immutable, so links do."""
    source = folder.parents[1]
    for name in (CONFIG, PROVENANCE, METRICS):
        # Configuration and history were copied before any step was: those from S3 know of the starts since, too
        if (source / name).is_file() and (name == METRICS or not (run / name).is_file()):
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
        if (target / path.name).exists():
            continue
        try:
            os.link(path, target / path.name)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, target / path.name)


def step_in(run: Path, step: int) -> Path:
    """Where a folder that is worked in keeps ``step``: its names need no generation."""
    return run / CHECKPOINTS / step_name(step)
