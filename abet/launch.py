"""Several processes on this machine that run one abet command, and one exit code for all of them. No torch import.

    abet launch --processes 4 -- train demo_finetune --output runs/finetune

torchrun returns 1 for every failure, answers SIGTERM by killing ranks that are still saving after 30 seconds, and ends
with a traceback. So a small agent around it (``python -m abet.launch``) keeps its words to itself, signals go from here
to the ranks directly, and `abet.exits` makes one code and one reason of what the ranks leave word of.
"""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from abet.cpus import available_cpus
from abet.errors import UsageError
from abet.exits import (
    DONE,
    EXIT_DIR,
    FAILED,
    INTERRUPTED,
    PARENT,
    PERMANENT,
    STOPPED,
    Ending,
    announced,
    recorded,
    reduce_exits,
    watch_parent,
)
from abet.files import read_json, write_json

POLL_SECONDS: Final = 0.1
UNMET_SECONDS: Final = 10.0
"""How long a stop signal waits for ranks that have not started: torchrun itself would wait for a lost machine."""
AGENT_WORD: Final = "agent.json"
"""What torchrun saw: {"failures": {rank: {"pid", "exit_code"}}} of the ranks that failed first, or {"error"}."""
HINTS: Final[dict[int, str]] = {
    signal.SIGKILL: ": out of memory? The kernel's log (dmesg) tells",
    signal.SIGBUS: ": shared memory full? Enlarge /dev/shm or set data.workers_per_process=0",
    signal.SIGSEGV: ": a crash in native code",
}


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What is started on this machine."""

    command: Sequence[str]
    """Arguments of ``python -m module``."""
    processes: int
    """On this machine; every machine starts as many."""
    nodes: int = 1
    node_rank: int = 0
    """This machine's number, 0 .. nodes - 1."""
    rendezvous: str | None = None
    """HOST:PORT on machine 0, reachable from all; for one machine a free port is found."""
    run_id: str = "abet"
    """Tells this job's processes from those of another one at the same rendezvous."""
    module: str = "abet"

    @property
    def ranks(self) -> range:
        """Those of this machine."""
        return range(self.node_rank * self.processes, (self.node_rank + 1) * self.processes)


def launch(job: Launch) -> tuple[int, str]:
    """Run ``job`` to its end: its exit code, and for any but 0 the reason for the user. Call it from the main thread.

    SIGTERM, SIGUSR2 and SIGINT are handed to the ranks, each as often as it comes, SIGHUP as SIGTERM. No process
    outlives this one, however it ends.

    Raises:
        UsageError: numbers that cannot be meant, no command, or a launch within a launch.
    """
    _check(job)
    with tempfile.TemporaryDirectory(prefix="abet-launch-") as name, _forwarding() as signals:
        folder = Path(name)
        agent = subprocess.Popen(
            [sys.executable, "-m", "abet.launch", json.dumps(asdict(job))],
            env=_environment(job, folder),
            start_new_session=True,  # Ctrl-C on a terminal reaches this process alone
        )
        try:
            while agent.poll() is None:
                signals.deliver(folder)
                if signals.waited_seconds > UNMET_SECONDS and not announced(folder):
                    return _unmet(signals.received, job.nodes)
                time.sleep(POLL_SECONDS)
        finally:
            agent.kill()
            agent.wait()
            _sweep(folder)
        code, reason = verdict(job, folder, agent.returncode, signals.received)
    return code, reason


def _unmet(signals: Sequence[int], nodes: int) -> tuple[int, str]:
    """Exit code and reason where no rank has begun: there is nothing to save."""
    if signal.SIGINT in signals:
        return INTERRUPTED, "interrupted"
    when = "the start" if nodes == 1 else "all machines had met"
    return STOPPED, f"stopped by {_name(signals[0])} before {when}: run the same command again"


def _check(job: Launch) -> None:
    if os.environ.get(EXIT_DIR):
        raise UsageError("abet launch runs inside a process of another abet launch: leave one of the two out")
    if not job.command or job.command[0] == "launch":
        raise UsageError("abet launch needs a command to run, for example: abet launch --processes 2 -- train RECIPE")
    if job.processes < 1 or job.nodes < 1:
        raise UsageError(f"--processes {job.processes} --nodes {job.nodes}: both are at least 1")
    if not 0 <= job.node_rank < job.nodes:
        raise UsageError(
            f"--node-rank {job.node_rank} of --nodes {job.nodes}: machines count from 0 to {job.nodes - 1}"
        )
    if job.nodes > 1:
        host, _, port = (job.rendezvous or "").rpartition(":")
        if not (host and port.isdecimal()):
            raise UsageError(
                f"--nodes {job.nodes} with --rendezvous {job.rendezvous!r}: expected HOST:PORT, an address of machine "
                "0 that all can reach, the same on each"
            )


def _environment(job: Launch, folder: Path) -> dict[str, str]:
    defaults = {
        "OMP_NUM_THREADS": str(max(1, available_cpus() // job.processes)),
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # connection chatter
    }
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        defaults["PYTHONSAFEPATH"] = "1"  # `-m` must not find other modules than this process does
    return {**defaults, **os.environ, EXIT_DIR: str(folder), PARENT: str(os.getpid())}


class _Signals:
    """Stop signals on their way to the ranks; one that comes before a rank has started waits for it."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._first = math.inf
        self._delivered: dict[int, int] = {}

    def note(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(signal.SIGTERM if number == signal.SIGHUP else number)
        self._first = min(self._first, time.monotonic())

    @property
    def waited_seconds(self) -> float:
        """Since the first signal; minus infinity without one."""
        return time.monotonic() - self._first

    def deliver(self, folder: Path) -> None:
        if not self.received:
            return
        for rank, pid in announced(folder).items():
            for number in self.received[self._delivered.get(rank, 0) :]:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
                self._delivered[rank] = self._delivered.get(rank, 0) + 1


@contextmanager
def _forwarding() -> Iterator[_Signals]:
    signals = _Signals()
    numbers = [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # not under nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, signals.note) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sweep(folder: Path) -> None:
    """End whatever ranks, or children of theirs, are still there: each rank leads a process group of its own."""
    for pid in announced(folder).values():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


# --- what it all comes to


def verdict(job: Launch, folder: Path, agent_code: int, signals: Sequence[int]) -> tuple[int, str]:
    """Exit code and reason, from the words in ``folder``, the agent's exit code and the signals that were received."""
    word = read_json(folder / AGENT_WORD) if (folder / AGENT_WORD).exists() else {}
    endings = recorded(folder)
    failures = {int(rank): failure for rank, failure in word.get("failures", {}).items()}
    endings += _unsaid(failures, endings, signals)
    heard = {ending.rank for ending in endings}
    if failures or agent_code == DONE:
        # torchrun saw every end: who neither spoke nor failed first was taken down with the others, or exited with 0
        expected = heard or set(failures)
        code, reason = reduce_exits(endings, expected) if expected else (DONE, "")
    else:
        code, reason = reduce_exits(endings, job.ranks)
        if code == FAILED and heard != set(job.ranks):
            reason = f"torchrun failed ({word.get('error') or _how(agent_code)}); {reason}"
    if code == FAILED and signal.SIGINT in signals:
        return INTERRUPTED, "interrupted"
    return code, reason


def _unsaid(
    failures: Mapping[int, Mapping[str, int]], endings: Sequence[Ending], signals: Sequence[int]
) -> Iterator[Ending]:
    """The words that ranks did not leave, from what torchrun saw of them.

    ``failures`` come in the order in which torchrun saw them. Once a rank has failed it ends the others by SIGTERM, and
    by SIGKILL after 30 seconds: those explain nothing.
    """
    heard, blamed = {ending.rank for ending in endings}, any(ending.failed for ending in endings)
    for rank in [rank for rank in failures if rank not in heard]:
        code, pid = failures[rank]["exit_code"], failures[rank]["pid"]
        if -code in signals:
            yield Ending(rank=rank, code=STOPPED, reason=f"stopped by {_name(-code)} before the start")
        elif code != -signal.SIGTERM and not (code == -signal.SIGKILL and blamed):
            reason = f"rank {rank} (pid {pid}) ended without a word ({_how(code)}){HINTS.get(-code, '')}"
            yield Ending(rank=rank, code=code if code in (*PERMANENT, STOPPED) else FAILED, reason=reason)
            blamed = True


def _how(code: int) -> str:
    """A child's exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    return f"signal {-code}, {_name(-code)}"


def _name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else "unknown"


# --- the agent: torchrun without its chatter


def agent(job: Launch) -> int:
    """Run the ranks under torchrun's elastic agent, without restarts; its words go to a file in ``$ABET_EXIT_DIR``.

    Ranks inherit standard output and error as they are. Signals mean nothing here: a scheduler that sends them to all
    processes must not make torchrun kill ranks that are saving.
    """
    folder = Path(os.environ[EXIT_DIR])
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # unlike SIG_IGN not inherited
    watch_parent()
    os.environ[PARENT] = str(os.getpid())
    with (folder / "torchrun.log").open("w") as log:
        sys.stderr = log  # Python's alone: the ranks inherit the file descriptor
        word = _run_torchrun(job, folder)
        sys.stderr = sys.__stderr__
    write_json(folder / AGENT_WORD, word)
    return FAILED if word else DONE


def _run_torchrun(job: Launch, folder: Path) -> dict[str, Any]:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    alone = job.nodes == 1
    config = LaunchConfig(
        min_nodes=job.nodes,
        max_nodes=job.nodes,
        nproc_per_node=job.processes,
        run_id=job.run_id,
        # Static: ranks follow from the machine's number, the same after every start
        rdzv_backend="c10d" if alone else "static",
        rdzv_endpoint="localhost:0" if alone else job.rendezvous or "",
        rdzv_configs={} if alone else {"rank": job.node_rank},
        local_addr="localhost" if alone else None,
        max_restarts=0,
        monitor_interval=POLL_SECONDS,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "torchrun")),
        signals_to_handle="SIGQUIT",
    )
    try:
        elastic_launch(config, sys.executable)("-u", "-m", job.module, *job.command)
    except ChildFailedError as error:
        failures = error.failures.items()
        return {"failures": {str(rank): {"pid": one.pid, "exit_code": one.exitcode} for rank, one in failures}}
    except Exception as error:  # whatever torchrun cannot do: the launcher says it in one line
        return {"error": f"{type(error).__name__}: {error}"}
    return {}


if __name__ == "__main__":
    sys.exit(agent(Launch(**json.loads(sys.argv[1]))))
