"""Keeping a step: committed in the run directory and, of a run in S3, copied there behind training."""

from contextlib import suppress
from pathlib import Path

from abet.distributed import barrier, rank_0_alone
from abet.errors import AbetError
from abet.exits import record_progress
from abet.places import S3Uri
from abet.progress import note
from abet.storage import StorageRefused, StorageUnavailable, open_storage
from abet.training.job import TrainJob
from abet.training.ownership import LostOwnership
from abet.training.session import Session


def keep(job: TrainJob, session: Session) -> None:
    """Commit the state of this step; all ranks together. Of a run in S3 its copy begins, once the last one is complete.

    Raises:
        LostOwnership: another trainer took over the run.
        CopyFailed: the last copy failed for good; this step is committed on this machine.
    """
    if session.ownership is not None:
        _commit(job, session)
    finish_copy(job)
    if job.copier is not None:
        job.copier.submit(session.step)
    elif session.ownership is not None:
        record_progress(session.step)
    barrier(job.topology)


def _commit(job: TrainJob, session: Session) -> None:
    if job.copier is not None:
        job.copier.require_owner()
    try:
        session.commit(job)
    except LostOwnership:
        if job.copier is not None:
            with suppress(StorageUnavailable, StorageRefused):
                job.copier.ownership.check()  # says it of the run in S3, not of its folder here
        raise


def finish_copy(job: TrainJob) -> None:
    """Wait until S3 holds all that was submitted; all ranks together. Raises as `keep`."""
    if isinstance(job.output, S3Uri):
        rank_0_alone(job.topology, job.copier.wait if job.copier is not None else lambda: None)


def keep_file(job: TrainJob, path: Path) -> None:
    """Copy one file of the run directory to S3, by the rank that wrote it, whatever the node."""
    if isinstance(job.output, S3Uri):
        try:
            open_storage(job.output, job.site.s3).upload(path, path.relative_to(job.run).as_posix())
        except AbetError as error:  # why it was written matters more
            note(f"{path} could not be copied: {error}")
