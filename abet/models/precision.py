"""Float32 that means float32, for the few products in which half the digits would change the score."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Within it, autocast is off and float32 matrix products use neither TF32 nor bfloat16 passes.

    The product settings belong to the process; they are put back on leaving.
    """
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def at_least_float32(values: Tensor) -> torch.dtype:
    """The type to compute in: float32 for half precision and float32, float64 for float64."""
    return torch.promote_types(values.dtype, torch.float32)
