"""Start weights: a network takes over what another training left, and says exactly what it did not.

    for line in load_snapshot(model, path, config=recipe.model, reinitialise_classifier=True):
        print(line)

A snapshot gives weights alone. The step, the momentum and the schedule start anew; to go on with a run, resume it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import torch
from torch import nn

from abet.checkpoint import Normalisation, Weights, resolve
from abet.detector import read_weights
from abet.errors import CheckpointError
from abet.model_config import ModelConfig
from abet.models.deeplab import BEYOND_TRUNK, BODY_PREFIX
from abet.text import printable

CLASSIFIER: Final = ("final.6.", "h.")
TEMPERATURE: Final = ("temperature.",)

Tensors = Mapping[str, torch.Tensor]


def load_snapshot(
    model: nn.Module, path: Path, *, config: ModelConfig, reinitialise_classifier: bool
) -> tuple[str, ...]:
    """Copy the snapshot's weights into ``model``, in place; all of them or none. Returns what a log should say.

    Args:
        model: the network of ``config`` (no DDP wrapper), freshly initialised: what the snapshot lacks stays so.
        path: one of our checkpoint folders, a run directory (its best step), or a published ``.pth``. A trunk gives
            its stages (mod1..mod7, conv1..layer4).
        config: what ``model`` was built from.
        reinitialise_classifier: leave the classifier fresh where the snapshot's has other classes or another kind of
            head. The learned temperature knows no classes: it is taken over between two learned heads.

    Raises:
        CheckpointError: the snapshot is damaged, of another shape or normalisation, or its classifier does not fit
            and may not be re-initialised.
    """
    path = resolve(path)
    weights = read_weights(path, model=config)
    if weights.normalisation != Normalisation():
        raise CheckpointError(
            f"{path}: expects images of another normalisation ({weights.normalisation}) than we train with "
            f"({Normalisation()}); choose another snapshot"
        )
    _require_same_trunk(path, weights.model.trunk.kind, config.trunk.kind)
    found, own = _canonical(weights.tensors), _canonical(model.state_dict())
    reason = _why_fresh(weights, config)
    if reason and weights.contents == "model" and not reinitialise_classifier:
        raise CheckpointError(
            f"{path}: {reason}: set training.reinitialise_classifier=true to start with a fresh classifier"
        )
    skipped = _skipped(weights, config)
    taken = [name for name in own if not name.startswith(skipped)]
    unused = sorted(name for name in found if name.startswith(skipped))
    _require_fit(path, found, {name: own[name] for name in taken}, unused)
    with torch.no_grad():
        for name in taken:
            own[name].copy_(found[name])
    first = f"start weights: {path} (sha256 {weights.sha256[:12]}), {len(taken)} of {len(own)} tensors"
    fresh = [name for name in own if name.startswith(skipped)]
    lines = [first, f"kept: {_grouped(taken)}"]
    lines += [f"re-initialised: {_grouped(fresh)} ({reason})"] if fresh else []
    lines += [f"not used of the snapshot: {_grouped(unused)}"] if unused else []
    return tuple(lines)


def _require_same_trunk(path: Path, theirs: str, ours: str) -> None:
    if theirs != ours:
        raise CheckpointError(
            f"{path}: its trunk is {theirs}, the recipe's {ours}: choose a snapshot of that trunk, or set "
            f"model.trunk.kind={theirs}"
        )


def _canonical(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Names as the plain network has them."""
    return {name.removeprefix(BODY_PREFIX): value for name, value in tensors.items()}


def _why_fresh(weights: Weights, config: ModelConfig) -> str:
    """Why some tensors cannot come from the snapshot; empty when all can."""
    if weights.contents == "trunk":
        return "the snapshot is a trunk alone"
    classes, head = weights.model.num_classes, weights.model.temperature_model
    reasons = []
    if classes != config.num_classes:
        reasons.append(f"the snapshot tells {classes} classes apart, the recipe {config.num_classes}")
    if head != config.temperature_model:
        reasons.append(f"the snapshot's head is {head!r}, the recipe's {config.temperature_model!r}")
    return " and ".join(reasons)


def _skipped(weights: Weights, config: ModelConfig) -> tuple[str, ...]:
    """Beginnings of the names that do not go from the snapshot to the network."""
    if weights.contents == "trunk":
        return (*BEYOND_TRUNK, *CLASSIFIER, *TEMPERATURE)
    if not _why_fresh(weights, config):
        return ()
    both_learned = weights.model.temperature_model == config.temperature_model == "learned"
    return CLASSIFIER if both_learned else (*CLASSIFIER, *TEMPERATURE)


def _require_fit(path: Path, found: Tensors, taken: Tensors, unused: Iterable[str]) -> None:
    """Every tensor that is taken must be there, alike; and nothing may be left that no one asked for."""
    faults = [f"{name} is missing" for name in taken if name not in found]
    faults += [f"{name} is unknown to the recipe" for name in found.keys() - taken.keys() - set(unused)]
    for name in taken.keys() & found.keys():
        mine, theirs = taken[name], found[name]
        if mine.shape != theirs.shape:
            faults.append(f"{name} has the shape {tuple(theirs.shape)}, the recipe's {tuple(mine.shape)}")
        elif mine.dtype != theirs.dtype:
            faults.append(f"{name} is {theirs.dtype}, the recipe's {mine.dtype}")
    if faults:
        raise CheckpointError(
            f"{path}: does not fit the recipe's network: {len(faults)} tensors differ "
            f"({'; '.join(printable(fault) for fault in sorted(faults)[:3])}{'; ...' if len(faults) > 3 else ''}); "
            "trunk, ASPP and decoder must be of the same widths and depths (model.*)"
        )


def _grouped(names: Iterable[str]) -> str:
    """Whole parts of the network by name and number of tensors, what belongs to a head tensor by tensor."""
    head, parts = [], Counter[str]()
    for name in names:
        if name.startswith((*CLASSIFIER, *TEMPERATURE)):
            head.append(printable(name))
        else:
            parts[printable(name.partition(".")[0])] += 1
    return ", ".join([*(f"{part} ({count})" for part, count in parts.items()), *head]) or "nothing"
