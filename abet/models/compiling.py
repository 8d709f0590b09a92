"""How the heads meet ``torch.compile``."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

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
