"""What a verification found, and how it reads."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abet.data.layout import Fault
from abet.data.tables import ClassTable, LabelTable
from abet.labels import ID, IGNORE, OOD, VOID


@dataclass(frozen=True, kw_only=True)
class PixelCounts:
    """Pixels of each meaning in an OOD set, summed over every sound pair."""

    id: int = 0
    ood: int = 0
    void: int = 0

    @property
    def total(self) -> int:
        """Pixels in all."""
        return self.id + self.ood + self.void

    def lines(self) -> list[str]:
        """One line per meaning: its pixels and their share."""
        rows = (("ID", self.id), ("OOD", self.ood), ("void", self.void))
        return [f"{word} pixels: {count} ({_share(count, self.total)})" for word, count in rows]


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """Pixels of each class of a training set, by train id, summed over every sound pair."""

    names: tuple[str, ...] = ()
    pixels: tuple[int, ...] = ()
    ignored: int = 0

    @property
    def total(self) -> int:
        """Pixels in all, ignored ones included."""
        return sum(self.pixels) + self.ignored

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the classes that no pixel has."""
        return tuple(name for name, count in zip(self.names, self.pixels, strict=True) if not count)

    def lines(self) -> list[str]:
        """One line per class: train id, name, pixels, their share; then the ignored ones. Empty without a tree."""
        if not self.names:
            return []
        labelled = zip(map(str, range(len(self.names))), self.names, self.pixels, strict=True)
        rows = [*labelled, ("", "ignored", self.ignored)]
        wide = max(len(name) for _, name, _ in rows)
        digits = max(len(str(count)) for _, _, count in rows)
        return ["pixels per class:"] + [
            f"  {number:>3} {name:{wide}}  {count:>{digits}}  {_share(count, self.total):>7}"
            for number, name, count in rows
        ]


def count_pixels(labels: LabelTable | ClassTable, histogram: NDArray[np.int64]) -> PixelCounts | ClassCounts:
    """``histogram`` holds for each of the 256 values that ``labels.apply`` may give its number of pixels."""
    counts = histogram.tolist()
    if isinstance(labels, LabelTable):
        return PixelCounts(id=counts[ID], ood=counts[OOD], void=counts[VOID])
    names = tuple(row.name for row in labels.classes)
    return ClassCounts(names=names, pixels=tuple(counts[: len(names)]), ignored=counts[IGNORE])


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What a check found. Equal for equal files, whatever the number of workers."""

    name: str
    split: str
    root: Path
    layout: str | None
    """None when the root holds no tree of this data set."""
    images: int
    """Pairs that were listed, sound or not."""
    sizes: tuple[tuple[tuple[int, int], int], ...]
    """((width, height), images), most frequent first."""
    pixels: PixelCounts | ClassCounts
    notes: tuple[str, ...]
    """Not faults: converted images, another number of images than published, labels without a counted pixel."""
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """No fault at all: the set can be evaluated, or trained on."""
        return not self.faults


def describe(report: CheckReport) -> str:
    """The report as plain text: counts, remarks, and every fault on a line of its own."""
    lines = [f"{report.name} ({report.split}) in {report.root}, tree: {report.layout or 'none'}"]
    lines.append(f"images: {report.images}")
    lines += [f"  {count} of {width}x{height}" for (width, height), count in report.sizes]
    lines += report.pixels.lines()
    lines += [f"note: {note}" for note in report.notes]
    lines += [f"fault: {fault}" for fault in report.faults]
    found = len(report.faults)
    lines.append("no fault" if not found else "1 fault" if found == 1 else f"{found} faults")
    # A file name need not be UTF-8, what is printed must
    return "\n".join(lines).encode("utf-8", "backslashreplace").decode()


def _share(count: int, total: int) -> str:
    return f"{count / max(1, total):.2%}"
