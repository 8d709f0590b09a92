"""Small data sets on disk, in every tree that the readers know, with the truth beside them.

Each maker writes ``count`` pairs below ``root`` and returns ``{pair name: Sample}``. Sizes are (height, width).
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from abet.labels import ID, OOD, VOID


class Sample(NamedTuple):
    """image (H, W, 3) uint8 RGB, as saved (exact for .png); label (H, W) uint8 of ID, OOD and VOID."""

    image: np.ndarray
    label: np.ndarray


def make_sample(size=(48, 64), seed=0):
    """A grey road under a noisy sky (void) with one bright box on it (OOD)."""
    rng = np.random.default_rng(seed)
    height, width = size
    label = np.full(size, ID, dtype=np.uint8)
    label[: height // 4] = VOID
    top, left = rng.integers(height // 4, height // 2), rng.integers(0, width // 2)
    label[top : top + height // 4, left : left + width // 4] = OOD
    image = rng.integers(60, 100, (height, width, 3), dtype=np.uint8)
    image[label == OOD] += 120
    return Sample(image, label)


def make_road_anomaly(root, count=3, size=(48, 64), seed=0, layout="synboost", suffix=".png"):
    """``layout``: "synboost" (original/, labels/) or "epfl" (frames/ with .labels folders and frame_list.json)."""
    root, samples = Path(root), {}
    for index in range(count):
        stem, sample = f"animal{index:02d}", make_sample(size, seed + index)
        if layout == "synboost":
            image, label, numbers = f"original/{stem}{suffix}", f"labels/{stem}.png", {ID: 0, OOD: 1, VOID: 255}
        else:
            image, label = f"frames/{stem}{suffix}", f"frames/{stem}.labels/labels_semantic.png"
            numbers = {ID: 0, OOD: 2, VOID: 255}
        save(root / image, sample.image)
        save(root / label, translate(sample.label, numbers))
        samples[image] = sample
    if layout == "epfl":
        (root / "frame_list.json").write_text(json.dumps([Path(name).name for name in samples]), encoding="utf-8")
    return samples


def make_lost_and_found(root, count=3, size=(48, 64), seed=0, split="test", kinds=("labelTrainIds", "labelIds")):
    """Two scenes in turn; ``kinds`` are the label files written (published: both, and more that are not read)."""
    numbers = {"labelTrainIds": {ID: 1, OOD: 2, VOID: 255}, "labelIds": {ID: 1, OOD: 9, VOID: 0}}
    root, samples = Path(root), {}
    for index in range(count):
        scene = ("02_Hanns_Klemm_Str_44", "04_Maurener_Weg_8")[index % 2]
        stem, sample = f"{scene}_{index:06d}_000010", make_sample(size, seed + index)
        image = f"leftImg8bit/{split}/{scene}/{stem}_leftImg8bit.png"
        save(root / image, sample.image)
        for kind in kinds:
            save(root / f"gtCoarse/{split}/{scene}/{stem}_gtCoarse_{kind}.png", translate(sample.label, numbers[kind]))
        samples[image] = sample
    return samples


def translate(label, numbers):
    """(H, W) label with each meaning replaced by the number that a file uses for it."""
    return np.vectorize(numbers.__getitem__, otypes=[np.uint8])(label)


def save(path, array, **options):
    """Write an array as an image file, making its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path
