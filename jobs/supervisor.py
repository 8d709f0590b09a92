"""One per node, on the host: starts the launcher, forwards signals, and decides whether the job goes on.

    srun python3 -m jobs.supervisor --name finetune --processes 8 --retries 3 --record runs/jobs/x \
        --runner '.venv/bin/python -m abet' -- train cityscapes_finetune

It imports the standard library, and of abet what needs no more, so that the Python of a bare node will do.
Under submitit it is the task itself (`jobs.executors.slurm`). What the ranks of all nodes say becomes one exit code on
node 0, which alone asks the scheduler to start the job again.
"""

import argparse
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from abet.errors import AbetError, DataError
from abet.exits import (
    DONE,
    FAILED,
    INTERRUPTED,
    JOB_ID,
    PERMANENT,
    PROGRESS_FILE,
    STOPPED,
    VERDICT_FILE,
    Ending,
    reduce_exits,
)
from abet.files import read_json
from abet.text import one_line
from jobs import attempts
from jobs.cluster import Cluster, asked, requeue_by_scontrol, slurm_cluster
from jobs.copying import start_copying
from jobs.signals import listening, stop_with_parent

POLL_SECONDS: Final = 0.1
WAIT_FOR_NODES_SECONDS: Final = 90.0
"""How long node 0 waits for the others' words: a launcher ends within a minute once a rank anywhere has died, and a
network file system may show a new file half a minute late."""
TIME_IS_OVER: Final = signal.SIGALRM
"""Among the signals that were received: nobody sent it, `Task.time_limit_minutes` are over."""
Cause = Literal["done", "timeout", "preempted", "stopped", "failed", "refused"]
"""Why an attempt ended: as asked; near its time limit; asked to make room; by a signal that nobody goes on from; by a
failure that another try may cure; by one that it cannot."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a node is told."""

    name: str
    command: tuple[str, ...]
    """Arguments of ``abet``."""
    runner: tuple[str, ...]
    """What calls ``abet`` here; ``{node}`` stands for this node's name."""
    record: str
    """Folder that all nodes see: attempts, words of the nodes, progress."""
    time_limit_minutes: float = 0
    """After so long the command is stopped here; 0: a scheduler sees to that."""
    processes: int = 1
    launch: bool = True
    """Whether the processes train together, under ``abet launch``; else the command runs alone.

    Only training saves on the way: what runs alone begins anew in each attempt, and would meet the same limit again.
    """
    retries: int = 3
    grace_seconds: int = 120
    term_kills: bool = False
    """Whether the runner answers SIGTERM by killing what it runs, as srun does: SIGUSR2, which means the same to
    training, is sent in its place."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How this node's part of the attempt ended, on node 0 that of the whole job."""

    code: int
    reason: str
    again: bool = False
    """Whether the scheduler is to start the job again."""
    cause: Cause


def supervise(task: Task, cluster: Cluster, received: list[int], *, copy_to: Path | None = None) -> Outcome:
    """Run one attempt of ``task`` to its end.

    ``received`` is the growing list of stop signals of `listening`, which the caller has entered before anything else.
    With ``copy_to``, a folder, what the command prints goes there too (stdout and stderr apart); a scheduler's job
    needs none, its logs are the scheduler's.

    Raises AbetError where the record folder cannot be written: nothing is started then.
    """
    record = Path(task.record)
    try:
        attempt = attempts.begin(record, cluster, name=task.name)
    except OSError as error:
        raise AbetError(
            f"{record}: the job's record cannot be written on {cluster.node} ({error.strerror or error}), so nothing "
            "was started; every node must be able to write below `jobs:` of the site file"
        ) from None
    code, reason = _run(task, cluster, received, copy_to)
    own = attempts.Word(node=cluster.node_rank, code=code, reason=reason, signals=tuple(received), at=time.time())
    with _said_aloud():
        attempts.leave_word(record, attempt, own)
    if cluster.node_rank:
        # Node 0 speaks for all: of several exit codes srun would take the highest
        return Outcome(code=DONE, reason=reason, cause="done" if code == DONE else "failed")
    said = _words_of_all(record, attempt, own, cluster.nodes)
    now = asked(cluster) if any(word.signals for word in said) else cluster
    if attempts.is_cancelled(record):
        now = replace(now, cancelled=True)
    outcome = decide(task, now, said, attempts.read(record))
    with _said_aloud():
        attempts.end(record, attempt, outcome.code, outcome.reason, cause=outcome.cause, again=outcome.again)
    return outcome


@contextmanager
def _said_aloud() -> Iterator[None]:
    """A record that can no longer be written (a full disk) is a line in the log: the job's own end counts."""
    try:
        yield
    except OSError as error:
        print(f"abet: warning: the job's record is incomplete: {error}", file=sys.stderr, flush=True)


def _run(task: Task, cluster: Cluster, received: list[int], copy_to: Path | None) -> tuple[int, str]:
    record = Path(task.record)
    # In the record folder, which a container sees; a name of its own, since the first word in it counts
    verdict = record / f".verdict-{cluster.node_rank}-{secrets.token_hex(8)}.json"
    environment = {
        **os.environ,
        JOB_ID: cluster.job_id,
        PROGRESS_FILE: str(record / attempts.PROGRESS),
        VERDICT_FILE: str(verdict),
    }
    try:
        pipe = None if copy_to is None else subprocess.PIPE
        words = command_line(task, cluster)
        orphaned = stop_with_parent(_polite(task, signal.SIGTERM))
        # No thread runs in this process, so that the call between fork and exec is safe
        child = subprocess.Popen(words, env=environment, stdout=pipe, stderr=pipe, preexec_fn=orphaned)  # noqa: PLW1509
    except OSError as error:
        return FAILED, f"{shlex.join(task.runner)}: {error.strerror}; check `python:` or the container of the profile"
    copying = [] if copy_to is None else start_copying(child, copy_to)
    forwarded, end = 0, time.monotonic() + 60 * task.time_limit_minutes
    while child.poll() is None:
        if task.time_limit_minutes and time.monotonic() >= end:
            if TIME_IS_OVER not in received:
                received.append(TIME_IS_OVER)
            elif time.monotonic() >= end + task.grace_seconds:
                child.kill()
        for number in received[forwarded:]:
            child.send_signal(_polite(task, number))
            forwarded += 1
        time.sleep(POLL_SECONDS)
    for thread in copying:
        thread.join()
    code = _code_of(child.returncode, received)
    return code, one_line(_reason_in(verdict)) or _unspoken(child.returncode)


def _polite(task: Task, number: int) -> int:
    """What a child gets for a stop signal, so that it saves."""
    number = signal.SIGTERM if number == TIME_IS_OVER else number
    return signal.SIGUSR2 if task.term_kills and number == signal.SIGTERM else number


def _reason_in(verdict: Path) -> str:
    """What the command left as its reason; empty where it left none."""
    try:
        return str(read_json(verdict).get("reason", ""))
    except (DataError, OSError):
        return ""
    finally:
        with suppress(OSError):
            verdict.unlink(missing_ok=True)


def _code_of(returned: int, received: Sequence[int]) -> int:
    """The exit code that a child's end means: one that a stop signal ended before it could listen was stopped."""
    if returned < 0:
        return STOPPED if -returned in received and -returned != signal.SIGINT else FAILED
    return returned


def _unspoken(returned: int) -> str:
    if returned == DONE:
        return ""
    how = f"exit code {returned}" if returned >= 0 else f"signal {-returned}"
    return f"ended without a word ({how})"


def command_line(task: Task, cluster: Cluster) -> list[str]:
    """What this node starts."""
    runner = [word.replace("{node}", cluster.node) for word in task.runner]
    if not task.launch:
        return [*runner, *task.command]
    words = [*runner, "launch", "--processes", str(task.processes)]
    if cluster.nodes > 1:
        words += ["--nodes", str(cluster.nodes), "--node-rank", str(cluster.node_rank)]
        # Of this start alone: what is left of an earlier one must not join
        words += ["--rendezvous", cluster.rendezvous, "--run-id", f"{cluster.job_id}-{cluster.restarts}"]
    return [*words, "--", *task.command]


def _words_of_all(record: Path, attempt: int, own: attempts.Word, nodes: int) -> list[attempts.Word]:
    """What every node said; one that stays silent counts as lost."""
    said = {own.node: own}
    deadline = time.monotonic() + WAIT_FOR_NODES_SECONDS
    while len(said) < nodes and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        said |= {word.node: word for word in attempts.words(record, attempt, set(range(nodes)) - set(said))}
    for node in range(nodes):
        lost = attempts.Word(node=node, code=FAILED, reason=f"node {node} ended without a word", at=time.time())
        said.setdefault(node, lost)  # as the last of all: a node that knows why it failed says more
    return [said[node] for node in sorted(said)]


def decide(task: Task, cluster: Cluster, words: Sequence[attempts.Word], history: attempts.History) -> Outcome:
    """One code for all nodes, and whether the job goes on."""
    endings = [
        Ending(rank=word.node, code=word.code, reason=word.reason, follows=word.follows, at=word.at) for word in words
    ]
    code, reason = reduce_exits(endings, range(cluster.nodes))
    signals = {number for word in words for number in word.signals}
    if code in (DONE, *PERMANENT):
        return Outcome(code=code, reason=reason, cause="done" if code == DONE else "refused")
    tried = history.fruitless_attempts() + 1
    enough = tried > task.retries
    given_up = f"; given up after {tried} attempts in a row without a new checkpoint" if tried > 1 else ""
    cause = _why(task, cluster, code, signals)
    if cause == "timeout" and not task.launch:
        return Outcome(code=code, reason=f"{reason}; {_too_long(task)}", cause=cause)
    if cause == "timeout" and enough:  # saving at each limit is progress; a limit too short for a single step is not
        given_up += ": raise the time limit"
    again = cause == "preempted" or (cause in ("timeout", "failed") and not enough)
    tail = given_up if cause in ("timeout", "failed") and enough else ""
    return Outcome(code=code if cause != "failed" else FAILED, reason=reason + tail, again=again, cause=cause)


def _too_long(task: Task) -> str:
    """What to do about a command that begins anew in each attempt, and does not end within one."""
    parts = ", or begin anew in more parts (SHARDS=)" if task.command[0] in ("evaluate", "components") else ""
    return f"its time is over, and nothing of it is kept: raise the time limit (TIME_LIMIT_MINUTES=){parts}"


def _why(task: Task, cluster: Cluster, code: int, signals: Collection[int]) -> Cause:
    """Why an attempt ended that neither is done nor was refused."""
    if cluster.cancelled:
        return "stopped"
    if TIME_IS_OVER in signals:
        return "timeout"
    # What begins anew need not be able to listen: its container may end with any code
    at_limit = not task.launch and not cluster.preempted and cluster.at_time_limit(task.grace_seconds)
    if cluster.requeues and at_limit and signal.SIGUSR2 in signals:
        return "timeout"
    if code == STOPPED and cluster.requeues and (signal.SIGUSR2 in signals or cluster.preempted):
        # A job that ends within the grace of its preemption is over for SLURM unless we ask
        return "timeout" if not cluster.preempted and cluster.at_time_limit(task.grace_seconds) else "preempted"
    # SIGTERM alone: cancelled, or requeued by somebody. A failure after SIGUSR2, while saving, is one like others
    final = set(signals) - {signal.SIGUSR2} if cluster.requeues else signals
    return "stopped" if code in (STOPPED, INTERRUPTED) or final else "failed"


def main(arguments: Sequence[str] | None = None, *, requeue: Callable[[Cluster], None] = requeue_by_scontrol) -> int:
    """Entry point of ``srun python3 -m jobs.supervisor``: what slurm/*.sbatch run."""
    parser = argparse.ArgumentParser(prog="jobs.supervisor", description="Supervise one abet command on this node.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--record", required=True, help="folder for attempts and progress, seen by all nodes")
    parser.add_argument("--runner", required=True, help="what calls abet, as one line of shell")
    parser.add_argument("--processes", type=int, default=0, help="under `abet launch`; 0: the command runs alone")
    parser.add_argument("--retries", type=int, default=3)
    parser.add_argument("--grace-seconds", type=int, default=120)
    parser.add_argument("command", nargs="+", help="an abet command and its options")
    parser.add_argument("--term-kills", action="store_true", help="the runner kills at SIGTERM, as srun does")
    given = parser.parse_args(arguments)
    task = Task(
        name=given.name,
        command=tuple(given.command),
        runner=tuple(shlex.split(given.runner)),
        record=str(Path(given.record).absolute()),
        processes=max(1, given.processes),
        launch=given.processes > 0,
        retries=given.retries,
        grace_seconds=given.grace_seconds,
        term_kills=given.term_kills,
    )
    with listening() as received:  # first of all, and until the job is requeued: no stop signal is lost
        try:
            cluster = slurm_cluster()
            outcome = supervise(task, cluster, received)
        except AbetError as error:
            print(f"abet: error: {error}", file=sys.stderr, flush=True)
            return error.exit_code
        if not cluster.requeues:  # by hand, nobody would start it again
            outcome = replace(outcome, again=False)
        say(outcome, cluster)
        if outcome.again:
            try:
                requeue(cluster)
            except (OSError, subprocess.SubprocessError) as error:
                print(f"abet: error: could not be started again: {error}; submit it again", file=sys.stderr, flush=True)
    return outcome.code


def say(outcome: Outcome, cluster: Cluster) -> None:
    """One line for the log."""
    if cluster.node_rank == 0:
        then = ", starting again" if outcome.again else ""
        print(
            f"abet job {cluster.job_id}: {outcome.cause}, exit code {outcome.code}{then}", file=sys.stderr, flush=True
        )


if __name__ == "__main__":
    sys.exit(main())
