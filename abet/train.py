"""The training loop, and nothing else: a step, its agreement over the processes, validation, commit.

    abet train demo_finetune --output runs/finetune --snapshot runs/pretrain

What a step computes follows from (weights, seed, step, rank) alone, so a run that was killed anywhere goes on to the
same weights (bit by bit on a CPU with the same processes and threads).
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from abet.data.index import Dataset
from abet.data.loader import Batch, TrainingBatches
from abet.data.sampling import CropSource
from abet.distributed import barrier, copy_buffers, step_agreement, sum_on_device
from abet.losses import count_valid, make_loss, objective_scale, units
from abet.memory import readable_memory_errors
from abet.models.inputs import normalise
from abet.models.precision import fastest_convolutions
from abet.optim import largest_gradient, learning_rate_at, set_learning_rate
from abet.training.job import TrainJob
from abet.training.keeping import finish_copy, keep
from abet.training.record import Record, recording
from abet.training.remote_run import opened_run
from abet.training.session import NORMALISATION, Session, open_session
from abet.training.signals import StopRequest, stop_on_signals
from abet.training.validation import validate


def train(job: TrainJob) -> Session:
    """Train to the last step, commit, and return where the run stands. The processes have met (`process_group`).

    Raises:
        Stopped: a signal asked for it; the state is saved.
        UsageError: the run directory holds another job, or one of another topology.
        DataError: a file that cannot be read, too little memory, or a loss that is not finite (the state before that
            step is saved).
        CheckpointError: a snapshot that does not fit, or a newer trainer that owns the run by now.
        StorageRefused: the run is to be kept in S3, which does not let us; nothing was trained.
        CopyFailed: S3 did not answer for minutes; what was committed is safe on this machine.
    """
    with stop_on_signals() as stop, _readable_memory_errors(job), opened_run(job) as opened:
        session = _train(opened, open_session(opened), stop)
        barrier(job.topology)  # here, where a signal is only noted: the run is complete
    return session


def _train(job: TrainJob, session: Session, stop: StopRequest) -> Session:
    if session.step == job.recipe.training.steps and not session.validation_due(job):
        keep(job, session)  # what a kill within the last commit left undone: latest.json, best.json
        finish_copy(job)
        return session
    with recording(job, session) as record, _batches(job, session) as batches:
        if session.validation_due(job):  # it was interrupted
            _validate_and_commit(job, session, record, stop)
        while session.step < job.recipe.training.steps:
            _advance(job, session, record, batches, stop)
        record.finish()
    return session


def _readable_memory_errors(job: TrainJob) -> AbstractContextManager[None]:
    crop = f"{job.recipe.augmentation.crop_height}x{job.recipe.augmentation.crop_width}"
    return readable_memory_errors(
        f"batch.batch_per_gpu {job.plan.batch_per_gpu} with crops of {crop} pixels",
        remedy="lower batch.batch_per_gpu, with batch.accumulation null for the same batch, or the crop",
    )


def _batches(job: TrainJob, session: Session) -> TrainingBatches:
    source = CropSource(
        dataset=job.train,
        boosted=job.sampling.boosted,
        augmentation=job.recipe.augmentation,
        seed=job.recipe.training.seed,
        skip_corrupt=job.skip_corrupt,
        quirk_unshifted_centroid=job.recipe.reference_quirks.centroid_unmoved_by_padding,
    )
    return TrainingBatches(
        source,
        job.sampling.lists,
        plan=job.plan,
        rank=job.topology.rank,
        start_step=session.step,
        workers=job.recipe.data.workers_per_process,
        pin_memory=job.topology.device.type == "cuda",
    )


def _advance(job: TrainJob, session: Session, record: Record, batches: TrainingBatches, stop: StopRequest) -> None:
    """One optimiser step, and what is due after it."""
    micro = _fetch(batches, job.plan.accumulation, stop)
    # One agreement per step, by all ranks or by none: whoever was asked to stop while it waited for data joins here too
    wants_to_stop = stop() or record.must_stop()
    stopping, valid_pixels = step_agreement(
        job.topology, wants_to_stop, sum(count_valid(batch.labels) for batch in micro)
    )
    if stopping:
        record.save_and_stop(stop)
    lr = learning_rate_at(
        session.step,
        job.recipe.optimiser,
        steps=job.recipe.training.steps,
        steps_per_epoch=job.steps_per_epoch,
        one_epoch_ahead=job.recipe.reference_quirks.schedule_one_epoch_ahead,
    )
    with fastest_convolutions(job.topology.device):
        loss = _optimise(job, session, record, micro, lr=lr, valid_pixels=valid_pixels)
    session.step += 1
    record.step(loss, lr, batches.take_waited_seconds(), [fault for batch in micro for fault in batch.faults])
    if session.validation_due(job):
        _validate_and_commit(job, session, record, stop)
    elif session.commit_due(job):
        record.commit()


def _fetch(batches: TrainingBatches, accumulation: int, stop: Callable[[], bool]) -> list[Batch]:
    """The micro-batches of a step; fewer when a signal came while waiting."""
    found = []
    for _ in range(accumulation):
        batch = batches.next_batch(stop)
        if batch is None:
            break
        found.append(batch)
    return found


def _optimise(
    job: TrainJob, session: Session, record: Record, micro: Sequence[Batch], *, lr: float, valid_pixels: int
) -> float:
    """Forward, backward and update; returns the mean loss over the valid pixels or images of the global batch.

    Where that or its gradient is not finite, nothing is updated: neither weights nor running statistics. With loss
    scaling such gradients are ordinary, and the scaler skips the update.
    """
    topology = job.topology
    torch.manual_seed(step_seed(job.recipe.training.seed, session.step, topology.rank))
    statistics = session.copy_statistics()
    recipe, images = job.recipe, job.plan.global_batch
    loss_sum = make_loss(recipe.loss, recipe.reference_quirks, recipe.model.num_classes)
    # the gradients are averaged over processes, the loss is not
    scale = topology.processes * objective_scale(recipe.loss, valid_pixels=valid_pixels, images=images)
    losses = []
    for number, batch in enumerate(micro, start=1):
        with _synchronising(session.network, last=number == len(micro)):
            pixels = batch.images.to(topology.device, non_blocking=True)
            labels = batch.labels.to(topology.device, non_blocking=True)
            with job.arithmetic.autocast():
                output = session.network(normalise(pixels, NORMALISATION.mean, NORMALISATION.std))
            loss = loss_sum(output.logits, labels, session.step // job.steps_per_epoch)
            torch.autograd.backward(session.scaler.scale(loss * scale))
            losses.append(loss.detach())
    total = sum_on_device(topology, torch.stack(losses).sum())
    mean = total / max(units(recipe.loss, valid_pixels=valid_pixels, images=images), 1)
    scaled = session.scaler.is_enabled()
    if not (math.isfinite(mean) and (scaled or math.isfinite(largest_gradient(session.optimiser)))):
        session.restore_statistics(statistics)
        names = [name for batch in micro for name in batch.names]
        record.save_and_fail(mean, [loss.item() for loss in losses], names)
    set_learning_rate(session.optimiser, lr)
    session.scaler.step(session.optimiser)
    session.scaler.update()
    session.optimiser.zero_grad(set_to_none=True)
    return mean


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of dropout: a function of (seed, step, rank), so that nothing needs to be stored."""
    return ((seed * 1_000_003 + step) * 65_537 + rank) % 2**63


def _synchronising(network: torch.nn.Module, *, last: bool) -> AbstractContextManager[Any]:
    """Gradients travel between processes in the last backward pass of a step alone."""
    if last or not isinstance(network, DistributedDataParallel):
        return nullcontext()
    return network.no_sync()


def _validated(job: TrainJob) -> Dataset:
    """The images that are measured: all, or what the reference's slip leaves of them."""
    if not job.recipe.reference_quirks.validation_images_dropped:
        return job.validation
    processes, pairs = job.topology.processes, job.validation.pairs
    return replace(job.validation, pairs=pairs[: len(pairs) // processes * processes])


def _validate_and_commit(job: TrainJob, session: Session, record: Record, stop: StopRequest) -> None:
    if not job.recipe.training.sync_batch_norm:
        copy_buffers(session.model, job.topology)
    result = validate(
        session.model,
        _validated(job),
        job.topology,
        height=job.recipe.data.validation_height,
        autocast=job.arithmetic.autocast,
        stop=stop,
    )
    session.model.train()
    if result is None:
        record.save_and_stop(stop)
    session.note_validation(result.figures)
    record.validation(result)
    record.commit()
