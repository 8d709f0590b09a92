"""Running out of memory: whichever allocator says it, one message with the image and the remedy."""

import numpy as np
import pytest
import torch

from abet.errors import DataError
from abet.memory import readable_memory_errors

HUGE = 2**60


def device_error() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.mark.parametrize(
    "fail",
    [lambda: torch.empty(HUGE, dtype=torch.uint8), lambda: np.empty(HUGE, np.uint8), device_error],
    ids=["torch on the CPU", "NumPy", "CUDA"],
)
def test_each_allocators_error_names_the_image_and_the_remedy(fail) -> None:
    said = r"photo\.png \(9x9 pixels\): not enough memory; .*smaller.*--device"
    with pytest.raises(DataError, match=said), readable_memory_errors("photo.png (9x9 pixels)"):
        fail()


def test_any_other_error_passes_unchanged() -> None:
    for error in (RuntimeError("shapes do not match"), KeyError("x")):
        with pytest.raises(type(error)) as caught, readable_memory_errors("photo.png"):
            raise error
        assert caught.value is error
