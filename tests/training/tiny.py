"""A training job of seconds: a network of a few thousand parameters on a handful of small scenes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from abet.config import load_recipe
from tests.trees import make_cityscapes

CHANGES: Mapping[str, Mapping[str, Any]] = {
    "model": {
        "aspp_channels": 4,
        "aspp_rates": [1, 2, 3],
        "skip_channels": 4,
        "decoder_channels": 8,
        "trunk": {
            "kind": "wider_resnet",
            "stem_channels": 4,
            "channels": [[4, 4], [8, 8], [8, 8], [8, 8], [4, 8, 8], [4, 8, 8]],
            "blocks": [1, 1, 1, 1, 1, 1],
            "dropout": [0, 0, 0, 0, 0.3, 0.5],
        },
    },
    "sampling": {"class_uniform_share": 0},
    "loss": {"kind": "cross_entropy"},
    "augmentation": {"crop_height": 32, "crop_width": 48},
    "batch": {"global_batch": 4, "batch_per_gpu": 4},
    "optimiser": {"learning_rate": 0.1, "poly_exponent": 1.0},
    "training": {"steps": 6, "log_every_steps": 1, "validate_every_steps": 3, "checkpoint_every_steps": 2},
}


def tiny_recipe(path: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
    """Write the tiny recipe, with further values by section, as a YAML file."""
    values = load_recipe("demo_finetune").model_dump(mode="json")
    for more in (CHANGES, changes or {}):
        for section, pairs in more.items():
            values[section] = dict(pairs) if "kind" in pairs else values[section] | dict(pairs)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def tiny_data(root: Path, *, count: int = 10) -> Path:
    """Cityscapes-like images of 48x64 pixels: ``count`` to train on, three to validate on."""
    make_cityscapes(root, split="train", count=count, size=(48, 64))
    make_cityscapes(root, split="val", count=3, size=(48, 64), seed=100)
    return root
