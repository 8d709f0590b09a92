"""What rank 0 does while the others wait: its errors are its own, and nobody waits for a process that is gone."""

import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from abet.distributed import Topology, barrier, discover, process_group, rank_0_alone
from abet.exits import LostPeerError

SECONDS = 20


def fail() -> None:
    raise ZeroDivisionError("rank 0's own trouble")


def error_on_rank_0(topology: Topology) -> None:
    rank_0_alone(topology, fail)
    barrier(topology)  # where the others find out


def peer_that_dies(topology: Topology) -> None:
    if topology.rank == 1:
        threading.Timer(1.5, lambda: os._exit(9)).start()
    rank_0_alone(topology, lambda: time.sleep(10 * SECONDS))


def leader_that_dies(topology: Topology) -> None:
    rank_0_alone(topology, lambda: os._exit(9))


def as_rank(rank: int, port: int, work: Callable[[Topology], None], said: Any) -> None:
    named = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in named.items()})
    topology = discover("cpu")
    try:
        with process_group(topology):
            work(topology)
    except (LostPeerError, ZeroDivisionError) as error:
        said.put((rank, type(error).__name__))


def ended(work: Callable[[Topology], None]) -> tuple[list[int | None], dict[int, str]]:
    """Exit codes of two processes (None: it still runs), and what each met."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "tests.test_rank_0_alone"])
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    said = context.Queue()
    ranks = [context.Process(target=as_rank, args=(rank, port, work, said)) for rank in range(2)]
    for process in ranks:
        process.start()
    deadline = time.monotonic() + 3 * SECONDS
    for process in ranks:
        process.join(max(0.0, deadline - time.monotonic()))
    codes = [process.exitcode for process in ranks]
    for process in ranks:
        process.kill()
    return codes, dict(said.get(timeout=5) for code in codes if code == 0)


@pytest.mark.faults
def test_an_error_of_rank_0_is_raised_there_and_the_others_lose_it() -> None:
    assert ended(error_on_rank_0) == ([0, 0], {0: "ZeroDivisionError", 1: "LostPeerError"})


@pytest.mark.faults
def test_rank_0_notices_that_another_process_died_while_it_worked_alone() -> None:
    assert ended(peer_that_dies) == ([0, 9], {0: "LostPeerError"})


def test_the_others_notice_that_rank_0_died_while_it_worked_alone() -> None:
    assert ended(leader_that_dies) == ([9, 0], {1: "LostPeerError"})
