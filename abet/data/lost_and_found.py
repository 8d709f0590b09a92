"""LostAndFound (Pinggera et al., IROS 2016, arXiv 1609.04653): lost cargo on roads, 2048x1024, two splits.

In-distribution is free road, out-of-distribution every hazard on it; all else is void. The published train-id PNGs
decide, as in the reference; label ids are mapped by the published table where those PNGs are absent. The other
definitions need the label ids: the train ids do not tell what may be driven over from what nobody labelled.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from abet.data.layout import DatasetSpec, Definition, Layout, Scan
from abet.data.pairing import scan_by_token
from abet.data.tables import LabelTable

TRAIN_IDS: Final = LabelTable(
    title="LostAndFound train ids", id=frozenset({1}), ood=frozenset({2}), void=frozenset({0, 255})
)
HAZARDS: Final = frozenset({*range(2, 31), 32, 35, *range(40, 44)})
HARMLESS: Final = frozenset({31, 33, 34, 36, 37, 38, 39})
"""What one may drive over: lying poles, post stands, timber, wheel caps, thin wood."""
LABEL_IDS: Final = LabelTable(
    title="LostAndFound label ids", id=frozenset({1}), ood=HAZARDS, void=frozenset({0}) | HARMLESS
)
"""Void: unlabelled (0), and what one may drive over."""
ALL_OBJECTS: Final = LabelTable(
    title="LostAndFound label ids, every object OOD",
    id=frozenset({1}),
    ood=HAZARDS | HARMLESS,
    void=frozenset({0}),
)
IMAGE: Final = LabelTable(title="LostAndFound label ids, whole image", id=frozenset({0, 1}), ood=HAZARDS, void=HARMLESS)
IMAGE_ALL_OBJECTS: Final = LabelTable(
    title="LostAndFound label ids, whole image, every object OOD",
    id=frozenset({0, 1}),
    ood=HAZARDS | HARMLESS,
    void=frozenset(),
)

LABEL_ID_SUFFIX: Final = "_gtCoarse_labelIds.png"
_TRAIN_ID_SUFFIX: Final = "_gtCoarse_labelTrainIds.png"

Kinds = Mapping[str, tuple[str, LabelTable]]
"""As `scan_by_token` takes them."""
Scanner = Callable[[Path, str], Scan]


def by_label_ids(table: LabelTable) -> Kinds:
    """The label-id PNGs alone, read by ``table``."""
    return {"labelIds": (LABEL_ID_SUFFIX, table)}


def scan(root: Path, split: str, *, kinds: Kinds) -> Scan:
    """Every image of a split with its label; see `Layout.scan`."""
    return scan_by_token(root, root / "leftImg8bit" / split, root / "gtCoarse" / split, kinds)


def layout(scanner: Scanner, labels: str) -> Layout:
    """The published tree, read by ``scanner`` from files named as ``labels`` says."""
    return Layout(
        name="cityscapes",
        origin="the two published archives, unpacked side by side",
        tree=(
            "leftImg8bit/SPLIT/SCENE/STEM_leftImg8bit.<any image suffix>",
            f"gtCoarse/SPLIT/SCENE/STEM_gtCoarse_{labels}",
        ),
        folders=("leftImg8bit/{split}", "gtCoarse/{split}"),
        scan=scanner,
    )


ROAD: Final = Definition(
    name="road",
    id="free road",
    ood="hazards on the road",
    void="everything else, objects that one may drive over among it",
    source="the data set's authors and the AbeT paper's code",
)
ROAD_ALL_OBJECTS: Final = Definition(
    name="road_all_objects",
    id="free road",
    ood="every labelled object, also those that one may drive over",
    void="everything else",
    source="SegmentMeIfYouCan's toolkit",
)
WHOLE: Final = Definition(
    name="image",
    id="everything but labelled objects (ego vehicle and image border too: the labels do not tell them)",
    ood="hazards on the road",
    void="objects that one may drive over",
    source="abet, for comparison with sets that count the whole image",
)
WHOLE_ALL_OBJECTS: Final = Definition(
    name="image_all_objects",
    id="everything but labelled objects (ego vehicle and image border too: the labels do not tell them)",
    ood="every labelled object, also those that one may drive over",
    void="nothing",
    source="abet, for comparison with sets that count the whole image",
)
BY_LABEL_IDS: Final = (
    (ROAD, LABEL_IDS),
    (ROAD_ALL_OBJECTS, ALL_OBJECTS),
    (WHOLE, IMAGE),
    (WHOLE_ALL_OBJECTS, IMAGE_ALL_OBJECTS),
)
"""Every definition with the table that it reads label ids by."""

_DEFAULT: Final[Kinds] = {"labelTrainIds": (_TRAIN_ID_SUFFIX, TRAIN_IDS), **by_label_ids(LABEL_IDS)}


def by_definition(definition: Definition, table: LabelTable, scanner: Callable[..., Scan] = scan) -> Definition:
    """The definition with the tree that it is read from: the label ids, by ``table``."""
    tree = layout(partial(scanner, kinds=by_label_ids(table)), "labelIds.png")
    return replace(definition, layouts=(tree,))


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
    layouts=(layout(partial(scan, kinds=_DEFAULT), "labelTrainIds.png (or _labelIds.png for all)"),),
    definitions=(ROAD, *(by_definition(*row) for row in BY_LABEL_IDS[1:])),
)
