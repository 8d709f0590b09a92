"""Mapillary Vistas (Neuhold et al., ICCV 2017): street scenes from all over the world in 65 classes.

Read are the labels of v1.1 and v1.2, which share one class table; v2.0 has other classes. ``config.json`` in the
archive names the classes in the order of their numbers and is held against that table.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

from abet.data.layout import DatasetSpec, Layout, RefusedTree, Scan
from abet.data.pairing import pair_by_stem
from abet.data.tables import ClassTable
from abet.errors import DataError
from abet.labels import MAPILLARY as CLASSES

UNLABELED: Final = "Unlabeled"
"""The 66th row of the class table: pixels that nobody labelled."""
LABELS: Final = ClassTable(
    title="Mapillary Vistas v1 labels",
    classes=CLASSES,
    train_ids={value: value for value in range(len(CLASSES))},
    ignored=frozenset({len(CLASSES)}),
)

_TAKE_V1: Final = (
    "v2.0 has 124 classes of its own, while the reference and its checkpoints use the 65 of v1.1 and v1.2: take the "
    "v1.2 labels, which the same archive holds (SPLIT/v1.2/labels and config_v1.2.json)"
)
_NO_LABELS: Final = "its labels are not published, testing/ holds images alone. Measure on validation"


class _UnverifiedError(ValueError):
    """The class table is missing or unreadable."""


def _scan(root: Path, split: str, *, labels: str, configs: tuple[str, ...]) -> Scan:
    """``labels`` is the folder of labels within the split; the first of ``configs`` that is there is checked."""
    config = next((root / name for name in configs if (root / name).is_file()), root / configs[0])
    fault = None
    try:
        _require_classes(config, _class_names(config))
    except _UnverifiedError as error:
        fault = f"{error}, so nothing tells which classes the labels have: unpack it again"
    result = pair_by_stem(root, root / split / "images", root / split / labels)
    if fault is not None:
        result.fault("class table", config, fault)
    note = f"labels read from {split}/{labels}, their classes compared with {config.name}"
    return result.scan(LABELS, notes=[note] if fault is None else [])


def _class_names(config: Path) -> list[str]:
    """The readable names in the order of their numbers. Raises _UnverifiedError where the file does not tell them."""
    try:
        content: Any = json.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _UnverifiedError("missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _UnverifiedError(f"not readable as JSON: {error}") from None
    rows = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise _UnverifiedError("holds no list of labels")
    names = [row.get("readable") if isinstance(row, dict) else None for row in rows]
    for number, name in enumerate(names):
        if not isinstance(name, str):
            raise _UnverifiedError(f"label {number} has no readable name")
    return [str(name) for name in names]


def _require_classes(config: Path, names: list[str]) -> None:
    """Raises DataError unless ``names`` are the 65 classes, in order, with or without the unlabelled 66th."""
    expected = [row.name for row in CLASSES] + [UNLABELED]
    if len(names) not in (len(CLASSES), len(expected)):
        reason = f". {_TAKE_V1}" if len(names) > len(expected) else f"; v1.1 and v1.2 have 65 and {UNLABELED!r}"
        raise DataError(f"{config}: a table of {len(names)} classes{reason}")
    pairs = zip(names, expected, strict=False)
    wrong = [(i, name, wanted) for i, (name, wanted) in enumerate(pairs) if name.casefold() != wanted.casefold()]
    if wrong:
        number, name, wanted = wrong[0]
        raise DataError(
            f"{config}: class {number} is {name!a}, in v1.1 and v1.2 it is {wanted!r} ({len(wrong)} of {len(names)} "
            "names differ): the labels have other classes; take labels and config from the published archive"
        )


MAPILLARY: Final = DatasetSpec(
    title="Mapillary Vistas",
    kind="training",
    citation="Neuhold, Ollmann, Rota Bulo, Kontschieder: The Mapillary Vistas Dataset for Semantic Understanding of "
    "Street Scenes. ICCV 2017",
    page="https://www.mapillary.com/dataset/vistas",
    downloads=("mapillary-vistas-dataset_public_v1.1.zip", "the archive of v2.0, which holds v1.2 as well"),
    licence="research edition: CC BY-NC-SA, after registration; commercial use has terms of its own: read them there",
    splits=("training", "validation"),
    default_split="training",
    published_images={"training": 18000, "validation": 2000},
    refused_splits={"testing": _NO_LABELS, "test": _NO_LABELS},
    validation_split="validation",
    published_labels=LABELS,
    layouts=(
        Layout(
            name="v1.1",
            origin="the archive of v1.1",
            tree=("config.json", "SPLIT/images/NAME.<any image suffix>", "SPLIT/labels/NAME.png"),
            folders=("{split}/images", "{split}/labels"),
            scan=partial(_scan, labels="labels", configs=("config.json", "config_v1.2.json")),
        ),
        Layout(
            name="v1.2",
            origin="v1.2 in the archive of v2.0",
            tree=("config_v1.2.json", "SPLIT/images/NAME.<any image suffix>", "SPLIT/v1.2/labels/NAME.png"),
            folders=("{split}/images", "{split}/v1.2/labels"),
            scan=partial(_scan, labels="v1.2/labels", configs=("config_v1.2.json", "config.json")),
        ),
    ),
    refused_trees=(RefusedTree(folder="{split}/v2.0/labels", reason=f"holds labels of v2.0 alone. {_TAKE_V1}"),),
)
