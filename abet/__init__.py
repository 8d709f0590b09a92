"""abet: train, evaluate and operate AbeT, a pixel-level out-of-distribution detector for road scenes.

import abet
detector = abet.load("weights/abet-cityscapes")
heat = detector.score("street.jpg")          # (H, W) float32, higher = more out-of-distribution
"""

from pathlib import Path
from typing import TYPE_CHECKING

from abet.version import __version__

if TYPE_CHECKING:
    from abet.detector import Detector

__all__ = ["__version__", "load"]


def load(checkpoint: str | Path, *, device: str = "auto", model: str = "cityscapes_finetune") -> "Detector":
    """A detector from a checkpoint folder, a training run or a published ``.pth`` file.

    Args:
        checkpoint: folder made by ``abet checkpoint import``, run of ``abet train``, or a reference ``.pth``; or the
            ``s3://`` URI of one, of which a verified copy is kept on this machine.
        device: ``auto`` (CUDA when there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        model: recipe with the trunk's widths and depths; only a ``.pth``, which does not say, needs it.

    Raises:
        CheckpointError: missing, damaged, hostile or not a whole segmentation network.
        UsageError: unknown device or recipe, or S3 refuses.
    """
    from abet.detector import load_place
    from abet.places import parse_place
    from abet.site import load_site

    return load_place(parse_place(str(checkpoint)), load_site(), device=device, model=model)
