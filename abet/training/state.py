"""Everything that a resume needs, and its files.

    state = capture(model=model, optimiser=optimiser, scaler=scaler, step=step, best=best, identity=identity)
    restore(read_state(folder), model=model, optimiser=optimiser, scaler=scaler)

The position in the data, the learning rate and every random draw are functions of (seed, step): none is stored.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from pydantic import Field
from torch import nn

from abet.checkpoint import (
    WEIGHTS,
    Best,
    FileEntry,
    Manifest,
    Normalisation,
    Write,
    load_tensors,
    read_manifest,
    save_tensors,
    verify,
)
from abet.errors import CheckpointError
from abet.model_config import ModelConfig
from abet.settings import Strict
from abet.text import printable
from abet.training.identity import Identity

MOMENTUM = "optimizer.safetensors"
REST = "state.pt"
FILES: Final = frozenset({WEIGHTS, MOMENTUM, REST})

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Where a run stands after ``step`` optimiser steps; all tensors on the CPU, contiguous, and its own."""

    step: int
    model: Tensors
    """Name -> parameter or buffer, as in the network's state_dict."""
    momentum: Tensors
    """Parameter name -> SGD's momentum buffer; empty before the first step, or without momentum."""
    scaler: Mapping[str, float | int] | None
    """GradScaler.state_dict(); None where there is none."""
    best: Best | None
    identity: Identity
    validated_step: int = 0
    """The last step whose weights were validated; 0: none."""


class Rest(Strict):
    """What ``state.pt`` holds: everything but tensors."""

    abet_state: Literal[1] = 1
    step: int = Field(ge=0)
    momentum: tuple[str, ...]
    scaler: dict[str, float | int] | None
    best: Best | None
    identity: Identity
    validated_step: int = Field(ge=0)


def capture(
    *,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    step: int,
    best: Best | None,
    identity: Identity,
    validated_step: int = 0,
) -> TrainState:
    """The state after ``step`` optimiser steps: one copy of each tensor, which training on does not change.

    ``model`` is the network itself, not its DDP wrapper.
    """
    return TrainState(
        step=step,
        model={name: _copy(value) for name, value in model.state_dict().items()},
        momentum={name: _copy(value) for name, value in _momentum(model, optimiser)},
        scaler=dict(scaler.state_dict()) or None if scaler is not None else None,
        best=best,
        identity=identity,
        validated_step=validated_step,
    )


def _copy(value: torch.Tensor) -> torch.Tensor:
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _momentum(model: nn.Module, optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    assert isinstance(optimiser, torch.optim.SGD), type(optimiser)
    for name, parameter in model.named_parameters():
        buffer = optimiser.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            yield name, buffer


def restore(
    state: TrainState, *, model: nn.Module, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None
) -> tuple[str, ...]:
    """Put ``state`` into a network and optimiser that were built alike, in place; all of it or nothing.

    Returns what a log should say: of a loss scaling that starts anew because the device changed.

    Raises:
        CheckpointError: a tensor is missing, unknown, or of another shape or type.
    """
    assert isinstance(optimiser, torch.optim.SGD), type(optimiser)
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    wanted = model.state_dict()
    _require_alike("model", state.model, wanted)
    # Before its first step SGD has no buffers; loss scaling may have skipped every step so far
    has_momentum = any(group["momentum"] for group in optimiser.param_groups)
    if state.momentum or (has_momentum and state.step and state.scaler is None):
        _require_alike("momentum", state.momentum, parameters)
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(state.model[name])
        optimiser.state.clear()
        for name, buffer in state.momentum.items():
            # The parameter's memory format: elsewhere the same sums could run through another kernel
            optimiser.state[parameters[name]]["momentum_buffer"] = torch.empty_like(parameters[name]).copy_(buffer)
    return _restore_scaler(state, scaler)


def _require_alike(kind: str, found: Tensors, wanted: Tensors) -> None:
    missing = [name for name in wanted if name not in found]
    faults = [f"{name} is missing" for name in missing] + [f"{name} is unknown" for name in found if name not in wanted]
    for name in wanted.keys() & found.keys():
        mine, theirs = found[name], wanted[name]
        if (mine.shape, mine.dtype) != (theirs.shape, theirs.dtype):
            faults.append(f"{name} is {mine.dtype} {tuple(mine.shape)} for {theirs.dtype} {tuple(theirs.shape)}")
    if faults:
        first = ", ".join(printable(fault) for fault in sorted(faults)[:3])
        raise CheckpointError(
            f"the checkpoint's {kind} does not fit this network: {len(faults)} tensors differ ({first})"
        )


def _restore_scaler(state: TrainState, scaler: torch.amp.GradScaler | None) -> tuple[str, ...]:
    scales = scaler is not None and scaler.is_enabled()
    if scales and state.scaler is not None:
        assert scaler is not None
        scaler.load_state_dict(dict(state.scaler))
        return ()
    if scales:
        return ("the checkpoint was trained without loss scaling: it starts with its initial scale",)
    return ("the checkpoint's loss scale is not used: this precision needs none",) if state.scaler else ()


def files_of(state: TrainState) -> dict[str, Write]:
    """File name -> its writer, for everything in a step's folder but the manifest."""
    rest = Rest(
        step=state.step,
        momentum=tuple(state.momentum),
        scaler=None if state.scaler is None else dict(state.scaler),
        best=state.best,
        identity=state.identity,
        validated_step=state.validated_step,
    )

    def write_rest(path: Path) -> None:
        # In memory first: torch reports a full disk as RuntimeError, without a path
        buffer = io.BytesIO()
        torch.save(rest.model_dump(mode="json"), buffer)
        path.write_bytes(buffer.getbuffer())

    return {
        WEIGHTS: lambda path: save_tensors(state.model, path),
        MOMENTUM: lambda path: save_tensors(state.momentum, path),
        REST: write_rest,
    }


def manifest_of(state: TrainState, files: tuple[FileEntry, ...]) -> Manifest:
    """The manifest that makes a step's folder a checkpoint."""
    model = ModelConfig.model_validate(state.identity.recipe["model"])
    return Manifest(contents="model", model=model, step=state.step, files=files)


def check_state(folder: Path) -> Rest:
    """Verify all of a step's folder and read what is small. Raises CheckpointError when a resume could not use it."""
    manifest = read_manifest(folder)
    verify(folder, manifest)
    names = {entry.name for entry in manifest.files}
    if names != FILES or manifest.contents != "model" or manifest.step is None:
        raise CheckpointError(
            f"{folder}: a model to evaluate or to start from (--snapshot), not a state to resume: the manifest lists "
            f"{', '.join(sorted(names))} and step {manifest.step}"
        )
    rest, model = read_rest(folder / REST)
    # The manifest itself has no digest: a digit that changed in it shows here
    expected = (manifest.step, manifest.model, manifest.normalisation, manifest.source)
    if (rest.step, model, Normalisation(), None) != expected:
        raise CheckpointError(f"{folder}: {REST} and the manifest contradict each other: copy the checkpoint again")
    return rest


def read_rest(path: Path) -> tuple[Rest, ModelConfig]:
    """What ``state.pt`` holds, and the network that it belongs to. Raises CheckpointError when it is damaged."""
    try:
        rest = Rest.model_validate(torch.load(path, map_location="cpu", weights_only=True))
        return rest, ModelConfig.model_validate(rest.identity.recipe.get("model"))
    except OSError:
        raise
    except Exception as error:  # whatever a damaged or hostile pickle makes the reader raise
        reason = printable(str(error).partition("\n")[0])
        raise CheckpointError(f"{path}: not the state of a run ({reason}); use another checkpoint") from None


def read_state(folder: Path) -> TrainState:
    """Verify and read a step's folder. Raises CheckpointError for whatever a resume could not use."""
    rest = check_state(folder)
    momentum = load_tensors(folder / MOMENTUM)
    if momentum.keys() != set(rest.momentum):
        raise CheckpointError(f"{folder}: {REST} and {MOMENTUM} name other tensors: copy the checkpoint again")
    return TrainState(
        step=rest.step,
        model=load_tensors(folder / WEIGHTS),
        momentum=momentum,
        scaler=rest.scaler,
        best=rest.best,
        identity=rest.identity,
        validated_step=rest.validated_step,
    )
