"""A run with three committed steps, the state of the next one, and how runs and states are compared."""

from pathlib import Path

import torch

from abet.checkpoint import Best, step_folders
from abet.files import sha256_of
from abet.training.state import TrainState
from tests.training.states import state_at


def contents(run: Path) -> dict[str, str]:
    """Relative path -> digest of everything in a run directory but the owner's file and lock."""
    files = (path for path in run.rglob("*") if path.is_file() and "owner" not in path.name)
    return {path.relative_to(run).as_posix(): sha256_of(path) for path in sorted(files)}


def steps(run: Path) -> list[int]:
    return list(step_folders(run))


def same(first: TrainState, second: TrainState) -> bool:
    def tensors_equal(a: TrainState, b: TrainState, part: str) -> bool:
        mine, theirs = getattr(a, part), getattr(b, part)
        return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)

    rest = [(state.step, state.best, state.identity, state.scaler) for state in (first, second)]
    return rest[0] == rest[1] and all(tensors_equal(first, second, part) for part in ("model", "momentum"))


FIRST = Best(step=10, miou=0.5)
OLD = {step: state_at(step, best=FIRST) for step in (10, 20, 30)}
NEW = state_at(40, miou=0.625)
