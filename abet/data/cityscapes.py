"""Cityscapes (Cordts et al., CVPR 2016, arXiv 1604.01685): scenes of 2048x1024 pixels in 19 classes.

Fine labels of 3475 scenes, coarse ones of 19998 more. Label ids are mapped here by the published table; train-id PNGs
made from them by the authors' scripts do as well.

Beside the official split there are the reference's other two folds (Zhu et al., CVPR 2019). Of the 21 cities, those of
val in alphabetical order and then those of train, fold k validates on the three from the (7 k)-th on: fold 1 on
darmstadt, dusseldorf and erfurt, fold 2 on monchengladbach, strasbourg and stuttgart. Fold 0 is the official split.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from abet.data.layout import DatasetSpec, Fault, Layout, Pair, Scan
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

_FINE: Final = {
    "labelIds": ("_gtFine_labelIds.png", LABEL_IDS),
    "labelTrainIds": ("_gtFine_labelTrainIds.png", TRAIN_IDS),
}
_COARSE: Final = {
    "labelIds": ("_gtCoarse_labelIds.png", LABEL_IDS),
    "labelTrainIds": ("_gtCoarse_labelTrainIds.png", TRAIN_IDS),
}
EXTRA: Final = "train_extra"
"""The folder, and the split, of the images with coarse labels."""
_FOLDS, _HELD_OUT, _CITIES = 3, 3, 21
_SPLITS: Final[dict[str, tuple[tuple[str, ...], int]]] = {
    "train": (("train",), 2975),
    "val": (("val",), 500),
    "trainval": (("val", "train"), 3475),
    "cv1_train": (("val", "train"), 3060),
    "cv1_val": (("val", "train"), 415),
    "cv2_train": (("val", "train"), 2820),
    "cv2_val": (("val", "train"), 655),
    EXTRA: ((EXTRA,), 19998),
}
"""The folders that each split reads, and how many images are published."""


def _folders(split: str) -> tuple[str, ...]:
    """Of a split by name, or the one that is only predicted."""
    return _SPLITS[split][0] if split in _SPLITS else (split,)


def fold_cities(val: Iterable[str], train: Iterable[str], fold: int) -> tuple[str, ...]:
    """The cities that ``fold`` (0, 1 or 2) validates on, given those of the official folders (reference behaviour)."""
    cities = [*sorted(val), *sorted(train)]
    first = fold * len(cities) // _FOLDS
    return tuple(cities[first : first + _HELD_OUT])


class _Tree(NamedTuple):
    """Where a layout keeps images and labels, the coarse ones apart."""

    images: str
    labels: str
    extra_images: str
    extra_labels: str

    def of(self, folder: str) -> tuple[str, str]:
        extra = folder == EXTRA
        pair = (self.extra_images, self.extra_labels) if extra else (self.images, self.labels)
        return f"{pair[0]}/{folder}", f"{pair[1]}/{folder}"

    def folders(self, split: str) -> tuple[str, ...]:
        return tuple(name for folder in _folders(split) for name in self.of(folder))


def _scan(root: Path, split: str, *, tree: _Tree) -> Scan:
    folders, kinds = _folders(split), _COARSE if split == EXTRA else _FINE
    scans = []
    for folder in folders:
        images, labels = tree.of(folder)
        scans.append(scan_by_token(root, root / images, root / labels, kinds))
    whole = _together(scans)
    if not split.startswith("cv"):
        return whole
    cities = {folder: _subfolders(root / tree.of(folder)[0]) for folder in folders}
    held_out = set(fold_cities(cities["val"], cities["train"], int(split[2])))
    wanted = split.endswith("_val")
    pairs = tuple(pair for pair in whole.pairs if (_city(pair) in held_out) == wanted)
    note = f"fold {split[2]} validates on {', '.join(sorted(held_out))}"
    found = sum(map(len, cities.values()))
    more = [] if found == _CITIES else [f"{found} cities, the published folders have {_CITIES}: other folds"]
    return replace(whole, pairs=pairs, notes=(*whole.notes, note, *more))


def _together(scans: Sequence[Scan]) -> Scan:
    """One scan of several folders, which must have labels of one kind."""
    first = next((scan for scan in scans if scan.pairs), scans[0])
    faults = [fault for scan in scans for fault in scan.faults]
    for scan in scans:
        if scan.pairs and scan.labels is not first.labels:
            message = f"labels are {first.labels} in one folder and {scan.labels} in the other: use one kind for both"
            faults.append(Fault(kind="mixed label kinds", file=scan.pairs[0].name, message=message))
    pairs = sorted((pair for scan in scans for pair in scan.pairs), key=lambda pair: pair.name)
    notes = dict.fromkeys(note for scan in scans if scan.pairs for note in scan.notes)
    return Scan(pairs=tuple(pairs), faults=tuple(faults), notes=tuple(notes), labels=first.labels)


def _subfolders(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _city(pair: Pair) -> str:
    return PurePosixPath(pair.name).parts[-2]


def _layout(name: str, origin: str, tree: _Tree) -> Layout:
    return Layout(
        name=name,
        origin=origin,
        tree=(
            f"{tree.images}/SPLIT/CITY/STEM_leftImg8bit.<any image suffix>",
            f"{tree.labels}/SPLIT/CITY/STEM_gtFine_labelIds.png (or _labelTrainIds.png for all)",
            f"coarse: {tree.extra_images}/{EXTRA}/CITY and {tree.extra_labels}/{EXTRA}/CITY/STEM_gtCoarse_labelIds.png",
        ),
        folders=tree.folders,
        scan=partial(_scan, tree=tree),
    )


CITYSCAPES: Final = DatasetSpec(
    title="Cityscapes",
    kind="training",
    citation="Cordts, Omran, Ramos, Rehfeld, Enzweiler, Benenson, Franke, Roth, Schiele: The Cityscapes Dataset for "
    "Semantic Urban Scene Understanding. CVPR 2016, arXiv 1604.01685",
    page="https://www.cityscapes-dataset.com/",
    downloads=(
        "leftImg8bit_trainvaltest.zip",
        "gtFine_trainvaltest.zip",
        "for train_extra leftImg8bit_trainextra.zip and gtCoarse.zip",
    ),
    licence="after registration, for non-commercial purposes; the page holds the terms, read them there",
    splits=tuple(_SPLITS),
    default_split="train",
    published_images={split: count for split, (_, count) in _SPLITS.items()},
    refused_splits={
        "test": "its labels are withheld: those in the archive are dummies (ego vehicle and border). Measure on val; "
        "`abet validate --predictions` makes the files for the authors' server",
    },
    validation_split="val",
    unlabelled_splits={"test": 1525},
    published_labels=LABEL_IDS,
    layouts=(
        _layout(
            "usual",
            "the published archives, unpacked side by side",
            _Tree("leftImg8bit", "gtFine", "leftImg8bit", "gtCoarse"),
        ),
        _layout(
            "nvidia",
            "each archive in a folder of its own, as NVIDIA's code has it",
            _Tree(
                "leftImg8bit_trainvaltest/leftImg8bit",
                "gtFine_trainvaltest/gtFine",
                "leftImg8bit_trainextra/leftImg8bit",
                "gtCoarse/gtCoarse",
            ),
        ),
    ),
)
