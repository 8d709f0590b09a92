"""What the numbers of a label file mean: in-distribution, OOD and void; or the train ids of a training set."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from abet.data.images import IndexArray
from abet.errors import DataError
from abet.labels import ID, IGNORE, OOD, VOID, LabelClass


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """Which numbers of a label file mean in-distribution, out-of-distribution and void; others are faults."""

    title: str
    id: frozenset[int]
    ood: frozenset[int]
    void: frozenset[int]

    def __post_init__(self) -> None:
        assert len(self.id | self.ood | self.void) == len(self.id) + len(self.ood) + len(self.void), self

    def apply(self, raw: IndexArray, *, file: Path) -> IndexArray:
        """Map (H, W) uint8 file values to (H, W) uint8 of ID, OOD and VOID.

        Raises:
            DataError: for values outside the table, naming each with its number of pixels.
        """
        _require_known(raw, self.id | self.ood | self.void, table=self, file=file)
        meanings = {**dict.fromkeys(self.id, ID), **dict.fromkeys(self.ood, OOD)}
        return _translate(raw, meanings, rest=VOID)

    @property
    def signature(self) -> str:
        """Equal for tables that read every label alike."""
        return str(self)

    def __str__(self) -> str:
        return _summary(self.title, ("ID", self.id), ("OOD", self.ood), ("void", self.void))


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """Which numbers of a label file are classes, by train id, and which are ignored; others are faults."""

    title: str
    classes: tuple[LabelClass, ...]
    """Row i is the class of train id i."""
    train_ids: Mapping[int, int] = field(hash=False)
    """Number in the file -> train id."""
    ignored: frozenset[int]

    def __post_init__(self) -> None:
        assert sorted(self.train_ids.values()) == list(range(len(self.classes))), self
        assert not self.ignored & set(self.train_ids), self

    def apply(self, raw: IndexArray, *, file: Path) -> IndexArray:
        """Map (H, W) uint8 file values to (H, W) uint8 of train ids, 0 to C - 1, and IGNORE.

        Raises:
            DataError: for values outside the table, naming each with its number of pixels.
        """
        _require_known(raw, self.ignored.union(self.train_ids), table=self, file=file)
        return _translate(raw, self.train_ids, rest=IGNORE)

    @property
    def signature(self) -> str:
        """Equal for tables that read every label alike and give the classes the same names."""
        names = [(value, train_id, self.classes[train_id].name) for value, train_id in sorted(self.train_ids.items())]
        return f"{self.title}: {names}; ignored {sorted(self.ignored)}"

    def __str__(self) -> str:
        return _summary(self.title, (f"{len(self.classes)} classes", self.train_ids), ("ignored", self.ignored))


def _require_known(raw: IndexArray, known: frozenset[int], *, table: LabelTable | ClassTable, file: Path) -> None:
    others = raw.tobytes().translate(None, bytes(known))
    if others:
        counts = np.bincount(np.frombuffer(others, np.uint8), minlength=256)
        foreign = np.flatnonzero(counts).tolist()
        shown = ", ".join(f"{value} in {counts[value]} pixels" for value in foreign[:5])
        more = f" and {len(foreign) - 5} more values" if len(foreign) > 5 else ""
        raise DataError(
            f"{file}: label value {shown}{more} outside the table of {table}; "
            "take the label files that docs/datasets.md names"
        )


def _translate(raw: IndexArray, meanings: Mapping[int, int], *, rest: int) -> IndexArray:
    lookup = bytes(meanings.get(value, rest) for value in range(256))
    # several times as fast as indexing, which converts every pixel to a 64-bit index
    return np.frombuffer(bytearray(raw.tobytes()).translate(lookup), np.uint8).reshape(raw.shape)


def _summary(title: str, *parts: tuple[str, Iterable[int]]) -> str:
    return f"{title}: " + "; ".join(f"{word} {_ranges(values)}" for word, values in parts)


def _ranges(values: Iterable[int]) -> str:
    """``{2, 3, 4, 9}`` as ``2-4, 9``."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and runs[-1][-1] == value - 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
