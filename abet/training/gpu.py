"""What a GPU is doing, for the record of a run."""

from contextlib import suppress

import torch


def gpu_figures(device: torch.device) -> dict[str, float]:
    """Peak memory of this process since the last call in GiB, and the share of time that kernels ran just now.

    Empty on a CPU. Without NVIDIA's library (nvidia-ml-py), or where it does not answer, the share is left out.
    """
    if device.type != "cuda":
        return {}
    figures = {"gpu_memory_gib": torch.cuda.max_memory_allocated(device) / 2**30}
    torch.cuda.reset_peak_memory_stats(device)
    with suppress(Exception):  # NVIDIA's library has errors of its own kind, and none of them is worth a run
        figures["gpu_utilisation"] = torch.cuda.utilization(device) / 100
    return figures
