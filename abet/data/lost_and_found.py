"""LostAndFound (Pinggera et al., IROS 2016, arXiv 1609.04653): lost cargo on roads, 2048x1024, two splits.

In-distribution is free road, out-of-distribution every hazard on it; all else is void. The published train-id PNGs
decide, as in the reference; label ids are mapped by the published table where those PNGs are absent.
"""

from pathlib import Path
from typing import Final

from abet.data.images import is_image_name
from abet.data.layout import DatasetSpec, LabelTable, Layout, PairUp, Scan, files_in

IMAGE_TOKEN: Final = "_leftImg8bit"
TRAIN_IDS: Final = LabelTable(
    title="LostAndFound train ids", id=frozenset({1}), ood=frozenset({2}), void=frozenset({0, 255})
)
LABEL_IDS: Final = LabelTable(
    title="LostAndFound label ids",
    id=frozenset({1}),
    ood=frozenset({*range(2, 31), 32, 35, *range(40, 44)}),
    void=frozenset({0, 31, 33, 34, 36, 37, 38, 39}),
)
"""Void: unlabelled (0), and what one may drive over: lying poles, post stands, timber, wheel caps, thin wood."""

_SUFFIXES: Final = {
    "labelTrainIds": ("_gtCoarse_labelTrainIds.png", TRAIN_IDS),
    "labelIds": ("_gtCoarse_labelIds.png", LABEL_IDS),
}


def _scan(root: Path, split: str) -> Scan:
    images, labels = root / "leftImg8bit" / split, root / "gtCoarse" / split
    found = {kind: _labels_by_key(labels, suffix) for kind, (suffix, _) in _SUFFIXES.items()}
    kind, other = ("labelTrainIds", "labelIds") if found["labelTrainIds"] else ("labelIds", "labelTrainIds")
    suffix, table = _SUFFIXES[kind]
    result = PairUp(root)
    for image in files_in(images, recursive=True):
        if not is_image_name(image.name):
            continue
        if not image.stem.endswith(IMAGE_TOKEN):
            result.fault("unexpected name", image, f"image names end in {IMAGE_TOKEN}: move or rename it")
            continue
        key = image.relative_to(images).with_name(image.stem.removesuffix(IMAGE_TOKEN)).as_posix()
        if key not in found[kind] and key in found[other]:
            result.fault("mixed label kinds", image, f"has {other} only, others have {kind}: use one kind for all")
            continue
        label = found[kind].get(key, labels / f"{key}{suffix}")
        result.add(key, image, label, present=key in found[kind])
    result.orphans(found[kind].values())
    return result.scan(table, notes=[f"labels read from *{suffix}"])


def _labels_by_key(folder: Path, suffix: str) -> dict[str, Path]:
    """Labels by ``<scene>/<stem>`` without the suffix."""
    return {
        path.relative_to(folder).as_posix().removesuffix(suffix): path
        for path in files_in(folder, recursive=True)
        if path.name.endswith(suffix)
    }


LOST_AND_FOUND: Final = DatasetSpec(
    title="LostAndFound",
    citation="Pinggera, Ramos, Gehrig, Franke, Rother, Mester: Lost and Found: Detecting Small Road Hazards for "
    "Self-Driving Vehicles. IROS 2016, arXiv 1609.04653",
    page="http://wwwlehre.dhbw-stuttgart.de/~sgehrig/lostAndFoundDataset/index.html",
    downloads=("leftImg8bit.zip", "gtCoarse.zip"),
    licence="non-commercial research; the page holds the terms, read them there",
    splits=("test", "train"),
    default_split="test",
    published_images={"test": 1203, "train": 1036},
    layouts=(
        Layout(
            name="cityscapes",
            origin="the two published archives, unpacked side by side",
            tree=(
                "leftImg8bit/SPLIT/SCENE/STEM_leftImg8bit.<any image suffix>",
                "gtCoarse/SPLIT/SCENE/STEM_gtCoarse_labelTrainIds.png (or _labelIds.png for all)",
            ),
            folders=("leftImg8bit/{split}", "gtCoarse/{split}"),
            scan=_scan,
        ),
    ),
)
