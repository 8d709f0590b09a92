"""RoadAnomaly (Lis et al., ICCV 2019, arXiv 1904.07595): 60 web images of animals, rocks and cargo on roads.

Two trees are in use: SynBoost's processed archive, which the AbeT paper evaluates, and EPFL's original.
"""

import json
from pathlib import Path, PurePosixPath
from typing import Final

from abet.data.images import is_image_name
from abet.data.layout import DatasetSpec, Definition, Layout, Scan
from abet.data.pairing import PairUp, files_in, is_utf8, pair_by_stem
from abet.data.tables import LabelTable
from abet.text import counted

SYNBOOST_LABELS: Final = LabelTable(
    title="SynBoost's RoadAnomaly labels", id=frozenset({0}), ood=frozenset({1}), void=frozenset({255})
)
EPFL_LABELS: Final = LabelTable(
    title="EPFL's RoadAnomaly labels", id=frozenset({0, 1}), ood=frozenset({2}), void=frozenset({255})
)
"""0 is background and 1 road where it was drawn; both are in-distribution."""


def _scan_synboost(root: Path, _split: str) -> Scan:
    return pair_by_stem(root, root / "original", root / "labels").scan(SYNBOOST_LABELS)


def _scan_epfl(root: Path, _split: str) -> Scan:
    frames = root / "frames"
    result = PairUp(root)
    stems = set()
    for image in files_in(frames):
        if is_image_name(image.name):
            stems.add(image.stem)
            label = frames / f"{image.stem}.labels" / "labels_semantic.png"
            result.add(image.stem, image, label, present=label.is_file())
    every_file = files_in(frames, recursive=True)  # siblings such as labels_semantic_color.png are not labels
    result.orphans(path for path in every_file if path.name == "labels_semantic.png")
    notes = _compare_with_list(root, stems, result)
    return result.scan(EPFL_LABELS, notes=notes)


def _compare_with_list(root: Path, stems: set[str], result: PairUp) -> list[str]:
    """Hold the frames against EPFL's own list, by stem, since frames may have been converted to another format."""
    path = root / "frame_list.json"
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        result.fault("frame list", path, f"not a JSON list of file names: {error}")
        return []
    if not isinstance(content, list):
        result.fault("frame list", path, f"not a JSON list of file names: {type(content).__name__}")
        return []
    listed = [name for name in content if _is_frame_name(name)]
    for name in content:
        if not _is_frame_name(name):
            result.fault("frame list", path, f"{name!a} is no file name: names are relative paths in UTF-8")
    for name in sorted(listed):
        if Path(name).stem not in stems:
            result.fault("listed but missing", root / "frames" / name, "named in frame_list.json: half unpacked?")
    extra = stems - {Path(name).stem for name in listed}
    return (
        [f"{counted(len(extra), 'image is', 'images are')} not in frame_list.json, e.g. {min(extra)}: read as well"]
        if extra
        else []
    )


def _is_frame_name(name: object) -> bool:
    return isinstance(name, str) and is_utf8(name) and not PurePosixPath(name).is_absolute()


ROAD_ANOMALY: Final = DatasetSpec(
    title="RoadAnomaly",
    kind="ood",
    citation="Lis, Nakka, Fua, Salzmann: Detecting the Unexpected via Image Resynthesis. ICCV 2019, arXiv 1904.07595",
    page="https://www.epfl.ch/labs/cvlab/data/road-anomaly/",
    downloads=(
        "http://robotics.ethz.ch/~asl-datasets/Dissimilarity/data_processed.tar",
        "https://www.epfl.ch/labs/cvlab/data/road-anomaly/",
    ),
    licence="images for research purposes, owned by third parties (see credits.txt in EPFL's archive); check the page",
    splits=("test",),
    default_split="test",
    published_images={"test": 60},
    layouts=(
        Layout(
            name="synboost",
            origin="SynBoost's processed archive",
            tree=("original/NAME.<any image suffix>", "labels/NAME.png"),
            folders=("original", "labels"),
            scan=_scan_synboost,
        ),
        Layout(
            name="epfl",
            origin="EPFL's archive",
            tree=("frames/NAME.<any image suffix>", "frames/NAME.labels/labels_semantic.png"),
            folders=("frames",),
            scan=_scan_epfl,
        ),
    ),
    definitions=(
        Definition(
            name="image",
            id="everything but the anomalies",
            ood="animals, rocks, cones, cargo",
            void="pixels marked 255",
            source="the data set's authors and the AbeT paper's code",
        ),
    ),
)
