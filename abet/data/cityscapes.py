"""Cityscapes (Cordts et al., CVPR 2016, arXiv 1604.01685): fine labels of 3475 scenes, 2048x1024, in 19 classes.

Label ids are mapped here by the published table; train-id PNGs made from them by the authors' scripts do as well.
"""

from functools import partial
from pathlib import Path
from typing import Final

from abet.data.layout import DatasetSpec, Layout, Scan
from abet.data.pairing import scan_by_token
from abet.data.tables import ClassTable
from abet.labels import CITYSCAPES as CLASSES
from abet.labels import IGNORE

_EVALUATED_IDS: Final = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Label ids of the 19 classes, in the order of their train ids."""
LABEL_IDS: Final = ClassTable(
    title="Cityscapes label ids",
    classes=CLASSES,
    train_ids={value: train_id for train_id, value in enumerate(_EVALUATED_IDS)},
    ignored=frozenset(range(34)).difference(_EVALUATED_IDS),
)
"""The table's -1, license plate, is never drawn: such pixels carry the id of the vehicle."""
TRAIN_IDS: Final = ClassTable(
    title="Cityscapes train ids",
    classes=CLASSES,
    train_ids={value: value for value in range(len(CLASSES))},
    ignored=frozenset({IGNORE}),
)

_KINDS: Final = {
    "labelIds": ("_gtFine_labelIds.png", LABEL_IDS),
    "labelTrainIds": ("_gtFine_labelTrainIds.png", TRAIN_IDS),
}


def _scan(root: Path, split: str, *, images: str, labels: str) -> Scan:
    return scan_by_token(root, root / images / split, root / labels / split, _KINDS)


def _layout(name: str, origin: str, images: str, labels: str) -> Layout:
    return Layout(
        name=name,
        origin=origin,
        tree=(
            f"{images}/SPLIT/CITY/STEM_leftImg8bit.<any image suffix>",
            f"{labels}/SPLIT/CITY/STEM_gtFine_labelIds.png (or _labelTrainIds.png for all)",
        ),
        folders=(f"{images}/{{split}}", f"{labels}/{{split}}"),
        scan=partial(_scan, images=images, labels=labels),
    )


CITYSCAPES: Final = DatasetSpec(
    title="Cityscapes",
    kind="training",
    citation="Cordts, Omran, Ramos, Rehfeld, Enzweiler, Benenson, Franke, Roth, Schiele: The Cityscapes Dataset for "
    "Semantic Urban Scene Understanding. CVPR 2016, arXiv 1604.01685",
    page="https://www.cityscapes-dataset.com/",
    downloads=("leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip"),
    licence="after registration, for non-commercial purposes; the page holds the terms, read them there",
    splits=("train", "val"),
    default_split="train",
    published_images={"train": 2975, "val": 500},
    refused_splits={
        "test": "its labels are withheld: those in the archive are dummies (ego vehicle and border). Measure on val; "
        "`abet validate --predictions` makes the files for the authors' server",
        "train_extra": "it has coarse labels alone, which are not read",
    },
    validation_split="val",
    unlabelled_splits={"test": 1525},
    published_labels=LABEL_IDS,
    layouts=(
        _layout("usual", "the two published archives, unpacked side by side", "leftImg8bit", "gtFine"),
        _layout(
            "nvidia",
            "each archive in a folder of its own, as NVIDIA's code has it",
            "leftImg8bit_trainvaltest/leftImg8bit",
            "gtFine_trainvaltest/gtFine",
        ),
    ),
)
