"""Small data sets on disk, in every tree that the readers know, with the truth beside them.

Each maker writes ``count`` pairs below ``root`` and returns ``{pair name: Sample}``. Sizes are (height, width).
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from abet.labels import CITYSCAPES, ID, IGNORE, MAPILLARY, OOD, VOID


class Sample(NamedTuple):
    """image (H, W, 3) uint8 RGB, as saved (exact for .png); label (H, W) uint8.

    Labels are ID, OOD and VOID in the OOD sets, train ids and IGNORE in the training sets.
    """

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


SEGMENT_ME = {"road_anomaly_21": ("validation{:04d}", ".jpg"), "road_obstacle_21": ("validation_{}", ".webp")}
"""How images with public labels are named, and all images end."""


def make_segment_me(root, name="road_anomaly_21", count=3, size=(48, 64), seed=0, hidden=2, suffix=None):
    """``count`` images with labels, and ``hidden`` of the test split without. Saved exactly for .png alone."""
    root, samples, (stems, usual) = Path(root), {}, SEGMENT_ME[name]
    for index in range(count):
        stem, sample = stems.format(index), make_sample(size, seed + index)
        image = f"images/{stem}{suffix or usual}"
        save(root / image, sample.image)
        save(root / f"labels_masks/{stem}_labels_semantic.png", translate(sample.label, {ID: 0, OOD: 1, VOID: 255}))
        save(root / f"labels_masks/{stem}_labels_semantic_color.png", sample.image)
        samples[image] = sample
    for index in range(hidden):
        save(root / f"images/street{index:04d}{suffix or usual}", make_sample(size, seed + count + index).image)
    return samples


def make_fishyscapes(root, count=3, size=(48, 64), seed=0, layout="published"):
    """``layout``: "published" (labels beside LostAndFound's images), "original" or "images" (two folders of copies)."""
    folders = {"original": ("original", "labels"), "images": ("images", "labels_masks")}
    root, samples = Path(root), {}
    for index in range(count):
        scene, sample = "04_Maurener_Weg_8", make_sample(size, seed + index)
        stem = f"{scene}_{index:06d}_000030"
        if layout == "published":
            image, label = f"leftImg8bit/train/{scene}/{stem}_leftImg8bit.png", "fishyscapes_lostandfound"
            save(root / f"leftImg8bit/test/{scene}/{stem}0_leftImg8bit.png", sample.image)  # none of this set
        else:
            image, label = f"{folders[layout][0]}/{index:04d}_{stem}_rgb.png", folders[layout][1]
        save(root / image, sample.image)
        save(root / label / f"{index:04d}_{stem}_labels.png", translate(sample.label, {ID: 0, OOD: 1, VOID: 255}))
        samples[image] = sample
    return samples


CITYSCAPES_IDS = dict(
    zip(range(19), (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33), strict=True)
)
"""Train id -> label id, as the authors publish it."""


def make_training_sample(num_classes, size=(48, 64), seed=0):
    """Tiles of random classes on noise, the upper left tile ignored."""
    rng = np.random.default_rng(seed)
    tiles = rng.integers(0, num_classes, (size[0] // 8, size[1] // 8), dtype=np.uint8)
    tiles[0, 0] = IGNORE
    label = np.kron(tiles, np.ones((8, 8), dtype=np.uint8))
    return Sample(rng.integers(0, 255, (*size, 3), dtype=np.uint8), label)


def mapillary_config(names=None):
    """The text of a config.json, by default with the 65 classes and the 66th row for what nobody labelled."""
    colours = {row.name: row.colour for row in MAPILLARY}
    names = [*colours, "Unlabeled"] if names is None else names
    rows = [
        {
            "color": list(colours.get(name, (0, 0, 0))),
            "instances": False,
            "readable": name,
            "name": f"group--{str(name).lower()}",
            "evaluate": name != "Unlabeled",
        }
        for name in names
    ]
    return json.dumps({"labels": rows, "version": 1.1, "mapping": "public"})


def make_mapillary(root, count=3, size=(48, 64), seed=0, version="v1.1", split="training", suffix=".jpg"):
    """``version``: "v1.1" (labels/), "v1.2" (the newer archive, which holds v2.0 too) or "v2.0" (that part alone)."""
    root, samples = Path(root), {}
    folders = {"v1.1": ("labels",), "v1.2": ("v1.2/labels", "v2.0/labels"), "v2.0": ("v2.0/labels",)}[version]
    for index in range(count):
        stem, sample = f"-{index:02d}_Vistas", make_training_sample(len(MAPILLARY), size, seed + index)
        image = f"{split}/images/{stem}{suffix}"
        save(root / image, sample.image)
        label = np.where(sample.label == IGNORE, 65, sample.label)
        for folder in folders:
            numbers = np.full_like(label, 123) if "v2.0" in folder else label
            save_palette(root / split / folder / f"{stem}.png", numbers, [row.colour for row in MAPILLARY])
        samples[image] = sample
    configs = {"labels": "config.json", "v1.2/labels": "config_v1.2.json", "v2.0/labels": "config_v2.0.json"}
    for folder in folders:
        names = [f"Class {number}" for number in range(124)] if "v2.0" in folder else None
        (root / configs[folder]).write_text(mapillary_config(names), encoding="utf-8")
    return samples


def make_cityscapes(
    root,
    count=3,
    size=(48, 64),
    seed=0,
    tree="usual",
    split="train",
    kinds=("labelIds",),
    cities=("aachen", "zurich"),
):
    """The cities in turn; split train_extra has coarse labels.

    ``tree`` is "usual" or "nvidia"; ``kinds`` are the label files written.
    """
    numbers = {"labelIds": {**CITYSCAPES_IDS, IGNORE: 0}, "labelTrainIds": {n: n for n in (*range(19), IGNORE)}}
    coarse = split == "train_extra"
    kind_of_labels = "gtCoarse" if coarse else "gtFine"
    nvidia = (
        ("leftImg8bit_trainextra/", "gtCoarse/") if coarse else ("leftImg8bit_trainvaltest/", "gtFine_trainvaltest/")
    )
    above = {"usual": ("", ""), "nvidia": nvidia}[tree]
    root, samples = Path(root), {}
    for index in range(count):
        city = cities[index % len(cities)]
        stem, sample = f"{city}_{index:06d}_000019", make_training_sample(len(CITYSCAPES), size, seed + index)
        image = f"{above[0]}leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png"
        save(root / image, sample.image)
        for kind in kinds:
            label = f"{above[1]}{kind_of_labels}/{split}/{city}/{stem}_{kind_of_labels}_{kind}.png"
            save(root / label, translate(sample.label, numbers[kind]))
        samples[image] = sample
    return samples


def translate(label, numbers):
    """(H, W) label with each meaning replaced by the number that a file uses for it."""
    return np.vectorize(numbers.__getitem__, otypes=[np.uint8])(label)


def save_palette(path, indices, colours):
    """Write (H, W) uint8 indices as a PNG with a palette, as Mapillary Vistas has its labels."""
    picture = Image.fromarray(indices)
    picture.putpalette([channel for colour in colours for channel in colour])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def save(path, array, **options):
    """Write an array as an image file, making its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path
