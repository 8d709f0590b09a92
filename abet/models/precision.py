"""Float32 that means float32, and kernels that give the same bits every time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def _settings(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Set attributes of torch's backends and put them back on leaving; they belong to the whole process."""
    before: Sequence[Any] = [getattr(backend, name) for backend, name, _ in changes]
    try:
        for backend, name, value in changes:
            setattr(backend, name, value)
        yield
    finally:
        for (backend, name, _), value in zip(changes, before, strict=True):
            setattr(backend, name, value)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Within it, autocast is off and float32 matrix products use neither TF32 nor bfloat16 passes."""
    cuda, mkldnn = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    exact = _settings((cuda, "fp32_precision", "ieee"), (mkldnn, "fp32_precision", "ieee"))
    with exact, torch.autocast(device.type, enabled=False):
        yield


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """`full_precision` for convolutions as well, by deterministic cuDNN kernels that no timing run chooses."""
    cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
    convolutions = _settings(
        (cudnn.conv, "fp32_precision", "ieee"),  # type: ignore[attr-defined]
        (mkldnn.conv, "fp32_precision", "ieee"),  # type: ignore[attr-defined]
        (cudnn, "deterministic", True),
        (cudnn, "benchmark", False),
    )
    with convolutions, full_precision(device):
        yield


def at_least_float32(values: Tensor) -> torch.dtype:
    """The type to compute in: float32 for half precision and float32, float64 for float64."""
    return torch.promote_types(values.dtype, torch.float32)
