"""The data sets by name, and which split and which definition of OOD a call means. No file is looked at."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from abet.data.cityscapes import CITYSCAPES
from abet.data.fishyscapes import FISHYSCAPES_LOST_AND_FOUND, FISHYSCAPES_STATIC
from abet.data.layout import DatasetSpec, Definition
from abet.data.lost_and_found import LOST_AND_FOUND
from abet.data.mapillary import MAPILLARY
from abet.data.no_known import LOST_AND_FOUND_NO_KNOWN
from abet.data.road_anomaly import ROAD_ANOMALY
from abet.data.segment_me import ROAD_ANOMALY_21, ROAD_OBSTACLE_21
from abet.errors import UsageError, unknown_name
from abet.names import OOD_NAMES, TRAINING_NAMES

_OOD_SPECS: Final = (
    LOST_AND_FOUND,
    ROAD_ANOMALY,
    LOST_AND_FOUND_NO_KNOWN,
    FISHYSCAPES_LOST_AND_FOUND,
    FISHYSCAPES_STATIC,
    ROAD_ANOMALY_21,
    ROAD_OBSTACLE_21,
)
OOD_SETS: Final[Mapping[str, DatasetSpec]] = MappingProxyType(dict(zip(OOD_NAMES, _OOD_SPECS, strict=True)))
"""What is evaluated: labels are ID, OOD and VOID."""
TRAINING_SETS: Final[Mapping[str, DatasetSpec]] = MappingProxyType(
    dict(zip(TRAINING_NAMES, (CITYSCAPES, MAPILLARY), strict=True))
)
"""What is learned from: labels are train ids and IGNORE."""
DATASETS: Final[Mapping[str, DatasetSpec]] = MappingProxyType({**OOD_SETS, **TRAINING_SETS})
"""Every data set by the name that commands and configuration use."""


def require_split(name: str, split: str | None = None, *, definition: str | None = None) -> None:
    """Raises what `open_dataset` raises of its arguments alone, before a root is looked for or copied here."""
    resolve(name, split, definition, unlabelled=False)


def resolve(
    name: str, split: str | None, definition: str | None, *, unlabelled: bool
) -> tuple[DatasetSpec, str, str | None]:
    """What is known of the set as the definition has it; the split; the definition, None for the default."""
    if name not in DATASETS:
        raise unknown_name(kind="data set", name=name, choices=DATASETS)
    spec = DATASETS[name]
    split = _resolve_split(name, spec, split, unlabelled=unlabelled)
    if definition is None or _definition(name, spec, definition) is spec.definitions[0]:
        return spec, split, None
    layouts = _definition(name, spec, definition).layouts
    return (spec if layouts is None else replace(spec, layouts=layouts)), split, definition


def _definition(name: str, spec: DatasetSpec, definition: str) -> Definition:
    named = {row.name: row for row in spec.definitions}
    if not named:
        raise UsageError(f"{name}: a training set, no pixel of it is OOD: there is nothing to define")
    if definition not in named:
        raise unknown_name(kind=f"OOD definition of {name}", name=definition, choices=named)
    return named[definition]


def _resolve_split(name: str, spec: DatasetSpec, split: str | None, *, unlabelled: bool) -> str:
    if split is not None and unlabelled and split in spec.unlabelled_splits:
        return split
    if split is not None and split in spec.refused_splits:
        raise UsageError(
            f"{name}: split {split!r} cannot be used: {spec.refused_splits[split]}. "
            f"The choices are: {', '.join(spec.splits)}"
        )
    if split is not None and split not in spec.splits:
        raise unknown_name(kind=f"split of {name}", name=split, choices=spec.splits)
    return split or spec.default_split


def known_definition(dataset: str, chosen: str | None) -> Definition | None:
    """The definition of OOD that figures were taken by: ``chosen``, or the usual one for None; None if unknown here."""
    spec = OOD_SETS.get(dataset)
    named = {row.name: row for row in spec.definitions} if spec else {}
    return named.get(chosen or next(iter(named), ""))


def named_definition(dataset: str, chosen: str | None) -> str | None:
    """The name of the definition, as for `known_definition`, of a set that has several; None of one that has one."""
    spec = OOD_SETS.get(dataset)
    return chosen or (spec.definitions[0].name if spec and len(spec.definitions) > 1 else None)
