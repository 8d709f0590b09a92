"""Several processes that train one network: who is who, the few numbers they exchange, and the wrapped model.

    topology = discover("auto")
    with process_group(topology):
        network = wrap(synchronise(model, topology.device), topology)
        settle_buckets(network, lambda network: network(images).logits.sum())

Everything takes a `Topology` and does nothing for one process. What the processes exchange beside gradients and batch
statistics are tensors on the CPU through gloo, so that no agreement ever waits for a GPU.
"""

import inspect
import json
import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from abet.devices import choose_device
from abet.errors import UsageError
from abet.exits import LostPeerError

COLLECTIVE_TIMEOUT: Final = timedelta(minutes=10)
"""How long processes wait for each other: rank 0 may write gigabytes meanwhile. One that died is noticed at once."""
WAIT_SECONDS: Final = 1.0
"""How often the processes look whether those that work apart are done."""
VARIABLES: Final = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""torchrun's environment."""


@dataclass(frozen=True, kw_only=True)
class Topology:
    """This process among all."""

    rank: int = 0
    """0 .. processes - 1, over all machines."""
    processes: int = 1
    local_rank: int = 0
    """Among the processes of this machine; with CUDA the index of its GPU."""
    device: torch.device


def discover(device: str) -> Topology:
    """The topology that torchrun's environment describes; without one, rank 0 of 1.

    ``device`` is ``auto`` (CUDA when there is one), ``cpu``, ``cuda`` (the GPU of the local rank), or with one process
    ``cuda:N``.

    Raises:
        UsageError: a half-set environment, fewer GPUs than processes here, or a device that is not here.
    """
    given = [name for name in VARIABLES if os.environ.get(name)]
    # A plain start leaves all unset; MASTER_* alone may be exported for other programs
    if not {"RANK", "WORLD_SIZE", "LOCAL_RANK"}.intersection(given):
        return Topology(device=choose_device(device))
    if missing := [name for name in VARIABLES if name not in given]:
        raise UsageError(
            f"{', '.join(given)} set, but not {', '.join(missing)}: start with `abet launch --processes N -- ...`, "
            f"which sets them all, or unset {' '.join(given)} for one process"
        )
    rank, processes, local_rank = (_count(name) for name in VARIABLES[:3])
    if not (rank < processes and local_rank < processes):
        raise UsageError(
            f"RANK={rank}, LOCAL_RANK={local_rank}: ranks count from 0 to WORLD_SIZE - 1 = {processes - 1}"
        )
    chosen = choose_device(device, local_rank=local_rank, processes=processes)
    return Topology(rank=rank, processes=processes, local_rank=local_rank, device=chosen)


def _count(name: str) -> int:
    text = os.environ[name]
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name}={text!r}: expected a whole number, as torchrun sets it")
    return int(text)


@contextmanager
def process_group(topology: Topology) -> Iterator[None]:
    """While inside, the processes can talk; for one process only its GPU is chosen.

    At the end all wait for each other. After an exception nobody waits, which the others notice at their next exchange.

    Raises:
        LostPeerError: in place of whatever torch raises when another process has ended.
    """
    if topology.device.type == "cuda":
        torch.cuda.set_device(topology.device)
    if topology.processes == 1:
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if topology.device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, rank=topology.rank, world_size=topology.processes, timeout=COLLECTIVE_TIMEOUT)
        yield
        barrier(topology)
    except RuntimeError as error:
        _abandon(topology)
        if is_lost_peer(error):
            first = str(error).splitlines()[0]
            raise LostPeerError(f"rank {topology.rank}: another process has ended or fallen silent: {first}") from error
        raise
    except BaseException:
        _abandon(topology)
        raise
    else:
        dist.destroy_process_group()


def _abandon(topology: Topology) -> None:
    """Leave without the others. NCCL's ordinary farewell would wait for exchanges that nobody answers any more."""
    if not dist.is_initialized():
        return
    abort = getattr(dist.distributed_c10d, "_abort_process_group", None)
    with suppress(RuntimeError):  # what is on its way up matters more
        if topology.device.type == "cuda" and abort is not None:
            abort()
        else:
            dist.destroy_process_group()


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether torch says with ``error`` that another process ended, or did not answer in time."""
    signs = (
        *("gloo/transport", "Connection closed by peer", "Connection reset by peer", "Broken pipe"),
        *(
            "Timed out waiting",
            "remote process exited",
            "ncclRemoteError",
            "Watchdog caught collective operation timeout",
        ),
    )
    return isinstance(error, dist.DistStoreError) or any(sign in str(error) for sign in signs)


def barrier(topology: Topology) -> None:
    """Wait until every process is here, on the CPU: work that is queued on a GPU is not waited for."""
    sum_over_ranks(topology, [0])


def sum_over_ranks(topology: Topology, values: Sequence[int]) -> list[int]:
    """The sums of each value over all processes, exact in int64."""
    if topology.processes == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.int64)
    dist.all_reduce(total)
    result: list[int] = total.tolist()
    return result


def any_rank(topology: Topology, flag: bool) -> bool:
    """Whether ``flag`` is set in any process."""
    return sum_over_ranks(topology, [int(flag)])[0] > 0


def step_agreement(topology: Topology, stop: bool, valid_pixels: int) -> tuple[bool, int]:
    """Whether any process wants to stop, and the valid pixels of all: one exchange before each step."""
    stops, total = sum_over_ranks(topology, [int(stop), valid_pixels])
    return stops > 0, total


def sum_on_device(topology: Topology, value: Tensor) -> float:
    """The sum over all processes, in float64, of a tensor with one element that lies on ``topology.device``."""
    total = value.detach().double()
    if topology.processes > 1:
        dist.all_reduce(total)
    return total.item()


def from_rank_0(topology: Topology, value: Any) -> Any:
    """Rank 0's ``value`` in every process: what one alone should decide, such as where to resume.

    Anything that JSON holds; as in JSON, a tuple arrives as a list, on rank 0 too.
    """
    content = json.dumps(value).encode() if topology.rank == 0 else b""
    if topology.processes > 1:
        (size,) = sum_over_ranks(topology, [len(content)])
        buffer = torch.frombuffer(bytearray(content.ljust(size)), dtype=torch.uint8)
        dist.broadcast(buffer, src=0)
        content = buffer.numpy().tobytes()
    return json.loads(content)


def from_all_ranks(topology: Topology, value: Any) -> list[Any]:
    """Every process's ``value``, by rank, in every process. Anything that JSON holds."""
    content = json.dumps(value).encode()
    if topology.processes == 1:
        return [json.loads(content)]
    lengths = [0] * topology.processes
    lengths[topology.rank] = len(content)
    lengths = sum_over_ranks(topology, lengths)
    mine = torch.frombuffer(bytearray(content.ljust(max(lengths))), dtype=torch.uint8)
    everyone = [torch.empty_like(mine) for _ in lengths]
    dist.all_gather(everyone, mine)
    return [json.loads(each.numpy().tobytes()) for each in everyone]


def rank_0_alone(topology: Topology, work: Callable[[], None]) -> None:
    """Let rank 0 do ``work`` while the others wait; see `work_apart`."""
    work_apart(topology, work if topology.rank == 0 else None)


def work_apart(topology: Topology, work: Callable[[], None] | None) -> None:
    """Let each process do its own ``work``, or none, however long it takes: no exchange runs into its timeout.

    The work is done in a thread, so that whoever works, too, notices when another process has ended. The first failure
    ends it for all, also for those that still work.

    Raises:
        LostPeerError: the work of another process failed; says where, and with which words.
    """
    if topology.processes == 1:
        if work is not None:
            work()
        return
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded, args=(work,), name="abet-apart", daemon=True) if work else None
    if thread is not None:
        thread.start()
    while True:
        if thread is not None:
            thread.join(WAIT_SECONDS)
        at_work = thread is not None and thread.is_alive()  # asked first: who is done then has said all
        error = errors[0] if errors else None
        working, failed = sum_over_ranks(topology, [int(at_work), int(error is not None)])
        if failed:
            raise _first_failure(topology, error)
        if not working:
            return


def _first_failure(topology: Topology, error: BaseException | None) -> BaseException:
    """What to raise here when the work of some process failed: its own error, or the words of the lowest rank's."""
    told = from_all_ranks(topology, None if error is None else f"{socket.gethostname()}: {error}")
    rank, words = next((rank, words) for rank, words in enumerate(told) if words is not None)
    return error or LostPeerError(f"rank {rank} on {words}")


def wrap(model: nn.Module, topology: Topology) -> nn.Module:
    """``model`` such that backward averages gradients over the processes; itself for one process.

    The weights of rank 0 are copied to all. Buffers are not exchanged in training: `abet.models.sync_norm` keeps them
    equal; without it `copy_buffers` makes them so when they are used.
    """
    if topology.processes == 1:
        return model
    parameters = inspect.signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"  # torch < 2.13
    options: dict[str, Any] = {buffers: False, "gradient_as_bucket_view": True}
    if topology.device.type == "cuda":
        options["device_ids"] = [topology.device.index]
    return _Wrapped(model, **options)


class _Wrapped(DistributedDataParallel):
    """DistributedDataParallel that can be let go of.

    Whoever gives up the process group last waits for its threads. The group's own handle lets go of Python's lock
    while it waits; the reducer does not, and a thread that needs the lock to drop its last tensor is waited for in
    vain: a rank that had done everything hung at its end now and then.
    """

    def __del__(self) -> None:
        """Give up the reducer, and what holds it, before the handle."""
        handle = self.__dict__.get("process_group")
        for name in ("logger", "reducer"):
            self.__dict__.pop(name, None)
        del handle


def copy_buffers(model: nn.Module, topology: Topology) -> None:
    """Give every process the buffers of rank 0, which are the ones that a checkpoint holds."""
    if topology.processes > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def settle_buckets(network: nn.Module, example: Callable[[nn.Module], Tensor]) -> None:
    """One forward and backward pass for nothing, in every process, right after `wrap`: no trace of it is left.

    DistributedDataParallel sorts its gradients into new buckets after its first backward pass, and the order of the
    sums over four and more processes with them. A run that resumes at step 3 would take its first step with the first
    buckets, where the uninterrupted run took it with the final ones: 4e-9 apart. So every start gets the first
    backward pass out of the way.

    ``example(network)`` is a scalar loss that depends on every parameter, of any small batch; ``network`` is in
    training mode. Weights, buffers and random generators are as before afterwards; gradients are None.
    """
    if not isinstance(network, DistributedDataParallel):
        return
    assert network.training
    device = next(network.parameters()).device
    before = [buffer.clone() for buffer in network.buffers()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), warnings.catch_warnings():
        # Said once, of 1x1 kernels with one output channel: in channels_last their strides are a matter of taste
        warnings.filterwarnings("ignore", message="Grad strides do not match")
        torch.autograd.backward(example(network))
    network.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, value in zip(network.buffers(), before, strict=True):
            buffer.copy_(value)
