"""Float32 that means float32, and kernels that give the same bits every time."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch
from torch import Tensor


class _Region:
    """While any thread is inside, attributes of torch's backends have the values wanted.

    Attributes that have them already are left alone, on entering and on leaving. So where a broader setting comes
    before those that inherit from it, what was inherited before is inherited afterwards.
    """

    def __init__(self, *wanted: tuple[Any, str, Any]) -> None:
        self._wanted = wanted
        self._lock, self._inside, self._undo = threading.Lock(), 0, ExitStack()

    def _change(self) -> ExitStack:
        with ExitStack() as undo:
            for backend, name, value in self._wanted:
                before = getattr(backend, name)
                if before != value:
                    undo.callback(setattr, backend, name, before)
                    setattr(backend, name, value)
            return undo.pop_all()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._undo = self._change()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._undo.close()


# The settings belong to the process, and so must the count of who needs them: were every thread to restore what it saw
# on entering, the one that entered second would restore the first one's values for good.
_EXACT_PRODUCTS: Final = _Region(
    (torch.backends, "fp32_precision", "ieee"),  # inherited by all others
    (torch.backends.cudnn, "fp32_precision", "ieee"),  # inherited by everything on CUDA
    (torch.backends.cuda.matmul, "fp32_precision", "ieee"),
    (torch.backends.mkldnn.matmul, "fp32_precision", "ieee"),  # type: ignore[attr-defined]
)
_REPRODUCIBLE_CONVOLUTIONS: Final = _Region(  # only ever inside the other, which holds what they inherit
    (torch.backends.cudnn.conv, "fp32_precision", "ieee"),  # type: ignore[attr-defined]
    (torch.backends.mkldnn.conv, "fp32_precision", "ieee"),  # type: ignore[attr-defined]
    (torch.backends.cudnn, "deterministic", True),
)


class _Search:
    """Whether cuDNN times its kernels: what those inside want, in any thread. Who does not want it has its way."""

    def __init__(self) -> None:
        self._lock, self._wanted, self._before = threading.Lock(), list[bool](), False

    @contextmanager
    def set(self, wanted: bool) -> Iterator[None]:
        with self._lock:
            if not self._wanted:
                self._before = torch.backends.cudnn.benchmark
            self._wanted.append(wanted)
            torch.backends.cudnn.benchmark = all(self._wanted)
        try:
            yield
        finally:
            with self._lock:
                self._wanted.remove(wanted)
                torch.backends.cudnn.benchmark = all(self._wanted) if self._wanted else self._before


_SEARCH: Final = _Search()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Within it, autocast is off and float32 matrix products use neither TF32 nor bfloat16 passes.

    The latter holds for the whole process until the last thread has left.
    """
    with ExitStack() as inside:
        inside.enter_context(_EXACT_PRODUCTS)
        if torch.amp.is_autocast_available(device.type):  # not for the meta device
            inside.enter_context(torch.autocast(device.type, enabled=False))
        yield


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """`full_precision` for convolutions as well, by deterministic cuDNN kernels that no timing run chooses.

    A forward pass alone: the backward pass of bilinear interpolation has no deterministic kernel on CUDA.
    """
    with full_precision(device), _REPRODUCIBLE_CONVOLUTIONS, _SEARCH.set(False):
        yield


@contextmanager
def fastest_convolutions(device: torch.device) -> Iterator[None]:
    """Let cuDNN time its kernels for every new size, and keep the fastest: for training, whose crops have one size.

    Which one wins may differ from start to start, and with it the last bits. It has no effect on a CPU.
    """
    with _SEARCH.set(device.type == "cuda" or torch.backends.cudnn.benchmark):
        yield


def at_least_float32(values: Tensor) -> torch.dtype:
    """The type to compute in: float32 for half precision and float32, float64 for float64."""
    return torch.promote_types(values.dtype, torch.float32)
