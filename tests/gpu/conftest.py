"""What runs on a GPU alone."""

import pytest
import torch

from abet.models.kernel_choice import kernels_on
from tests.conftest import unavailable


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    """The first GPU."""
    if not torch.cuda.is_available():
        unavailable("no GPU that torch can use")
    device = torch.device("cuda", 0)
    assert kernels_on(device), "what is tested here is the kernels; the line above says why there are none"
    return device
