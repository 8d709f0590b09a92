"""Jobs for people: the table of states, logs that can be followed, and the polite end."""

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from abet.errors import UsageError
from abet.text import one_line, printable
from jobs import attempts
from jobs.records import Record
from jobs.status import statuses
from jobs.words import Status

POLL_SECONDS: Final = 1.0
STATE_SECONDS: Final = 5.0
"""How often the scheduler is asked while logs are followed."""
LOG_WIDTH_COLUMNS: Final = 160
REASON_LENGTH: Final = 200
"""Characters in the table of why a job ended; the logs and the diary hold the whole."""
DETAIL_LENGTH: Final = 600
"""Of what a scheduler says of one that has not, which stands nowhere else."""


def print_statuses(known: Sequence[Record], found: Sequence[Status]) -> None:
    """One row per job."""
    if not known:
        print("nothing was submitted from here yet", file=sys.stderr)
        return
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=LOG_WIDTH_COLUMNS)
    table = Table("job", "on", "number", "state", "step", "starts", "what to know")
    for record, status in zip(known, found, strict=True):
        step = "" if status.step is None else str(status.step)
        number = (record.job.number or "").rpartition("/")[2]  # on Kubernetes KIND/NAME
        cells = (record.job.id, record.job.on, number, status.state, step, str(status.attempts))
        length = REASON_LENGTH if status.ended else DETAIL_LENGTH
        table.add_row(*cells, Text(printable(one_line(status.detail, limit=length), limit=length)))
    console.print(table)
    for record, status in zip(known, found, strict=True):
        cut = status.ended and len(one_line(status.detail)) > REASON_LENGTH
        if cut or status.state in ("failed", "lost", "refused"):
            where = f"python -m jobs logs {record.job.id}" if record.job.on == "kubernetes" else record.logs
            console.print(f"logs of {record.job.id}: {where}", soft_wrap=True)


def print_logs(record: Record, *, follow: bool) -> None:
    """All of the job's output, oldest first, each line once; with ``follow`` until the job has ended."""
    if record.job.on == "kubernetes":
        from jobs.kubernetes.logs import print_logs as print_pods

        print_pods(record, follow=follow)
        return
    seen: dict[Path, int] = {}
    asked = 0.0
    while True:
        # Asked before reading: what an ended job wrote is complete then
        ended = True
        if follow and time.monotonic() - asked >= STATE_SECONDS:
            asked = time.monotonic()
            ended = statuses([record])[0].ended
        elif follow:
            ended = False
        _print_new(record, seen)
        if ended:
            break
        time.sleep(POLL_SECONDS)
    if not seen:
        print(f"no output yet in {record.logs}", file=sys.stderr)


def _print_new(record: Record, seen: dict[Path, int]) -> None:
    files = sorted(path for path in record.logs.glob("*") if path.suffix in (".out", ".err", ".log"))
    for path in files:
        with path.open("rb") as file:
            file.seek(seen.get(path, 0))
            content = file.read()
        if content and len(files) > 1:
            print(f"==> {path.name}", file=sys.stderr, flush=True)
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        seen[path] = seen.get(path, 0) + len(content)


def cancel(record: Record, *, now: bool) -> str:
    """Ask the job to end; returns what to expect.

    Raises:
        UsageError: it has ended already, or runs on another machine.
    """
    status = statuses([record])[0]
    if status.ended:
        raise UsageError(f"{record.job.id} has ended already ({status.state})")
    grace = record.job.spec.grace_seconds
    for diary in record.diaries():
        attempts.cancel(diary)  # a job that is saving for another reason must not start again either
    if record.job.on == "local":
        _cancel_local(record, now=now)
    elif record.job.on == "kubernetes":
        from jobs.executors.kubernetes import cancel as cancel_pods

        cancel_pods(record, now=now)
    else:
        from jobs.executors.slurm import cancel_number

        cancel_number(str(record.job.number), now=now)
    if now:
        return f"cancelled {record.job.id}: whatever was not saved by now is lost"
    return f"asked {record.job.id} to save and stop; it has {grace} s for that by its own account (--now does not wait)"


def _cancel_local(record: Record, *, now: bool) -> None:
    if record.job.host != socket.gethostname() or record.job.pid is None:
        raise UsageError(f"{record.job.id} runs on {record.job.host}: cancel it there")
    os.kill(record.job.pid, signal.SIGINT if now else signal.SIGTERM)  # as Ctrl-C: at once, and nobody is left behind
