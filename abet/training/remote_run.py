"""Training a run that is kept in S3: the trainer works in a folder on its node, and everything is copied behind it.

    with opened_run(job) as job:  # job.run is that folder now, and holds the newest checkpoint
        ...

Rank 0 becomes the owner before it reads what to go on from, so nothing that it reads is overtaken unnoticed. A run in a
folder passes through here as it is.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from abet.checkpoint import BEST, MANIFEST, read_best
from abet.distributed import barrier, from_rank_0, rank_0_alone, work_apart
from abet.errors import AbetError, CheckpointError, DataError, UsageError
from abet.files import write_bytes, write_json
from abet.places import S3Uri
from abet.progress import note
from abet.remote import LOOKS, fetch_files, read_remote_manifest, remote_steps
from abet.run import CHECKPOINTS, CONFIG, OURS, OWNER
from abet.storage import ABSENT, NotFound, Storage, open_storage
from abet.training.commit import fault_of
from abet.training.copying import DESCRIPTIONS, POINTERS, Copier
from abet.training.identity import require_resumable
from abet.training.job import TrainJob
from abet.training.ownership import Owner, RemoteOwnership
from abet.training.state import REST, check_state, read_rest
from abet.training.work_folder import (
    adopt,
    alive,
    later_than,
    leftovers,
    link,
    remove_older,
    step_in,
    work_folder,
    work_root,
)

LINGER_SECONDS: Final = 20.0
"""So long a start that failed goes on copying: torchrun kills its ranks 30 seconds after the first failure."""


@contextmanager
def opened_run(job: TrainJob) -> Iterator[TrainJob]:
    """``job`` with the folder that it works in, and on rank 0 with a copier. Removed when the block ends well.

    Raises:
        UsageError: S3 refuses, other things are in the prefix, or the run is another job's; nobody's ownership ends.
        CheckpointError: the run has checkpoints, and none of them is sound.
    """
    if not isinstance(job.output, S3Uri):
        yield job
        return
    with ExitStack() as stack:
        opened, owner = _open(job, job.output, stack)
        try:
            yield opened
        except Exception:
            if opened.copier is not None:
                with suppress(AbetError):  # what is on its way up says more
                    opened.copier.wait(LINGER_SECONDS)
            raise
        barrier(job.topology)
    if job.topology.local_rank == 0:  # all of it is in S3, so this fails no run
        shutil.rmtree(opened.run, ignore_errors=True)
        remove_older(opened.run.parent, owner, job.recipe.training.steps)


def _open(job: TrainJob, uri: S3Uri, stack: ExitStack) -> tuple[TrainJob, Owner]:
    """``stack`` gets what shows, until it is closed, that the folder is worked in."""
    begun: list[_Begun] = []
    rank_0_alone(job.topology, lambda: begun.append(_begin(job, uri, stack)))
    shared = from_rank_0(job.topology, begun[0].shared if begun else None)
    owner = Owner.model_validate(shared["owner"])
    first_rank = job.topology.rank - job.topology.local_rank
    root = work_root(uri, job.site)
    run = work_folder(root, owner, first_rank)
    if first_rank and job.topology.local_rank == 0:
        stack.enter_context(alive(run))
    run.mkdir(parents=True, exist_ok=True)
    if job.topology.local_rank == 0:
        remove_older(root, owner, shared["step"])
    fetches = first_rank and job.topology.local_rank == 0 and shared["step"] is not None
    storage = open_storage(uri, job.site.s3)
    work_apart(
        job.topology,
        (lambda: _fetch_to_this_node(storage, run, shared["step"], shared["folder"])) if fetches else None,
    )
    return replace(job, run=run, copier=begun[0].copier if begun else None), owner


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """A start as rank 0 decided it."""

    copier: Copier
    step: int | None
    """What it goes on from; None for a fresh start."""
    folder: str | None
    """Where that is in S3, relative to the run."""

    @property
    def shared(self) -> dict[str, object]:
        """What the other ranks need to know."""
        return {"owner": self.copier.ownership.owner.model_dump(), "step": self.step, "folder": self.folder}


def _begin(job: TrainJob, uri: S3Uri, stack: ExitStack) -> _Begun:
    storage = open_storage(uri, job.site.s3)
    _refuse(job, storage)
    ownership = RemoteOwnership.take(storage)
    run = work_folder(work_root(uri, job.site), ownership.owner, 0)
    try:
        stack.enter_context(alive(run))
        return _fill(job, ownership, run)
    except OSError:
        ownership.check()  # a later start may have removed the folder; that the run is lost says more
        raise


def _fill(job: TrainJob, ownership: RemoteOwnership, run: Path) -> _Begun:
    """Bring what this start goes on from to ``run``, and to S3 what is newer here."""
    storage = ownership.storage
    generation = max((step.generation for step in remote_steps(storage) if step.committed), default=0)
    left = leftovers(run.parent, ownership.owner, generation)
    step, there, ahead = _fetch_newest(storage, run, left)
    versions = _pull(storage, run)
    for found in ahead:
        adopt(ahead[found], run)
    _mend_best(run, max(ahead, default=step), there)
    keep_last = job.recipe.training.keep_last
    copier = Copier(ownership=ownership, run=run, keep_last=keep_last, versions=versions, there=there)
    for found in ahead:
        note(f"step {found} was committed on this machine by an earlier start, and not copied yet: it is copied now")
        copier.copy(found)
        step = found
    return _Begun(copier=copier, step=step, folder=None if step is None else copier.folder_of(step))


def _refuse(job: TrainJob, storage: Storage) -> None:
    """What would be refused later is refused before it ends anybody's ownership. Raises UsageError."""
    try:
        storage.read(OWNER)
    except NotFound:
        _require_ours(storage)
    steps = [step for step in remote_steps(storage) if step.committed]
    if job.resume == "never" and steps:
        raise UsageError(
            f"--resume never: {storage.place} holds checkpoints up to step {steps[0].step}; choose another --output, "
            "or go on with --resume auto"
        )
    with tempfile.TemporaryDirectory(prefix="abet-") as name, suppress(NotFound, CheckpointError):
        for step in steps[:1]:
            (Path(name) / REST).write_bytes(storage.read(f"{step.folder}/{REST}")[0])
            rest, _ = read_rest(Path(name) / REST)
            require_resumable(rest.identity, job.identity, allow_topology_change=job.allow_topology_change)


def _require_ours(storage: Storage) -> None:
    found = {entry.name.partition("/")[0] for entry in storage.list()}
    if foreign := sorted(name for name in found - OURS if not name.startswith(".")):
        raise UsageError(f"{storage.place} holds other things than a run ({foreign[0]}): choose another --output")
    if CONFIG in found and CHECKPOINTS not in found:
        raise UsageError(
            f"{storage.place} holds evaluations ({CONFIG} names their checkpoint): choose another --output to train"
        )


def _fetch_newest(
    storage: Storage, run: Path, left: Sequence[dict[int, Path]]
) -> tuple[int | None, dict[int, str], dict[int, Path]]:
    """Bring the newest sound checkpoint to ``run``, unless a newer one is among ``left``.

    Returns its step, step -> folder of it and all older ones in S3, and step -> folder of those of ``left`` to go on
    with instead, in their order.
    """
    for look in range(1, LOOKS + 1):
        steps, skipped = [step for step in remote_steps(storage) if step.committed], list[str]()
        for place, found in enumerate(steps):
            # A higher step of an earlier trainer is another way that was left: this run's own is still to be made
            past = [step for step in steps[place:] if step.step <= found.step]
            there = {step.step: step.folder for step in reversed(past)}
            ahead = later_than(found.step, left)
            try:
                at_hand = [steps[found.step] for steps in left if found.step in steps]
                fault = None if ahead else _fetch(storage, run, found.step, found.folder, at_hand)
            except NotFound as error:
                if look < LOOKS:
                    break  # a predecessor on its way out may have removed it for a newer one
                fault = str(error)
            if fault is None:
                for text in skipped:
                    note(f"passed over {text}")
                return None if ahead else found.step, there, ahead
            skipped.append(f"{found.folder}: {fault}")
        else:
            break
    ahead = later_than(None, left)
    if skipped and not ahead:
        raise CheckpointError(
            f"{storage.place}: none of its checkpoints can be resumed ({'; '.join(skipped)}); bring one back from a "
            "copy, or start anew in another --output"
        )
    return None, {}, ahead


def _fetch(storage: Storage, run: Path, step: int, folder: str, at_hand: Sequence[Path] = ()) -> str | None:
    """Bring a checkpoint to ``run``; returns what is wrong with it. Raises NotFound when a file of it is gone."""
    target = step_in(run, step)
    try:
        content, manifest = read_remote_manifest(storage, folder)
        for same in [path for path in at_hand if (path / MANIFEST).read_bytes() == content][:1]:
            link(same, target)
        fetch_files(storage, folder, manifest.files, target)
        write_bytes(target / MANIFEST, content)
        fault = fault_of(target)
    except CheckpointError as error:
        fault = str(error)
    if fault is not None:
        shutil.rmtree(target, ignore_errors=True)
    return fault


def _fetch_to_this_node(storage: Storage, run: Path, step: int, folder: str) -> None:
    """The same on another node than rank 0's, by the first of its processes. Raises CheckpointError, NotFound."""
    fault = _fetch(storage, run, step, folder)
    if fault is not None:
        raise CheckpointError(f"{storage.place}/{folder}: {fault}")


def _pull(storage: Storage, run: Path) -> dict[str, str]:
    """Bring the small files; returns their versions."""
    versions = {}
    for name in (*POINTERS, *DESCRIPTIONS):
        try:
            content, versions[name] = storage.read(name)
            write_bytes(run / name, content)
        except NotFound:
            versions[name] = ABSENT
    return versions


def _mend_best(run: Path, step: int | None, there: dict[int, str]) -> None:
    """Let ``best.json`` name no step beyond ``step``, from which the run goes on: that one was passed over."""
    recorded, path = read_best(run), run / CHECKPOINTS / BEST
    if recorded is not None and step is not None and recorded.step <= step:
        return
    path.unlink(missing_ok=True)
    with suppress(DataError, OSError):
        best = check_state(step_in(run, step)).best if step is not None else None
        if best is not None and best.step in there:
            write_json(path, best.model_dump())
