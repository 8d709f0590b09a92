"""The device to compute on, by name."""

import torch

from abet.errors import UsageError


def choose_device(name: str, *, local_rank: int = 0, processes: int = 1) -> torch.device:
    """``auto`` (CUDA when there is one), ``cpu``, ``cuda`` (the GPU of the local rank) or, for one process, ``cuda:N``.

    Raises:
        UsageError: an unknown name, a GPU that is not here, or fewer GPUs than processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}: use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported: use auto, cpu, cuda or cuda:N")
    if device.type == "cpu":
        return torch.device("cpu")
    numbered, gpus = ":" in name, torch.cuda.device_count()
    if numbered and processes > 1:
        raise UsageError(f"device {name!r} with {processes} processes: each takes a GPU of its own; use --device cuda")
    index = device.index if numbered else local_rank
    if index >= gpus and processes > 1:
        raise UsageError(
            f"local rank {local_rank} has no GPU: each process takes one, and this machine has {gpus}; start at most "
            "as many, or use --device cpu"
        )
    if index >= gpus:
        raise UsageError(f"device {name!r} is not here ({gpus} CUDA devices): use --device cpu")
    return torch.device("cuda", index)
