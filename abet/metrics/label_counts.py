"""How many pixels of an image are ID, OOD and void."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from abet.labels import ID, OOD, VOID

NO_PIXELS: Final[Mapping[str, int]] = MappingProxyType({"id": 0, "ood": 0, "void": 0})
"""To begin with."""


def add_labels(pixels: Mapping[str, int], label: NDArray[np.uint8]) -> dict[str, int]:
    """``pixels``, by ``id``, ``ood`` and ``void``, and those of one more label of any shape."""
    values = {"id": ID, "ood": OOD, "void": VOID}
    return {name: pixels[name] + int((label == value).sum()) for name, value in values.items()}
