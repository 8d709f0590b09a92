"""Running out of memory, said in terms of what was too large."""

from collections.abc import Iterator
from contextlib import contextmanager

from abet.errors import DataError

_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")
"""How the allocators of CUDA, cuDNN, cuBLAS and the CPU say it, all as a plain RuntimeError."""


@contextmanager
def readable_memory_errors(
    what: str, *, remedy: str = "make the image smaller or choose another --device"
) -> Iterator[None]:
    """Errors of this kind in the block become a DataError that names ``what`` (an image, with its size) and the remedy.

    Raises:
        DataError: memory ran out, on the device or on the host. Any other error passes unchanged.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise DataError(f"{what}: not enough memory; {remedy}") from None


def _is_out_of_memory(error: Exception) -> bool:
    import torch  # here, where something has failed already: the module stays light

    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in text for word in _WORDS)
