"""Whether Triton's kernels work here; without them the same is computed by more and slower operations."""

import os
from functools import cache

import torch
from torch import Tensor

from abet.models.compiling import uncompiled
from abet.progress import note


@uncompiled
def use_kernels(values: Tensor) -> bool:
    """Whether to compute on ``values`` by `abet.models.kernels`: on an NVIDIA GPU where they work.

    ``ABET_KERNELS=0`` in the environment leaves them alone.
    """
    return kernels_on(values.device)


def kernels_on(device: torch.device) -> bool:
    """The same for what lies on ``device``."""
    if device.type != "cuda" or torch.version.hip is not None or os.environ.get("ABET_KERNELS") == "0":
        return False
    return _work(device)


@cache
def _work(device: torch.device) -> bool:
    """Builds and runs each of them once; where that fails it is said, once per device.

    Raises:
        torch.OutOfMemoryError: that says nothing of the kernels.
    """
    try:
        wrong = _wrong(device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler and a driver may say
        wrong = (str(error).strip() or type(error).__name__).splitlines()[-1]
    if wrong:
        note(
            f"the head's kernels do not work on {device}, slower operations take over: {wrong}. They need Triton, a C "
            "compiler and Python's headers (g++, python3-dev), and a cache folder that programs may be run from "
            "(TRITON_CACHE_DIR)"
        )
    return not wrong


def _wrong(device: torch.device) -> str:
    """What is wrong with the results for one pixel of one channel; empty: nothing."""
    from abet.models import kernels

    first, two = torch.zeros(1, dtype=torch.int32, device=device), torch.full((1, 1, 1, 1), 2.0, device=device)
    products = kernels.neighbour_products(two)
    found = {
        "apply_taps": kernels.apply_taps(two[0], first, two[0, 0]),
        "neighbour_products": products,
        "neighbour_products_backward": kernels.neighbour_products_backward(two, products),
    }
    wanted = {"apply_taps": 4.0, "neighbour_products": 4.0, "neighbour_products_backward": 16.0}
    wrong = [f"{name} gives {value.item()}" for name, value in found.items() if value.item() != wanted[name]]
    return ", ".join(wrong)
