"""Committing a state to a run directory, so that a kill or a full disk at any moment loses nothing committed.

    folder = commit(ownership, state, keep_last=2)
    folder, skipped = newest(run)

The order: the files of the step under a hidden name, each on the disk; the manifest that vouches for them; the rename
to ``checkpoints/step-00001234``; ``latest.json`` and ``best.json``; then older steps go. Whoever reads trusts manifests
alone. All of it happens under the run's lock, which is what makes reading and replacing the JSON files one step.
"""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field, ValidationError

from abet.checkpoint import (
    BEST,
    MANIFEST,
    Best,
    flush_folder,
    naming,
    newest_generation,
    read_best,
    staged,
    step_folder,
    step_folders,
    step_paths,
    write_into,
)
from abet.errors import AbetError, CheckpointError, DataError
from abet.files import read_json, sha256_of, temporary_beside, write_json
from abet.run import CHECKPOINTS, parse_step_name, step_name
from abet.settings import Strict
from abet.training.ownership import Ownership
from abet.training.state import TrainState, check_state, files_of, manifest_of

LATEST = "latest.json"
PARTIAL = re.compile(r"\.(step-[0-9]{8,}(-g[0-9]{4,})?|latest|best|owner)\.[0-9a-f]{16}\.partial(\.json)?")
"""What `abet.files.temporary_beside` makes of the names that a trainer writes."""


class Latest(Strict):
    """What ``latest.json`` says: a hint for people and copiers."""

    step: int = Field(ge=0)
    manifest_sha256: str


def commit(ownership: Ownership, state: TrainState, *, keep_last: int, in_use: int | None = None) -> Path:
    """Save ``state`` as a checkpoint of the run; returns its folder.

    A step that is there and verifies is kept as it is, unless an earlier trainer wrote it on a way that was left since
    (see `_target`). ``best.json`` follows ``state.best`` once that step is committed. Kept of the steps up to this one:
    the newest ``keep_last``, the best, and ``in_use``, which is being copied elsewhere.

    Raises:
        LostOwnership: a later trainer owns the run; nothing is changed.
        OSError: the disk is full, say; names the path, and what was committed before is all there.
    """
    assert keep_last >= 1, keep_last
    run = ownership.run
    with ownership.exclusive():
        folder = _target(run, state.step, ownership.owner.generation)
        if not folder.parent.is_dir():
            folder.parent.mkdir()
            flush_folder(run)
        _drop_foreign_best(run, folder)
        if fault_of(folder) is not None:
            with staged(folder) as staging:
                write_into(staging, files_of(state), lambda files: manifest_of(state, files))
                # Again: on a file system where locks do not reach other hosts, a later start may have come meanwhile
                ownership.check()
                if folder.exists():  # and damaged: no checkpoint, so nothing is lost
                    _discard(folder)
        for other in step_paths(run):
            if _step_of(other) == state.step and other != folder:
                _discard(other)
        _advance_latest(run, folder)
        _advance_best(run, state.best)
        _prune(run, state, keep_last, in_use)
    return folder


def _target(run: Path, step: int, generation: int) -> Path:
    """The folder that a commit of ``step`` leaves behind.

    A run that was copied from S3 has generations in the names of its steps, which tell newer from older. There a step
    is this run's own only if it is sound and of the newest generation; else it is written anew under the trainer's own.
    """
    newest = newest_generation(run)
    there = run / CHECKPOINTS / step_name(step, newest)
    if newest == 0 or (there.is_dir() and fault_of(there) is None):
        return there
    return run / CHECKPOINTS / step_name(step, max(newest, generation))


def _drop_foreign_best(run: Path, folder: Path) -> None:
    """Let ``best.json`` name no step that an earlier trainer reached beyond the one from which this run went on."""
    best = read_best(run)
    named = None if best is None else parse_step_name(step_folder(run, best.step).name)
    generation, step = parse_step_name(folder.name) or (0, 0)
    if named is not None and named[0] < generation and named[1] >= step:
        (run / CHECKPOINTS / BEST).unlink()
        flush_folder(run / CHECKPOINTS)


def fault_of(folder: Path) -> str | None:
    """Why a resume cannot use ``folder``; None when it can."""
    try:
        step = check_state(folder).step
    except DataError as error:
        return str(error)
    except OSError as error:  # no permission, unreadable sectors, removed meanwhile
        return error.strerror or type(error).__name__
    return None if _step_of(folder) == step else f"holds step {step}"


def _step_of(folder: Path) -> int:
    name = parse_step_name(folder.name)
    assert name is not None, folder
    return name[1]


def newest(run: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint of a run whose every file verifies (None: there is none), and what was passed over and why.

    Only manifests count. ``latest.json`` adds a line when it names a later step that is gone.
    """
    skipped: list[str] = []
    for folder in step_paths(run):
        fault = fault_of(folder)
        if fault is None:
            return folder, [*_missing_latest(run), *skipped]
        skipped.append(f"{folder.name}: {fault.removeprefix(f'{folder}: ')}")
    return None, [*_missing_latest(run), *skipped]


def _missing_latest(run: Path) -> list[str]:
    latest = _read_latest(run)
    folders = step_folders(run)
    if latest is None or latest.step <= max(folders, default=-1):
        return []
    return [f"{step_name(latest.step)}: named by {LATEST}, but it is not there"]


def resumed_best(run: Path, state: TrainState) -> Best | None:
    """The best score up to the step of ``state``: its own, or that of ``best.json`` when it is higher.

    The file knows more when the run was stopped after the checkpoint of a step and before that step's validation.
    """
    recorded = read_best(run)
    if recorded is None or recorded.step > state.step:
        return state.best
    return _better(state.best, recorded)


def _better(first: Best | None, second: Best) -> Best:
    return second if first is None or (second.miou, -second.step) > (first.miou, -first.step) else first


def _read_latest(run: Path) -> Latest | None:
    try:
        return Latest.model_validate(read_json(run / CHECKPOINTS / LATEST))
    except (DataError, ValidationError):
        return None


def _advance_latest(run: Path, folder: Path) -> None:
    """Point ``latest.json`` to the step in ``folder``, unless it names a newer checkpoint that is one."""
    current = _read_latest(run)
    if current is not None and _is_newer(there := step_folder(run, current.step), folder) and fault_of(there) is None:
        return
    wanted = Latest(step=_step_of(folder), manifest_sha256=sha256_of(folder / MANIFEST))
    if wanted != current:
        _write(run / CHECKPOINTS / LATEST, wanted)


def _is_newer(first: Path, second: Path) -> bool:
    """Of two step folders: by generation, then by step."""
    return (parse_step_name(first.name) or (0, 0)) > (parse_step_name(second.name) or (0, 0))


def _advance_best(run: Path, best: Best | None) -> None:
    """Point ``best.json`` to ``best``, unless it names a better checkpoint that is one, or ``best`` is not there."""
    current = read_best(run)
    if best is None or best == current or not (step_folder(run, best.step) / MANIFEST).is_file():
        return
    if current is None or _better(current, best) == best or fault_of(step_folder(run, current.step)) is not None:
        _write(run / CHECKPOINTS / BEST, best)


def _write(path: Path, value: Strict) -> None:
    with naming(path):
        write_json(path, value.model_dump())
    flush_folder(path.parent)


def _prune(run: Path, state: TrainState, keep_last: int, in_use: int | None) -> None:
    """Remove older steps. Later ones stay: they are another trainer's, or damaged and replaced when we get there."""
    older = [step for step in step_folders(run) if step < state.step]
    recorded = read_best(run)
    wanted = {in_use} | {record.step for record in (recorded, state.best) if record is not None}
    unwanted = {step for step in older[keep_last - 1 :] if step not in wanted}
    for folder in step_paths(run):
        if _step_of(folder) in unwanted:
            _discard(folder)


def _discard(folder: Path) -> None:
    """Remove a folder; at no time does half of it stand under its name."""
    hidden = temporary_beside(folder)
    folder.rename(hidden)
    try:
        flush_folder(folder.parent)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)  # what stays, the next start removes


def discard_partial(ownership: Ownership) -> list[str]:
    """Remove what killed trainers left half-written in the run directory; returns its names.

    Nobody writes while we hold the run's lock, so what is there under such a name is nobody's. Raises LostOwnership.
    """
    run = ownership.run
    with ownership.exclusive():
        found = [path for path in _entries([run, run / CHECKPOINTS]) if PARTIAL.fullmatch(path.name)]
        for path in found:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return [path.name for path in found]


def take_over(run: Path, resumed: TrainState | None) -> Ownership:
    """Become the owner of ``run``, to go on from ``resumed``, which was read before (None: there was no checkpoint).

    Raises:
        AbetError: another trainer committed in between. It cannot any more, so the next start goes on from there.
    """
    ownership = Ownership.take(run)
    folder, _ = newest(run)
    if (None if folder is None else _step_of(folder)) != (None if resumed is None else resumed.step):
        there = "none" if folder is None else folder.name
        raise AbetError(
            f"{run}: another trainer changed the newest checkpoint ({there} now) while this one started; that one "
            "commits nothing more: run the same command again"
        )
    return ownership


def _entries(folders: Iterable[Path]) -> list[Path]:
    return sorted(path for folder in folders if folder.is_dir() for path in folder.iterdir())


def require_newest(run: Path) -> tuple[Path | None, list[str]]:
    """As `newest`, but a run that has checkpoints none of which verifies is an error, not a fresh start.

    Raises:
        CheckpointError: every checkpoint is damaged.
    """
    folder, skipped = newest(run)
    if folder is None and step_folders(run):
        raise CheckpointError(
            f"{run}: none of its checkpoints can be resumed ({'; '.join(skipped)}); bring one back from a copy, or "
            "start anew in another --output"
        )
    return folder, skipped
