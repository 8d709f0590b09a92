"""Fishyscapes (Blum et al., IJCV 2021, arXiv 1904.03215): the two sets whose labels are public, for validation.

Labels are 0 in-distribution, 1 out-of-distribution, 255 void, as in the authors' evaluation (bdlb/fishyscapes in the
repository hermannsblum/bdl-benchmark). They are published without the images: those of LostAndFound come with
LostAndFound itself, those of Static are made from Cityscapes' and an overlay, since Cityscapes may not be passed on:
here while they are read.
A label ``0000_04_Maurener_Weg_8_000000_000030_labels.png`` belongs to LostAndFound's image of the same middle part.
"""

import re
from functools import partial
from pathlib import Path
from typing import Final

from abet.data.images import is_image_name
from abet.data.layout import DatasetSpec, Definition, Layout, Scan
from abet.data.pairing import IMAGE_TOKEN, PairUp, files_in
from abet.data.tables import LabelTable

LABELS: Final = LabelTable(title="Fishyscapes labels", id=frozenset({0}), ood=frozenset({1}), void=frozenset({255}))

_LABEL_NAME: Final = re.compile(r"[0-9]+_(?P<image>.+)_labels\.png")
_TOKENS: Final = ("_labels", "_rgb", IMAGE_TOKEN)
"""How copies end the names of labels and images that belong together."""


def _key(path: Path) -> str:
    for token in _TOKENS:
        if path.stem.endswith(token):
            return path.stem.removesuffix(token)
    return path.stem


def _scan_folders(root: Path, _split: str, *, images: str, labels: str) -> Scan:
    result = PairUp(root)
    by_key = result.by_key((path for path in files_in(root / labels) if path.suffix.lower() == ".png"), _key)
    for image in files_in(root / images):
        if is_image_name(image.name):
            key = _key(image)
            label = by_key.get(key, root / labels / f"{key}.png")
            result.add(key, image, label, present=key in by_key)
    result.orphans(path for path in files_in(root / labels) if path.suffix.lower() == ".png")
    return result.scan(LABELS)


_MASKS: Final = "fishyscapes_lostandfound"
_OVERLAYS: Final = "fs_val_v3"
_VAL: Final = "leftImg8bit/val"
"""Where Cityscapes has the photographs of the overlays."""


def _photographs(folder: Path) -> dict[str, Path]:
    return {
        path.stem.removesuffix(IMAGE_TOKEN): path
        for path in files_in(folder, recursive=True)
        if is_image_name(path.name) and path.stem.endswith(IMAGE_TOKEN)
    }


def _scan_published(root: Path, _split: str) -> Scan:
    """Each of the 100 labels with its image among all of LostAndFound's; the other images are none of this set."""
    images = _photographs(root / "leftImg8bit")
    result, served = PairUp(root), set()
    for label in files_in(root / _MASKS):
        if label.suffix.lower() != ".png":
            continue
        match = _LABEL_NAME.fullmatch(label.name)
        if match is None:
            result.fault("unexpected name", label, "labels are named NUMBER_STEM_labels.png: move or rename it")
        elif match["image"] not in images:
            result.fault("label without image", label, f"expected {match['image']}{IMAGE_TOKEN} below leftImg8bit")
        elif match["image"] in served:
            result.fault("two labels for one image", label, f"{match['image']} has another one already: keep one")
        else:
            served.add(match["image"])
            result.add(match["image"], images[match["image"]], label, present=True)
    return result.scan(LABELS)


def _scan_overlays(root: Path, _split: str) -> Scan:
    """Each label with the overlay beside it and its photograph among Cityscapes'; one may serve several overlays."""
    images = _photographs(root / _VAL)
    result, used = PairUp(root), set()
    for label in files_in(root / _OVERLAYS):
        if label.suffix.lower() != ".png":
            continue
        match = _LABEL_NAME.fullmatch(label.name)
        overlay = label.with_name(label.name.replace("_labels.png", "_rgb.npz"))
        used.add(overlay)
        if match is None:
            result.fault("unexpected name", label, "labels are named NUMBER_STEM_labels.png: move or rename it")
        elif not overlay.is_file():
            result.fault("label without overlay", label, f"expected {overlay.name} beside it")
        elif match["image"] not in images:
            result.fault("overlay without photograph", label, f"expected {match['image']}{IMAGE_TOKEN} below {_VAL}")
        else:
            result.add(label.name, images[match["image"]], label, present=True, overlay=overlay)
    for path in files_in(root / _OVERLAYS):
        if path.suffix == ".npz" and path not in used:
            result.fault("overlay without label", path, "expected NUMBER_STEM_labels.png beside it")
    return result.scan(LABELS)


def _folders(images: str, labels: str, origin: str) -> Layout:
    return Layout(
        name=images,
        origin=origin,
        tree=(f"{images}/NAME.<any image suffix>", f"{labels}/NAME.png (NAME may end in _labels, images in _rgb)"),
        folders=(images, labels),
        scan=partial(_scan_folders, images=images, labels=labels),
    )


_COPIES: Final = (
    _folders("original", "labels", "two folders as in SynBoost's processed archive"),
    _folders("images", "labels_masks", "two folders as in SegmentMeIfYouCan's form"),
)
_CITATION: Final = (
    "Blum, Sarlin, Nieto, Siegwart, Cadena: The Fishyscapes Benchmark: Measuring Blind Spots in Semantic "
    "Segmentation. IJCV 2021, arXiv 1904.03215"
)
_PAGE: Final = "https://fishyscapes.com/dataset"
_HIDDEN: Final = (
    "its images and labels stay on the authors' servers, which run submitted methods there: the page says how"
)


def _definition(ood: str) -> Definition:
    return Definition(
        name="image",
        id="everything that the Cityscapes classes cover",
        ood=ood,
        void="pixels marked 255",
        source="the data set's authors",
    )


FISHYSCAPES_LOST_AND_FOUND: Final = DatasetSpec(
    title="Fishyscapes LostAndFound",
    kind="ood",
    citation=_CITATION,
    page=_PAGE,
    downloads=(
        "http://robotics.ethz.ch/~asl-datasets/Fishyscapes/fishyscapes_lostandfound.zip",
        "LostAndFound's leftImg8bit.zip",
    ),
    licence="labels under CC BY 4.0, as pytorch-ood's documentation has it, check the page; images as LostAndFound's",
    splits=("validation",),
    default_split="validation",
    published_images={"validation": 100},
    refused_splits={"test": _HIDDEN},
    layouts=(
        Layout(
            name="published",
            origin="the labels' archive beside LostAndFound's images",
            tree=(f"{_MASKS}/NUMBER_STEM_labels.png", f"leftImg8bit/.../STEM{IMAGE_TOKEN}.<any image suffix>"),
            folders=(_MASKS, "leftImg8bit"),
            scan=_scan_published,
        ),
        *_COPIES,
    ),
    definitions=(_definition("LostAndFound's hazards, labelled anew"),),
)
FISHYSCAPES_STATIC: Final = DatasetSpec(
    title="Fishyscapes Static",
    kind="ood",
    citation=_CITATION,
    page=_PAGE,
    downloads=(
        "http://robotics.ethz.ch/~asl-datasets/Fishyscapes/fs_val_v3.zip (labels and overlays)",
        "Cityscapes' leftImg8bit_trainvaltest.zip",
    ),
    licence="of labels and overlays: check the page; images as Cityscapes', which may not be passed on",
    splits=("validation",),
    default_split="validation",
    published_images={"validation": 30},
    refused_splits={"test": _HIDDEN},
    layouts=(
        Layout(
            name="published",
            origin="the archive of labels and overlays beside Cityscapes' images",
            tree=(
                f"{_OVERLAYS}/NUMBER_STEM_labels.png",
                f"{_OVERLAYS}/NUMBER_STEM_rgb.npz",
                f"{_VAL}/CITY/STEM{IMAGE_TOKEN}.<any image suffix>",
            ),
            folders=(_OVERLAYS, _VAL),
            scan=_scan_overlays,
        ),
        *_COPIES,
    ),
    definitions=(_definition("objects of PASCAL VOC, pasted into scenes of Cityscapes"),),
)
