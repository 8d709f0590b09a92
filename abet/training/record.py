"""What a run puts on record: rank 0 writes, every rank waits until it is written."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, NoReturn

from abet.distributed import any_rank, sum_over_ranks
from abet.errors import DataError
from abet.files import write_json
from abet.progress import note
from abet.run import FAILED_BATCHES, PICTURES, step_name
from abet.training.gpu import gpu_figures
from abet.training.job import TrainJob
from abet.training.keeping import finish_copy, keep, keep_file
from abet.training.pictures import write_picture
from abet.training.session import Session
from abet.training.signals import Stopped, StopRequest
from abet.training.tracking import Tracker, tracking
from abet.training.validation import Validation

SMALLEST_LOSS_SCALE: Final = 2.0**-14
"""Float16's smallest normal number. Loss scaling begins at 65536 and is halved whenever a gradient overflows."""


class NonFiniteLossError(DataError):
    """The loss or its gradient became NaN or infinite; repeating the step would repeat it."""


class Record:
    """Rows, pictures and checkpoints of one start of a run. ``tracker`` is None on all ranks but 0."""

    def __init__(self, *, job: TrainJob, session: Session, tracker: Tracker | None) -> None:
        self._job, self._session, self._tracker = job, session, tracker
        self._faults = 0

    def step(self, loss: float, lr: float, waited_seconds: float, faults: Sequence[str]) -> None:
        """One optimiser step: its mean loss, and the images that could not be read and were replaced."""
        for fault in faults:
            note(f"skipped: {fault}")
        self._faults += len(faults)
        due = self._session.step % self._job.recipe.training.log_every_steps == 0
        total = sum_over_ranks(self._job.topology, [self._faults])[0] if due else 0
        if due:
            self._require_gradients()
        if self._tracker is not None:
            step = self._session.step
            self._tracker.step(step=step, loss=loss, lr=lr, waited_seconds=waited_seconds, faults=total, log=due)

    def _require_gradients(self) -> None:
        """Raises NonFiniteLossError where loss scaling has skipped dozens of steps in a row: nothing is learned."""
        scaler = self._session.scaler
        if scaler.is_enabled() and scaler.get_scale() < SMALLEST_LOSS_SCALE:
            raise NonFiniteLossError(
                f"step {self._session.step}: no loss scale is small enough for a finite gradient in float16 (now "
                f"{scaler.get_scale():g}); nothing has been learned since. Use training.precision=float32, or bfloat16 "
                "on another GPU, with another --output"
            )

    def validation(self, result: Validation) -> None:
        """The figures of a validation, and what the network says of its first images."""
        if self._tracker is None:
            return
        step = self._session.step
        self._tracker.row(step, "validation", result.figures)
        names = [row.name for row in self._job.validation.classes]
        self._tracker.scalars(step, "validation_iou", dict(zip(names, result.figures["iou"], strict=True)))
        path, picture = write_picture(self._job.run, step, result.pictures)
        self._tracker.picture(step, "validation/image, label, prediction, score", picture)
        miou = result.figures["miou"]
        shown = self._job.output / PICTURES / path.name
        note(f"step {step}: mIoU {'undefined' if miou is None else f'{miou:.4f}'}, predictions: {shown}")

    def commit(self) -> None:
        """Save the state as the newest checkpoint. Raises as `abet.training.keeping.keep`."""
        keep(self._job, self._session)
        if self._tracker is not None:
            self._tracker.restart_clock()

    def must_stop(self) -> bool:
        """Whether training on would be in vain: what it commits can no longer be copied to where the run is kept."""
        return self._job.copier is not None and self._job.copier.failed

    def finish(self) -> None:
        """Wait until all that was committed is where the run is kept. Raises as `commit`."""
        finish_copy(self._job)

    def save_and_stop(self, stop: StopRequest) -> NoReturn:
        """Save, then say how to go on."""
        self.commit()
        self.finish()
        raise Stopped(
            f"stopped by {stop.signal_name or 'a signal to another process'} after step {self._session.step}, which is "
            f"saved in {self._job.output}: run the same command again to go on"
        )

    def save_and_fail(self, mean: float, losses: Sequence[float], names: Sequence[str]) -> NoReturn:
        """Leave the names of the batch and the state before it, then fail; all ranks together.

        Args:
            mean: the loss over all processes; where it is finite, the gradient is not.
            losses: of this process's micro-batches, as sums over their pixels.
            names: of the files of these micro-batches.
        """
        run, step, rank = self._job.output, self._session.step, self._job.topology.rank
        path = self._job.run / FAILED_BATCHES / f"{step_name(step)}-rank-{rank}.json"
        here = [repr(loss) for loss in losses]
        write_json(path, {"step": step, "rank": rank, "loss": repr(mean), "losses_here": here, "files": list(names)})
        keep_file(self._job, path)
        what = "the gradient is not finite" if math.isfinite(mean) else f"the loss is {mean}"
        if any_rank(self._job.topology, not self._session.is_finite()):
            saved = f"the weights after step {step} are not finite either, so {run} keeps the checkpoints from before"
        else:
            self.commit()
            self.finish()
            saved = f"the state after step {step} is saved in {run}"
        raise NonFiniteLossError(
            f"step {step + 1}: {what}. Its files are listed in {run / FAILED_BATCHES}; {saved}. Lower "
            f"optimiser.learning_rate and start anew: --snapshot {run} with another --output"
        )


@contextmanager
def recording(job: TrainJob, session: Session) -> Iterator[Record]:
    """The record of this start; on rank 0 with the run's files and the progress display."""
    if job.topology.rank:
        yield Record(job=job, session=session, tracker=None)
        return
    with tracking(
        job.run,
        description=job.name,
        start_step=session.step,
        steps=job.recipe.training.steps,
        images_per_step=job.plan.global_batch,
        figures=partial(gpu_figures, job.topology.device),
    ) as tracker:
        yield Record(job=job, session=session, tracker=tracker)
