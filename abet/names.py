"""The data sets by name, for whoever needs no more: nothing else is imported."""

from typing import Final

OOD_NAMES: Final = ("lost_and_found", "road_anomaly")
"""What is evaluated."""
TRAINING_NAMES: Final = ("cityscapes", "mapillary")
"""What is learned from."""
