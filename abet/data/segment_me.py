"""SegmentMeIfYouCan (Chan et al., NeurIPS 2021, arXiv 2104.14812): RoadAnomaly21 and RoadObstacle21.

Trees, label values and the choice of images are those of the benchmark's toolkit
(road_anomaly_benchmark/datasets/tracks.py in the repository SegmentMeIfYouCan/road-anomaly-benchmark): labels are 0
in-distribution, 1 out-of-distribution, 255 void, and are public for images named ``validation*`` alone. How scores of
the others are handed in: `abet.submission`.
"""

from functools import partial
from pathlib import Path
from typing import Final

from abet.data.images import is_image_name
from abet.data.layout import DatasetSpec, Definition, Layout, Scan, SubmissionSpec
from abet.data.pairing import PairUp, files_in
from abet.data.tables import LabelTable

LABELS: Final = LabelTable(
    title="SegmentMeIfYouCan labels", id=frozenset({0}), ood=frozenset({1}), void=frozenset({255})
)
LABEL_TOKEN: Final = "_labels_semantic"
"""How label names end; ``_labels_semantic_color.png`` beside them are for the eye."""
VALIDATION: Final = "validation"
LEFT_OUT: Final = ("validation_19", *(f"validation_{number}" for number in range(21, 30)))
"""Of RoadObstacle21, what the toolkit's validation split leaves out of the 40 that it numbers."""


def _scan(root: Path, _split: str, *, left_out: tuple[str, ...]) -> Scan:
    result, skipped = PairUp(root), 0
    for image in files_in(root / "images"):
        if not is_image_name(image.name) or not image.stem.startswith(VALIDATION):
            continue
        label = root / "labels_masks" / f"{image.stem}{LABEL_TOKEN}.png"
        if left_out and image.stem.startswith(left_out):
            skipped += 1
            result.used.add(label)
        else:
            result.add(image.stem, image, label, present=label.is_file())
    every = files_in(root / "labels_masks")
    result.orphans(
        path for path in every if path.name.startswith(VALIDATION) and path.name.endswith(f"{LABEL_TOKEN}.png")
    )
    return result.scan(LABELS, notes=[f"{skipped} images that the toolkit leaves out are not read"] if skipped else [])


def _layout(folder: str, suffix: str, left_out: tuple[str, ...]) -> Layout:
    return Layout(
        name="published",
        origin=f"the published archive, which unpacks as {folder}",
        tree=(f"images/NAME.{suffix} (or any image suffix)", f"labels_masks/NAME{LABEL_TOKEN}.png"),
        folders=("images", "labels_masks"),
        scan=partial(_scan, left_out=left_out),
    )


def _spec(
    name: str,
    *,
    title: str,
    archive: str,
    licence: str,
    images: tuple[int, int],
    whole: str,
    layout: Layout,
    definition: Definition,
) -> DatasetSpec:
    """``images`` of the validation and of the test split."""
    hidden = (
        f"the labels of its {images[1]} images are hidden, the authors' server measures. `abet submission --dataset "
        f"{name}` writes the score files for it; what can be measured here is the split {VALIDATION}"
    )
    return DatasetSpec(
        title=title,
        kind="ood",
        citation="Chan, Lis, Uhlemeyer, Blum, Honari, Siegwart, Fua, Salzmann, Rottmann: SegmentMeIfYouCan: A "
        "Benchmark for Anomaly Segmentation. NeurIPS 2021 (Datasets and Benchmarks), arXiv 2104.14812",
        page="https://segmentmeifyoucan.com/datasets",
        downloads=(archive,),
        licence=licence,
        splits=(VALIDATION,),
        default_split=VALIDATION,
        published_images={VALIDATION: images[0]},
        refused_splits={"test": hidden},
        layouts=(layout,),
        definitions=(definition,),
        submission=SubmissionSpec(folder=whole, images="images", labelled=VALIDATION, published=images[1]),
    )


ROAD_ANOMALY_21: Final = _spec(
    "road_anomaly_21",
    title="RoadAnomaly21",
    archive="https://zenodo.org/record/5270237/files/dataset_AnomalyTrack.zip",
    licence="images under CC BY, CC BY-SA or in the public domain, as pytorch-ood's documentation has it; "
    "check the page",
    images=(10, 100),
    whole="AnomalyTrack-all",
    layout=_layout("dataset_AnomalyTrack", "jpg", ()),
    definition=Definition(
        name="image",
        id="what the 19 Cityscapes classes cover, in the whole image",
        ood="objects that they do not cover, wherever they are",
        void="unknown objects in the background and gaps within objects",
        source="the data set's authors",
    ),
)
ROAD_OBSTACLE_21: Final = _spec(
    "road_obstacle_21",
    title="RoadObstacle21",
    archive="https://zenodo.org/record/5281633/files/dataset_ObstacleTrack.zip",
    licence="CC BY 4.0, as pytorch-ood's documentation has it; check the page",
    images=(30, 412),
    whole="ObstacleTrack-all",
    layout=_layout("dataset_ObstacleTrack", "webp", LEFT_OUT),
    definition=Definition(
        name="road",
        id="the drivable road",
        ood="any object on it, known or unknown",
        void="everything beside the road and gaps within objects",
        source="the data set's authors",
    ),
)
