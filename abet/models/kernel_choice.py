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
    if values.device.type != "cuda" or torch.version.hip is not None or os.environ.get("ABET_KERNELS") == "0":
        return False
    return _work(values.device)


@cache
def _work(device: torch.device) -> bool:
    """Builds and runs one of them: beside the package Triton needs a C compiler and Python's headers."""
    try:
        from abet.models.kernels import apply_taps

        first = torch.zeros(1, dtype=torch.int32, device=device)
        one = torch.ones(1, 1, device=device)
        return apply_taps(one[None], first, one).item() == 1
    except Exception as error:  # whatever a compiler and a driver may say
        text = str(error).strip() or type(error).__name__
        note(f"the head's fused kernels do not work here, slower ones are used: {text.splitlines()[-1]}")
        return False
