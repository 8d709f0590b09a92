"""Where a run stands: network, optimiser, step and best score, opened fresh, from a snapshot, or from a checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from abet.checkpoint import Best, Normalisation, step_folders
from abet.distributed import from_rank_0, settle_buckets, wrap
from abet.errors import UsageError
from abet.exits import record_progress
from abet.losses import cross_entropy_sum
from abet.models.build import build_model
from abet.models.compiling import compiled
from abet.models.precision import fastest_convolutions
from abet.models.recompute import recompute_blocks
from abet.models.sync_norm import synchronise
from abet.optim import make_sgd
from abet.places import Place, S3Uri
from abet.progress import note
from abet.run import CHECKPOINTS, require_trainable
from abet.site import imagenet_trunk
from abet.training.commit import commit, discard_partial, require_newest, resumed_best, take_over
from abet.training.identity import Identity, require_resumable
from abet.training.job import TrainJob
from abet.training.ownership import Ownership
from abet.training.phases import describe_phases, phase_notes
from abet.training.run_files import describe_start
from abet.training.snapshot import load_snapshot
from abet.training.start_weights import StartWeights, choose_start_weights
from abet.training.state import TrainState, capture, read_state, restore
from abet.training.tracking import validated

NORMALISATION = Normalisation()
"""ImageNet's, as in the reference."""


@dataclass(kw_only=True)
class Session:
    """What a step changes."""

    identity: Identity
    model: nn.Module
    """The network itself."""
    network: nn.Module
    """The same as the loop calls it: wrapped in DistributedDataParallel when there are several processes."""
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    """Optimiser steps done."""
    validated_step: int = 0
    """The last step whose weights were validated; 0: none."""
    best: Best | None = None
    ownership: Ownership | None = None
    """Rank 0's right to commit; None on the others."""

    def validation_due(self, job: TrainJob) -> bool:
        """Whether the weights of this step are to be measured, and have not been."""
        training = job.recipe.training
        last = self.step == training.steps
        return self.step > self.validated_step and (last or self.step % training.validate_every_steps == 0)

    def commit_due(self, job: TrainJob) -> bool:
        """Whether this step is to be saved, beside the validated ones."""
        return self.step % job.recipe.training.checkpoint_every_steps == 0

    def note_validation(self, figures: dict[str, Any]) -> None:
        """Remember that this step was measured, and whether it is the best so far."""
        self.validated_step = self.step
        miou = figures["miou"]
        if miou is not None and (self.best is None or miou > self.best.miou):
            self.best = Best(step=self.step, miou=miou)

    def commit(self, job: TrainJob) -> None:
        """Save the state of this step; on rank 0 alone. Raises LostOwnership when a later trainer took over."""
        assert self.ownership is not None
        state = capture(
            model=self.model,
            optimiser=self.optimiser,
            scaler=self.scaler,
            step=self.step,
            best=self.best,
            identity=self.identity,
            validated_step=self.validated_step,
        )
        in_use = job.copier.in_flight if job.copier else None
        commit(self.ownership, state, keep_last=job.recipe.training.keep_last, in_use=in_use)

    def is_finite(self) -> bool:
        """Whether every weight and statistic is a number."""
        return all(bool(value.isfinite().all()) for value in self.model.state_dict().values())

    def copy_statistics(self) -> list[Tensor]:
        """Copies of every buffer: what a forward pass changes."""
        return [buffer.clone() for buffer in self.model.buffers()]

    def restore_statistics(self, statistics: Sequence[Tensor]) -> None:
        """Undo what forward passes changed since `copy_statistics`."""
        with torch.no_grad():
            for buffer, value in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(value)


def open_session(job: TrainJob) -> Session:
    """Resume the run, or start it, in all processes alike.

    Raises:
        UsageError: the run directory is another job's, holds foreign files, or should not be resumed.
        CheckpointError: no checkpoint of it is sound, or the snapshot does not fit.
        AbetError: another trainer committed to it meanwhile; the next start goes on from there.
    """
    state = _resumed_state(job)
    session = _build(job)
    weights = None
    if state is not None:
        notes = _resume(session, job, state)
    elif (place := _start_place(job)) is not None:
        weights = choose_start_weights(place, job.site, job.topology)
        notes = _start_from(session, job, weights)
    else:
        notes = ["start weights: none, all layers are drawn anew"]
    epochs = {"steps_per_epoch": job.steps_per_epoch}
    notes = [*job.sampling.notes, describe_phases(job.recipe, **epochs), *phase_notes(job.recipe, **epochs), *notes]
    if job.topology.rank == 0:
        session.ownership = take_over(job.run, state)
        notes += [f"removed what a killed trainer left: {name}" for name in discard_partial(session.ownership)]
        owner = session.ownership.owner if job.copier is None else job.copier.ownership.owner
        describe_start(
            job,
            generation=owner.generation,
            step=session.step,
            resumed=state is not None,
            weights=None if weights is None else weights.record,
            notes=notes,
        )
        if job.copier is not None:
            job.copier.describe()
        for text in notes:
            note(text)
        record_progress(session.step)
    session.network = _connect(session.model, job)
    return session


def _start_place(job: TrainJob) -> Place | None:
    """Where a fresh start's weights lie. Raises UsageError where the recipe's trunk is not here."""
    if job.snapshot is not None or job.from_nothing or job.recipe.training.start_weights != "imagenet_trunk":
        return job.snapshot
    return imagenet_trunk(job.recipe.model.trunk.kind, job.site)


def _start_from(session: Session, job: TrainJob, weights: StartWeights) -> list[str]:
    """Give ``session`` the weights of a snapshot; returns what the log should say of it."""
    notes = [f"{job.snapshot} is {weights.uri}, read from {weights.path}"] if isinstance(job.snapshot, S3Uri) else []
    reinitialise = job.recipe.training.reinitialise_classifier
    notes += load_snapshot(session.model, weights.path, config=job.recipe.model, reinitialise_classifier=reinitialise)
    return notes


def _resume(session: Session, job: TrainJob, state: TrainState) -> list[str]:
    """Put ``session`` where ``state`` was; returns what the log should say of it."""
    notes = list(restore(state, model=session.model, optimiser=session.optimiser, scaler=session.scaler))
    session.step, session.validated_step = state.step, state.validated_step
    best = from_rank_0(job.topology, _dump(resumed_best(job.run, state)) if job.topology.rank == 0 else None)
    session.best = None if best is None else Best.model_validate(best)
    # A step that was saved first and validated later is in the record, but its checkpoint is kept as it was
    row = from_rank_0(job.topology, validated(job.run, state.step) if job.topology.rank == 0 else None)
    if row is not None and session.validated_step < state.step:
        session.note_validation(row)
    notes.append(f"resumed {job.output} after step {state.step}")
    if job.snapshot is not None:
        notes.append(f"--snapshot {job.snapshot} is not read again: it was for the first start")
    return notes


def _dump(best: Best | None) -> dict[str, Any] | None:
    return None if best is None else best.model_dump()


def _resumed_state(job: TrainJob) -> TrainState | None:
    """The state to go on from, of the checkpoint that rank 0 finds; None for a fresh start."""
    found, skipped = (None, list[str]())
    if job.topology.rank == 0:
        require_trainable(job.run)
        if job.resume == "never" and (steps := step_folders(job.run)):
            raise UsageError(
                f"--resume never: {job.output} holds checkpoints up to step {max(steps)}; choose another --output, or "
                "go on with --resume auto"
            )
        folder, skipped = require_newest(job.run)
        found = folder.name if folder else None
    for text in skipped:
        note(f"passed over {text}")
    name = from_rank_0(job.topology, found)
    if name is None:
        return None
    state = read_state(job.run / CHECKPOINTS / name)
    warnings = require_resumable(state.identity, job.identity, allow_topology_change=job.allow_topology_change)
    for text in warnings if job.topology.rank == 0 else ():
        note(text)
    return state


def _build(job: TrainJob) -> Session:
    """A freshly drawn network, the same in every process."""
    torch.manual_seed(job.recipe.training.seed)
    model: nn.Module = build_model(job.recipe.model)
    if job.topology.processes > 1 and job.recipe.training.sync_batch_norm:
        model = synchronise(model, job.topology.device)
    if job.recipe.training.activation_checkpointing:
        recompute_blocks(model)
    model = model.to(job.topology.device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Session(
        identity=job.identity,
        model=model,
        network=model,
        optimiser=make_sgd(model, job.recipe.optimiser),
        scaler=job.arithmetic.scaler(),
    )


def _connect(model: nn.Module, job: TrainJob) -> nn.Module:
    """The network as the loop calls it, with gradients summed in their final order from the first step on."""
    # What is validated and saved is `model`: the names stay, and images of other sizes compile nothing
    network = wrap(compiled(model) if job.recipe.training.compile else model, job.topology)
    augmentation = job.recipe.augmentation
    shape = (job.plan.batch_per_gpu, 3, augmentation.crop_height, augmentation.crop_width)

    def loss(wrapped: nn.Module) -> Tensor:
        images = torch.zeros(shape, device=job.topology.device).contiguous(memory_format=torch.channels_last)
        with job.arithmetic.autocast():
            logits = wrapped(images).logits
        labels = torch.zeros(logits.shape[0], *logits.shape[2:], dtype=torch.uint8, device=logits.device)
        return cross_entropy_sum(logits, labels) / labels.numel()

    with fastest_convolutions(job.topology.device):
        settle_buckets(network, loss)
    return network
