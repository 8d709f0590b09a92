"""Which arithmetic a step uses: bfloat16 on Ampere and newer, float16 with loss scaling before, float32 on a CPU."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from abet.config import Precision
from abet.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Arithmetic:
    """The type of activations and whether gradients need scaling."""

    device: torch.device
    dtype: torch.dtype

    @property
    def autocast(self) -> Callable[[], AbstractContextManager[Any]]:
        """A context for the forward pass; the head and the loss stay in float32 by themselves."""
        enabled = self.dtype is not torch.float32
        return lambda: torch.autocast(self.device.type, dtype=self.dtype if enabled else None, enabled=enabled)

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling, which float16's short exponent needs; does nothing for the other types."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)


def choose_arithmetic(precision: Precision, device: torch.device) -> Arithmetic:
    """What ``precision`` means on ``device``.

    Raises:
        UsageError: half precision on a CPU, or bfloat16 on a GPU older than Ampere (compute capability 8).
    """
    if device.type == "cpu":
        if precision not in ("auto", "float32"):
            raise UsageError(f"training.precision {precision}: a CPU trains in float32; use auto or float32")
        return Arithmetic(device, torch.float32)
    modern = torch.cuda.get_device_capability(device)[0] >= 8
    if precision == "bfloat16" and not modern:
        name = torch.cuda.get_device_name(device)
        raise UsageError(f"training.precision bfloat16: {name} is older than Ampere; use auto, float16 or float32")
    if precision == "auto":
        precision = "bfloat16" if modern else "float16"
    return Arithmetic(device, DTYPES[precision])
