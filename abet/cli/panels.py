"""Under which heading `abet --help` lists a command."""

from typing import Final

BEGIN: Final = "Begin"
TRAIN: Final = "Train"
EVALUATE: Final = "Evaluate"
USE: Final = "Use"
KEEP: Final = "Data, weights, storage"
