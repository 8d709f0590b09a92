"""How networks and heads meet ``torch.compile``."""

import os
import shutil
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

import torch
from torch import nn

from abet.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")


def uncompiled(function: Callable[P, T]) -> Callable[P, T]:
    """``torch.compiler.disable``, but the compiler (as slow to import as torch itself) stays out until it is used.

    A compiled network breaks its graph here once, instead of at every setting of torch's backends further down.
    """
    disabled = torch._disable_dynamo(function)  # type: ignore[attr-defined]

    @wraps(function)
    def choose(*args: P.args, **kwargs: P.kwargs) -> T:
        return (disabled if "torch._dynamo" in sys.modules else function)(*args, **kwargs)

    return choose


def compiled(model: nn.Module, *, backend: str = "inductor") -> nn.Module:
    """``model`` as a compiled network for batches of one size: another module around the same parameters and buffers.

    ``model`` itself stays as it is. Nothing is compiled before the first call. Dropout follows from torch's seed, but
    inductor drops other channels than uncompiled layers do.

    Raises:
        UsageError: there is no C++ compiler for inductor's kernels.
    """
    if backend == "inductor":
        _require_compiler()
    return cast(nn.Module, torch.compile(model, backend=backend, dynamic=False))


def _require_compiler() -> None:
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise UsageError(
            f"training.compile true: the C++ compiler {compiler} is not there; install it, name another in CXX, or set "
            "training.compile=false"
        )
