"""How a job stands, in one word and a reason: from the scheduler's word and the job's own diary."""

import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from abet.exits import FAILED
from jobs import attempts
from jobs.executors.states import TaskState, UnansweredError, query
from jobs.kubernetes.states import status_of
from jobs.records import Record, process_start
from jobs.words import ENDED, NOT_STARTED, Status

WAITING = {"PENDING", "REQUEUED", "CONFIGURING", "REQUEUE_HOLD", "SPECIAL_EXIT", "REQUEUE_FED"}
UNKNOWN = "UNKNOWN"
UNFINISHED = {*WAITING, UNKNOWN, "RUNNING", "COMPLETING", "SUSPENDED", "RESIZING", "STOPPED"}
GONE = {"CANCELLED": "cancelled", "COMPLETED": "done", "TIMEOUT": "failed", "NODE_FAIL": "failed"}
"""What SLURM's last word means for a job whose diary is silent."""
SILENT = "its process is gone and it never told how it ended"


def statuses(known: Sequence[Record]) -> list[Status]:
    """The status of every record, with one question to SLURM for all of its jobs."""
    numbers = [str(record.job.number) for record in known if record.job.on == "slurm" and record.job.number]
    try:
        told, missing = query(numbers), None
    except UnansweredError as error:
        told, missing = {}, TaskState(UNKNOWN, str(error))
    return [
        status_of(record)
        if record.job.on == "kubernetes"
        else status(record, told.get(str(record.job.number), {}), missing)
        for record in known
    ]


def status(record: Record, told: Mapping[str, TaskState], missing: TaskState | None = None) -> Status:
    """One record's, given what SLURM says of its tasks, and what counts for those that it says nothing of."""
    shards = record.job.spec.shards
    if not shards:
        return _one(record, record.folder, next(iter(told.values()), missing))
    alone = told.get("") if len(shards) == 1 else None
    tasks = [told.get(str(index)) or alone or missing for index in range(len(shards))]
    parts = {shard: _one(record, record.shard_folder(shard), task) for shard, task in zip(shards, tasks, strict=True)}
    return _together(parts)


def _one(record: Record, diary: Path, task: TaskState | None) -> Status:
    history = attempts.read(diary)
    last = history.attempts[-1] if history.attempts else None
    if task is not None and task.live:
        state, detail = _alive(task, history, last)
    elif task is not None and task.state == UNKNOWN and (last is None or last.cause in ("", "stopped")):
        state, detail = "unknown", task.reason  # stopped may mean that somebody else requeued it
    elif last is not None and last.code is not None and not last.again:
        state, detail = _word(last), last.reason
    elif record.job.on == "local":
        state, detail = _local(record, last)
    else:
        state, detail = _silent(record, task, last)
    return Status(state, detail, history.step, len(history.attempts))


def _alive(task: TaskState, history: attempts.History, last: attempts.Attempt | None) -> tuple[str, str]:
    count = len(history.attempts)
    if task.state in WAITING:
        again = f"again, after {last.cause or 'a silent end'}; " if last else ""
        return "waiting", f"{again}{task.reason}"
    return "running", f"attempt {count}" if count > 1 else ""


def _silent(record: Record, task: TaskState | None, last: attempts.Attempt | None) -> tuple[str, str]:
    """A job whose diary does not say how it ended."""
    if record.job.number is None:
        return "lost", "its submission has not come to its end"
    if task is None:
        return "lost", "the scheduler has forgotten it and it never told how it ended"
    if task.state in UNFINISHED:
        return "unknown", task.reason if task.state == UNKNOWN else f"{task.state} for accounting, gone for squeue"
    if task.state == "CANCELLED" and last is None:
        return "cancelled", "before it started (did an earlier job of its pipeline not succeed?)"
    if task.state == "COMPLETED" and last is not None and last.again:
        return "lost", f"it was to start again, after {last.cause}, and did not"
    return GONE.get(task.state, "failed"), f"{task.state} {task.reason}".strip()


def _word(last: attempts.Attempt) -> str:
    if last.reason.startswith("below target"):
        return "below target"
    return {"timeout": "failed", "preempted": "stopped"}.get(last.cause, last.cause)


def _local(record: Record, last: attempts.Attempt | None) -> tuple[str, str]:
    if record.job.host != socket.gethostname():
        return "unknown", f"it runs on {record.job.host}, or did: ask there"
    started = None if record.job.pid in (None, os.getpid()) else process_start(record.job.pid)
    if started is not None and started == record.job.pid_started:
        return "running", f"process {record.job.pid}"
    if record.job.spec.shards and last is None:  # one after the other, up to the first that does not succeed
        return NOT_STARTED, ""
    return "lost", SILENT


def _together(parts: Mapping[int, Status]) -> Status:
    counts = Counter(part.state for part in parts.values())
    live = [state for state in ("running", "waiting", "unknown") if counts[state]]
    wrong = [state for state in ENDED[1:] if counts[state]]
    silent = not live and not wrong and counts[NOT_STARTED] > 0
    state = [*live, *wrong, "lost" if silent else "done"][0]
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    detail = SILENT if silent else _reasons(parts)
    return Status(
        state, f"{told}{f' ({detail})' if detail else ''}", None, sum(part.attempts for part in parts.values())
    )


def _reasons(parts: Mapping[int, Status]) -> str:
    """Why tasks ended badly, each reason once."""
    shards: dict[str, list[str]] = {}
    for shard, part in parts.items():
        if part.state in ENDED[1:]:
            shards.setdefault(part.detail, []).append(str(shard))
    return "; ".join(f"shard{'s' * (len(those) > 1)} {', '.join(those)}: {detail}" for detail, those in shards.items())


def exit_code(of: Status) -> int:
    """For scripts: 0 unless something went wrong."""
    return FAILED if of.state in ENDED[1:] else 0
