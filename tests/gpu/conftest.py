"""What runs on a GPU alone."""

import pytest
import torch

from tests.conftest import unavailable


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    """The first GPU."""
    if not torch.cuda.is_available():
        unavailable("no GPU that torch can use")
    return torch.device("cuda", 0)
