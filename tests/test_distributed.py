"""Who is who, what processes exchange, and gradients that are summed in the same order after every start."""

import copy
import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from abet.distributed import (
    Topology,
    _Wrapped,
    any_rank,
    barrier,
    copy_buffers,
    discover,
    from_rank_0,
    process_group,
    settle_buckets,
    step_agreement,
    sum_on_device,
    sum_over_ranks,
    wrap,
)
from abet.errors import UsageError
from abet.exits import LostPeerError
from abet.models.build import build_model
from abet.models.sync_norm import synchronise
from tests.conftest import small_config

ALONE = Topology(device=torch.device("cpu"))


@contextmanager
def processes(count: int) -> Iterator[Callable[..., list[Any]]]:
    """Call the result with (function, ...): ``function(topology, ...)`` in ``count`` processes.

    They are forks of one clean server that has imported torch, which takes milliseconds instead of seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "tests.test_distributed"])
    with ProcessPoolExecutor(count, mp_context=context) as pool:

        def run(function: Callable[..., Any], *arguments: Any) -> list[Any]:
            with socket.create_server(("localhost", 0)) as server:
                port = server.getsockname()[1]
            here = dict(os.environ)  # the server's own is that of its start
            ranks = [pool.submit(_as_rank, rank, count, port, here, function, arguments) for rank in range(count)]
            return [rank.result(timeout=120) for rank in ranks]

        yield run


def _as_rank(
    rank: int,
    count: int,
    port: int,
    environment: dict[str, str],
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> Any:
    torch.set_num_threads(1)
    os.environ.clear()
    os.environ.update(environment)
    named = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in named.items()})
    return function(discover("cpu"), *arguments)


def grouped(topology: Topology, function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(topology, ...)`` in a process group."""
    with process_group(topology):
        return function(topology, *arguments)


# --- who is who


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets torchrun's variables to those given, and unsets the others."""

    def put(**variables: object) -> None:
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return put


COMPLETE = {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "MASTER_ADDR": "node-1", "MASTER_PORT": 29500}


def test_a_plain_start_is_rank_0_of_1(environment: Callable[..., None]) -> None:
    environment()
    assert discover("cpu") == Topology(rank=0, processes=1, local_rank=0, device=torch.device("cpu"))
    environment(MASTER_ADDR="exported for another program")
    assert discover("cpu").processes == 1


def test_torchrun_says_rank_and_number_of_processes(environment: Callable[..., None]) -> None:
    environment(**COMPLETE)
    assert discover("cpu") == Topology(rank=5, processes=8, local_rank=1, device=torch.device("cpu"))


@pytest.mark.parametrize("absent", list(COMPLETE))
def test_a_half_set_environment_names_what_is_missing(environment: Callable[..., None], absent: str) -> None:
    environment(**{name: value for name, value in COMPLETE.items() if name != absent})
    with pytest.raises(UsageError, match=f"not {absent}: start with"):
        discover("cpu")


@pytest.mark.parametrize(
    ("change", "said"),
    [({"RANK": "x"}, "RANK='x'"), ({"RANK": 8}, "RANK=8"), ({"LOCAL_RANK": 9}, "LOCAL_RANK=9")],
)
def test_ranks_that_cannot_be_are_refused(
    environment: Callable[..., None], change: dict[str, object], said: str
) -> None:
    environment(**{**COMPLETE, **change})
    with pytest.raises(UsageError, match=said):
        discover("cpu")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_each_process_takes_the_gpu_of_its_local_rank(environment: Callable[..., None]) -> None:
    environment(**COMPLETE)
    assert discover("auto").device == discover("cuda").device == torch.device("cuda", 1)
    environment()
    assert discover("cuda").device == torch.device("cuda", 0)
    assert discover("cuda:1").device == torch.device("cuda", 1)


@pytest.mark.usefixtures("two_gpus")
def test_more_processes_than_gpus_are_refused_with_the_numbers(environment: Callable[..., None]) -> None:
    environment(**{**COMPLETE, "LOCAL_RANK": 2})
    with pytest.raises(UsageError, match=r"local rank 2 has no GPU: .* this machine has 2"):
        discover("cuda")
    with pytest.raises(UsageError, match="with 8 processes"):
        discover("cuda:1")
    environment()
    with pytest.raises(UsageError, match=r"'cuda:2' is not here \(2 CUDA devices\)"):
        discover("cuda:2")


@pytest.mark.parametrize("name", ["meta", "gpu", "cpu:x"])
def test_a_device_that_we_do_not_use_is_refused(environment: Callable[..., None], name: str) -> None:
    environment()
    with pytest.raises(UsageError, match=name):
        discover(name)


# --- what they exchange


def exchange(topology: Topology) -> dict[str, Any]:
    rank = topology.rank
    return {
        "sums": sum_over_ranks(topology, [rank, 2**53 + 1, -rank]),
        "nobody": any_rank(topology, False),
        "one": any_rank(topology, rank == topology.processes - 1),
        "agreement": step_agreement(topology, rank == 0, 10 + rank),
        "on": step_agreement(topology, False, rank),
        "mean": sum_on_device(topology, torch.tensor(0.1 * (rank + 1))),
        "told": from_rank_0(topology, {"step": 7, "note": "only rank 0 knows ü"} if rank == 0 else None),
        "barrier": barrier(topology),
    }


def test_one_process_exchanges_with_itself() -> None:
    with process_group(ALONE):
        found = exchange(ALONE)
    assert found["sums"] == [0, 2**53 + 1, 0]
    assert (found["nobody"], found["one"], found["agreement"]) == (False, True, (True, 10))
    assert found["told"] == {"step": 7, "note": "only rank 0 knows ü"}
    assert not torch.distributed.is_initialized()


def fail_on_rank_1(topology: Topology) -> str:
    """Rank 1 fails on its own; what the others get to see."""
    try:
        with process_group(topology):
            if topology.rank == 1:
                raise ZeroDivisionError("rank 1's own trouble")
            while True:
                barrier(topology)
    except (LostPeerError, ZeroDivisionError) as error:
        return f"{type(error).__name__}: {error}"


# --- gradients in the same order after every start

STEPS, RESUME_AT = 6, 3


def network_for(topology: Topology) -> tuple[nn.Module, torch.optim.SGD]:
    torch.manual_seed(0)
    network = wrap(build_model(small_config("learned")).train(), topology)
    return network, torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)


def loss_of(network: nn.Module) -> Tensor:
    return network(torch.randn(2, 3, 32, 64)).logits.square().mean()


def train(network: nn.Module, optimiser: torch.optim.SGD, topology: Topology, steps: range) -> None:
    """Data and dropout are functions of step and rank, as in the real loop."""
    for step in steps:
        torch.manual_seed(1000 * step + topology.rank)
        optimiser.zero_grad()
        loss_of(network).backward()
        optimiser.step()


def bits(network: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}


def straight_and_resumed(topology: Topology, settle: bool) -> dict[str, Any]:
    """The weights after all steps: in one go, and with a new network, optimiser and wrapping in between."""

    def start() -> tuple[nn.Module, torch.optim.SGD]:
        network, optimiser = network_for(topology)
        if settle:
            settle_buckets(network, loss_of)
        return network, optimiser

    straight, optimiser = start()
    train(straight, optimiser, topology, range(RESUME_AT))
    saved = copy.deepcopy((straight.state_dict(), optimiser.state_dict()))
    train(straight, optimiser, topology, range(RESUME_AT, STEPS))
    second, resumed = start()
    second.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    train(second, resumed, topology, range(RESUME_AT, STEPS))
    return {"straight": bits(straight), "resumed": bits(second)}


def settled_without_trace(topology: Topology) -> bool:
    torch.manual_seed(topology.rank)
    network = wrap(synchronise(build_model(small_config("learned")), topology.device).train(), topology)
    before, generator = bits(network), torch.get_rng_state()
    settle_buckets(network, loss_of)
    untouched = torch.equal(torch.get_rng_state(), generator)
    return bits(network) == before and untouched and all(weight.grad is None for weight in network.parameters())


def buffers_of_rank_0(topology: Topology) -> bool:
    """Statistics that each process gathered alone become those of rank 0."""
    network = nn.BatchNorm2d(2)
    assert network.running_mean is not None
    network.running_mean.fill_(topology.rank + 7)
    copy_buffers(network, topology)
    return bool((network.running_mean == 7).all())


@pytest.mark.faults
def test_four_processes() -> None:
    """One start for all that needs real processes: they agree, resume bit by bit, and fall together."""
    with processes(4) as run:
        agreed = run(grouped, exchange)
        traces = run(grouped, settled_without_trace)
        shared = run(grouped, buffers_of_rank_0)
        settled = run(grouped, straight_and_resumed, True)
        unsettled = run(grouped, straight_and_resumed, False)
        fallen = run(fail_on_rank_1)

    for found in agreed:
        assert found["sums"] == [6, 4 * (2**53 + 1), -6]
        assert (found["nobody"], found["one"]) == (False, True)
        assert (found["agreement"], found["on"]) == ((True, 46), (False, 6))
        assert found["mean"] == pytest.approx(1.0)
        assert found["told"] == {"step": 7, "note": "only rank 0 knows ü"}
    assert traces == shared == [True] * 4
    for rank in settled:
        assert rank["straight"] == rank["resumed"]
    # the trap is real: without settling the very same steps end elsewhere
    assert unsettled[0]["straight"] != unsettled[0]["resumed"]
    assert fallen[1] == "ZeroDivisionError: rank 1's own trouble"
    for rank in (0, 2, 3):
        assert fallen[rank].startswith(f"LostPeerError: rank {rank}: another process has ended")


def test_the_handle_of_the_process_group_is_the_last_thing_that_a_wrapper_gives_up() -> None:
    given_up = []

    class Part:
        def __init__(self, name: str) -> None:
            self.name = name

        def __del__(self) -> None:
            given_up.append(self.name)

    wrapped = _Wrapped.__new__(_Wrapped)
    wrapped.__dict__.update({name: Part(name) for name in ("process_group", "reducer", "logger")})
    del wrapped
    assert sorted(given_up) == ["logger", "process_group", "reducer"]
    assert given_up[-1] == "process_group"


def test_settling_one_process_does_nothing() -> None:
    def never(_network: nn.Module) -> Tensor:
        raise AssertionError

    settle_buckets(nn.Linear(1, 1), never)
