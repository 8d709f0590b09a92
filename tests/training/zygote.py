"""Starts training processes within milliseconds, and kills them at chosen moments.

    python -m tests.training.zygote

Importing torch takes seconds; this process does it once and forks. It reads one JSON order per line:
{"arguments": ["train", ...], "processes": 2, "kill": [rank, event] or null, "mishap": [what, after step, rank] or null,
"nodes": 1, "env": {...}, "log": PATH}, and answers with one line: {"codes": [...], "events": [what rank 0 did]}. An
event is anything that a kill could come before: a call that changes the disk, one to S3, an optimiser step, the
beginning and the end of a commit.
"""

import errno
import faulthandler
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from abet.places import Place, S3Uri, parse_place

DEADLINE_SECONDS = 90
BLOCK_BYTES = 4000
"""Requests have shorter heads, and the small files of a run are shorter, too."""


def count_events(events: list[str], kill_at: int | None) -> None:
    """Make each event append its name first, and end the process at number ``kill_at`` as a power cut would."""

    def mark(name: str) -> None:
        if kill_at == len(events):
            os.kill(os.getpid(), signal.SIGKILL)
        events.append(name)

    def counted(owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            mark(name)
            return original(*args, **kwargs)

        setattr(owner, name, call)

    from abet.storage import S3Storage
    from abet.training.record import Record
    from abet.training.session import Session

    def commit(self: Any, *args: Any) -> None:
        mark("commit begins")
        original(self, *args)
        mark("commit ends")

    original = Session.commit
    Session.commit = commit  # type: ignore[method-assign]
    for owner, name in (
        (os, "fsync"),
        (os, "replace"),
        (os, "rename"),
        (os, "unlink"),
        (Path, "replace"),
        (Path, "rename"),
        (Path, "unlink"),
        (Path, "hardlink_to"),
        (Path, "mkdir"),
        (shutil, "rmtree"),
        (Record, "step"),
        *((S3Storage, name) for name in ("list", "read", "write", "upload", "download", "delete")),
    ):
        counted(owner, name)


def meet(what: str, step: int, run: Place) -> None:
    """Let ``what`` happen once ``step`` optimiser steps are on record: a signal's name, or one of those below."""
    from abet.training.record import Record

    original = Record.step

    def then(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if self._session.step == step:
            happen(what, run)

    Record.step = then  # type: ignore[method-assign]


def happen(what: str, run: Place) -> None:
    """In this process, now."""
    import abet.checkpoint
    from abet.site import load_site
    from abet.storage import open_storage
    from abet.training.ownership import Ownership, RemoteOwnership

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    if what == "full disk":
        abet.checkpoint.flush = full
    elif what == "take over":
        RemoteOwnership.take(open_storage(run, load_site().s3)) if isinstance(run, S3Uri) else Ownership.take(run)
    elif what == "another trainer":
        subprocess.run([sys.executable, "-m", "abet", *sys.argv[1:]], check=True)
    elif what == "take over here, and kill S3":
        (here,) = (load_site().scratch_folder / "runs").glob("*/g*")
        Ownership.take(here)
        os.kill(int(Path(os.environ["S3_PID_FILE"]).read_text()), signal.SIGKILL)
    elif what == "kill S3":
        kill_within_upload(int(Path(os.environ["S3_PID_FILE"]).read_text()))
    elif what == "kill loader":
        multiprocessing.active_children()[0].kill()
    else:
        os.kill(os.getpid(), signal.Signals[what])


def kill_within_upload(pid: int) -> None:
    """End another process when half of the next block of a file has been sent to S3."""
    from botocore.awsrequest import AWSConnection

    original = AWSConnection.send

    def send(self: Any, data: Any) -> Any:
        if not (isinstance(data, bytes | bytearray) and len(data) > BLOCK_BYTES):
            return original(self, data)
        AWSConnection.send = original
        original(self, data[: len(data) // 2])
        os.kill(pid, signal.SIGKILL)
        return original(self, data[len(data) // 2 :])

    AWSConnection.send = send


def child(order: dict[str, Any], rank: int, port: int, result: Path) -> None:
    """One rank, from fork to exit."""
    with Path(order["log"]).open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    faulthandler.register(signal.SIGQUIT, all_threads=True)
    os.environ.update(order.get("env", {}))
    if order["processes"] > 1:
        here = order["processes"] // order.get("nodes", 1)
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank % here),
            WORLD_SIZE=str(order["processes"]),
            LOCAL_WORLD_SIZE=str(here),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )
    events: list[str] = []
    kill = order.get("kill")
    count_events(events, kill[1] if kill and kill[0] == rank else None)
    arguments = order["arguments"]
    if order.get("mishap") and order["mishap"][2] == rank:
        what, step, _ = order["mishap"]
        meet(what, step, parse_place(arguments[arguments.index("--output") + 1]))
    sys.argv = ["abet", *arguments]
    from abet.cli import main

    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    if rank == 0:
        result.write_text(json.dumps(events))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def obey(order: dict[str, Any]) -> dict[str, Any]:
    """Run the processes of one order to their end; what outlives the deadline is killed and counts as -1."""
    result = Path(order["log"]).with_suffix(".events")
    result.unlink(missing_ok=True)
    port, pids = free_port(), []
    for rank in range(order["processes"]):
        pid = os.fork()
        if pid == 0:
            try:
                child(order, rank, port, result)
            except BaseException:
                import traceback

                traceback.print_exc()
                sys.stderr.flush()
            os._exit(1)
        pids.append(pid)
    codes: dict[int, int] = {}
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(codes) < len(pids) and time.monotonic() < deadline:
        for pid in set(pids) - set(codes):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    for pid in set(pids) - set(codes):
        os.kill(pid, signal.SIGQUIT)  # where it hangs goes to the log
        time.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        codes[pid] = -1
    events = json.loads(result.read_text()) if result.exists() else []
    return {"codes": [codes[pid] for pid in pids], "events": events}


def serve() -> None:
    """Import what the children need, then obey until the input ends."""
    import boto3
    import matplotlib.backends.backend_agg
    import matplotlib.figure
    import numpy.ctypeslib
    import safetensors.torch
    import torch._dynamo  # seconds, and every optimiser imports it
    import torch.utils.tensorboard
    from PIL import Image

    import abet.cli
    import abet.train

    Image.init()
    torch.set_num_threads(1)
    assert all((matplotlib.backends.backend_agg, matplotlib.figure, numpy.ctypeslib, safetensors.torch))
    assert abet.train
    assert boto3
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
