"""LostAndFound (Pinggera et al., IROS 2016, arXiv 1609.04653): lost cargo on roads, 2048x1024, two splits.

In-distribution is free road, out-of-distribution every hazard on it; all else is void. The published train-id PNGs
decide, as in the reference; label ids are mapped by the published table where those PNGs are absent.
"""

from pathlib import Path
from typing import Final

from abet.data.layout import DatasetSpec, Layout, Scan
from abet.data.pairing import scan_by_token
from abet.data.tables import LabelTable

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

_KINDS: Final = {
    "labelTrainIds": ("_gtCoarse_labelTrainIds.png", TRAIN_IDS),
    "labelIds": ("_gtCoarse_labelIds.png", LABEL_IDS),
}


def _scan(root: Path, split: str) -> Scan:
    return scan_by_token(root, root / "leftImg8bit" / split, root / "gtCoarse" / split, _KINDS)


LOST_AND_FOUND: Final = DatasetSpec(
    title="LostAndFound",
    kind="ood",
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
