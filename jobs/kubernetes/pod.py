"""What a pod runs (`jobs.pod`): the supervisor of SLURM's nodes, in a cluster that starts pods again by itself.

    python -m jobs.pod --name finetune --processes 8 --run s3://models/abet/finetune \\
        --need AWS_ACCESS_KEY_ID=secret/abet-s3 -- train cityscapes_finetune --output s3://models/abet/finetune

What fails (exit code 1) is started again here, in the same pod, as long as that brings new checkpoints; a stop signal
ends in 143, after saving, and the cluster starts another pod. What no retry can change ends at once with 2 or 3, and
with 124 what begins anew in each pod and has met its time limit.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from abet.errors import AbetError, UsageError
from abet.exits import DONE, PERMANENT, STOPPED
from abet.places import Place, parse_place
from abet.shard_wait import clear_failure, note_failure
from abet.site import SiteConfig, load_site
from abet.text import one_line
from jobs.cluster import Cluster
from jobs.kubernetes.environment import (
    INDEX_FAILURES,
    LAST_WORD,
    POD_NAME,
    TIMED_OUT,
    Need,
    Nodes,
    nodes_of,
    parse_need,
    require,
    shard_of,
)
from jobs.kubernetes.starts import Diary, GivenUp
from jobs.runtime import bare_runner
from jobs.spec import SHARD
from jobs.supervisor import Outcome, Task, say, supervise

SLACK_SECONDS: Final = 120
"""Between the moment when a pod's time is over and the one when a merge believes it."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """The command line of a pod."""

    name: str
    command: tuple[str, ...]
    processes: int = 0
    """Under `abet launch`; 0: the command runs alone, once."""
    retries: int = 3
    grace_seconds: int = 120
    time_limit_minutes: float = 0
    """Of all but training: after it the command is stopped, for good."""
    run: Place | None = None
    """Of training: where its starts are counted. Of a shard that a merge waits for: where its failure is noted."""
    dataset: str | None = None
    """Of such a shard."""
    shards: tuple[int, ...] = ()
    """Numbers of the shards by the index of the pod."""
    of: int = 0
    """How many shards the evaluation has."""
    needs: tuple[Need, ...] = ()


def run_pod(order: Order, received: list[int], environment: Mapping[str, str] = os.environ) -> int:
    """Run the pod's command to its end; returns the pod's exit code.

    Raises:
        AbetError: something that the pod needs is missing, or its predecessors died too often.
    """
    require(order.needs, environment)
    site = load_site()
    if order.shards:
        return _run_shard(order, site, received, environment)
    if not order.processes:  # the cluster tries again by itself
        return _code(_supervised(replace(order, retries=0), Nodes(), order.command, received, environment))
    nodes = nodes_of(environment)
    if order.run is None or nodes.rank:
        return _or_stopped(_supervised(order, nodes, order.command, received, environment).code, received)
    diary = Diary(run=order.run, site=site, pod=_pod(environment))
    with _said_aloud():
        diary.begin(retries=order.retries)
    code = _supervised(order, nodes, order.command, received, environment).code
    if _or_stopped(code, received) == code:  # else it counts as one that died
        with _said_aloud():
            diary.end(code)
    return _or_stopped(code, received)


def _code(outcome: Outcome) -> int:
    """The code for the cluster, of what begins anew in another pod."""
    return TIMED_OUT if outcome.cause == "timeout" else outcome.code


def _or_stopped(code: int, received: Sequence[int]) -> int:
    """The code for the cluster: a pod that was to make room and failed at that must not end the job for good."""
    return STOPPED if received and code not in (DONE, *PERMANENT) else code


@contextmanager
def _said_aloud() -> Iterator[None]:
    """What cannot be noted in the run (S3 does not answer) is a line in the log: the command's own end counts."""
    try:
        yield
    except GivenUp:
        raise
    except AbetError as error:
        print(f"abet: warning: {error}", file=sys.stderr, flush=True)


def _run_shard(order: Order, site: SiteConfig, received: list[int], environment: Mapping[str, str]) -> int:
    shard = shard_of(order.shards, environment)
    command = tuple(word.replace(SHARD, str(shard)) for word in order.command)
    # Each index is tried again by the cluster, on another node: not here
    once = replace(order, retries=0)
    if order.run is None or order.dataset is None:
        return _code(_supervised(once, Nodes(), command, received, environment))
    tell = partial(note_failure, order.run, order.dataset, shard, order.of, site)
    last = int(environment.get(INDEX_FAILURES) or 0) >= order.retries
    with _said_aloud():
        clear_failure(order.run, order.dataset, shard, order.of, site)
        if last:  # out of memory, say, and nobody is left to tell it
            end = time.time() + 60 * order.time_limit_minutes + order.grace_seconds + SLACK_SECONDS
            tell(code=None, reason="its last try is over, and it left no word: python -m jobs status", after=end)
    outcome = _supervised(once, Nodes(), command, received, environment)
    with _said_aloud():
        if _code(outcome) in (*PERMANENT, TIMED_OUT) or (outcome.code != DONE and last and not received):
            tell(code=_code(outcome), reason=outcome.reason)
        elif outcome.code == DONE:
            clear_failure(order.run, order.dataset, shard, order.of, site)
    return _code(outcome)


def _supervised(
    order: Order, nodes: Nodes, command: tuple[str, ...], received: list[int], environment: Mapping[str, str]
) -> Outcome:
    """The command's end, after the retries that this pod may do itself."""
    runner = bare_runner(sys.executable)
    with tempfile.TemporaryDirectory(prefix="abet-pod-") as record:
        task = Task(
            name=order.name,
            # Several pods see no common folder: to its supervisor each is alone, and only the launcher knows the others
            command=_launched(order, nodes, command) if nodes.count > 1 else command,
            runner=(*runner.prefix, *runner.abet),
            record=record,
            processes=max(1, order.processes),
            launch=order.processes > 0 and nodes.count == 1,
            retries=order.retries,
            grace_seconds=order.grace_seconds,
            time_limit_minutes=order.time_limit_minutes,
        )
        pod = Cluster(job_id=order.name, node=_pod(environment))
        while True:
            outcome = supervise(task, pod, received)
            say(outcome, pod)
            if not outcome.again:
                _leave_last_word(outcome.reason, environment)
                return outcome
            pod = replace(pod, restarts=pod.restarts + 1)


def _leave_last_word(reason: str, environment: Mapping[str, str]) -> None:
    """Tell the cluster why, for `jobs status` and `kubectl describe pod`; it takes 4096 bytes.

    Four bytes hold any character.
    """
    path = environment.get(LAST_WORD)
    if path and reason:
        with suppress(OSError):  # the exit code says the most important part
            Path(path).write_text(one_line(reason, limit=1000), encoding="utf-8")


def _launched(order: Order, nodes: Nodes, command: tuple[str, ...]) -> tuple[str, ...]:
    words = ("launch", "--processes", str(max(1, order.processes)), "--nodes", str(nodes.count))
    return (
        *words,
        "--node-rank",
        str(nodes.rank),
        "--rendezvous",
        nodes.rendezvous,
        "--run-id",
        order.name,
        "--",
        *command,
    )


def _pod(environment: Mapping[str, str]) -> str:
    return environment.get(POD_NAME) or os.uname().nodename


def _place(text: str) -> Place:
    try:
        return parse_place(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_order(arguments: Sequence[str] | None) -> Order:
    """The order on a command line. Raises UsageError, or SystemExit(2) as argparse does."""
    parser = argparse.ArgumentParser(prog="jobs.pod", description="Run one abet command in a pod.")
    parser.add_argument("--name", required=True, help="of the job")
    parser.add_argument("--processes", type=int, default=0, help="under `abet launch`; 0: the command runs alone")
    parser.add_argument(
        "--retries", type=int, default=3, help="in a row without a new checkpoint; of a shard: of its index"
    )
    parser.add_argument("--grace-seconds", type=int, default=120)
    parser.add_argument("--time-limit-minutes", type=int, default=0, help="of all but training; 0: none")
    parser.add_argument(
        "--run", type=_place, help="of training: where starts are counted; of a shard: where a merge waits"
    )
    parser.add_argument("--dataset", help="of a shard that a merge waits for")
    parser.add_argument("--shards", default="", help="numbers of the shards by the pod's index, for example 3,7/8")
    parser.add_argument("--need", action="append", default=[], help="VARIABLE=secret/NAME or VARIABLE=configmap/NAME")
    parser.add_argument("command", nargs="+", help="an abet command and its options")
    given = parser.parse_args(arguments)
    numbers, _, of = given.shards.partition("/")
    if given.shards and not (of and bool(given.run) == bool(given.dataset)):
        raise UsageError(f"--shards {given.shards}: expected NUMBERS/OF, with --run and --dataset or none of them")
    return Order(
        name=given.name,
        command=tuple(given.command),
        processes=given.processes,
        retries=given.retries,
        grace_seconds=given.grace_seconds,
        time_limit_minutes=given.time_limit_minutes,
        run=given.run,
        dataset=given.dataset,
        shards=tuple(int(number) for number in numbers.split(",") if number),
        of=int(of or 0),
        needs=tuple(map(parse_need, given.need)),
    )


def run_command_line(arguments: Sequence[str], received: list[int]) -> int:
    """The exit code of a pod with this command line. ``received``: of `listening`, entered before."""
    try:
        return run_pod(parse_order(arguments), received)
    except AbetError as error:
        print(f"abet: error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
