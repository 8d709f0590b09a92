"""Data sets by name, how images and published checkpoints are named, for whoever needs no more: nothing is imported."""

import re
from typing import Final

PAPER_NAMES: Final = ("lost_and_found", "road_anomaly")
"""What the AbeT paper's code evaluates."""
OOD_NAMES: Final = (
    *PAPER_NAMES,
    "lost_and_found_no_known",
    "fishyscapes_lost_and_found",
    "fishyscapes_static",
    "road_anomaly_21",
    "road_obstacle_21",
)
"""What is evaluated."""
TRAINING_NAMES: Final = ("cityscapes", "mapillary")
"""What is learned from."""
PUBLISHED_SUFFIXES: Final = (".pth", ".pt", ".tar")
"""Of the reference's own checkpoint files."""

_PART: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d+)?/)?"
    rf"{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@[a-z0-9]+:[0-9a-f]+)?"
)


def is_registry_image(text: str) -> bool:
    """Whether ``text`` can name an image of a registry: [HOST[:PORT]/]NAME[:TAG][@DIGEST], the name in lower case."""
    return _IMAGE.fullmatch(text) is not None and not text.endswith((".sif", ".sqsh"))
