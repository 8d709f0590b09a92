"""The vocabulary that the data-set modules share: pairs, faults, label tables, trees; and how files are paired."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from abet.data.images import IndexArray
from abet.errors import DataError
from abet.labels import ID, OOD, VOID


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One image and its label. ``name`` is the image's path below the root with ``/`` separators: its identity."""

    name: str
    image: Path
    label: Path


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong: its kind (few, for grouping), the file below the root, and what to know or do."""

    kind: str
    file: str
    message: str

    def __str__(self) -> str:
        return self.message if self.kind == "root" else f"{self.file}: {self.kind}: {self.message}"


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
        counts = np.bincount(raw.ravel(), minlength=256)
        foreign = [v for v in np.flatnonzero(counts).tolist() if v not in self.id | self.ood | self.void]
        if foreign:
            shown = ", ".join(f"{v} in {counts[v]} pixels" for v in foreign[:5])
            more = f" and {len(foreign) - 5} more values" if len(foreign) > 5 else ""
            raise DataError(f"{file}: label value {shown}{more} outside the table of {self}")
        lookup = np.full(256, VOID, dtype=np.uint8)
        lookup[list(self.id)] = ID
        lookup[list(self.ood)] = OOD
        return lookup[raw]

    def __str__(self) -> str:
        parts = (("ID", self.id), ("OOD", self.ood), ("void", self.void))
        return f"{self.title}: " + "; ".join(f"{word} {_ranges(values)}" for word, values in parts)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a tree holds: complete pairs, everything wrong with the rest, remarks, and how its labels are read."""

    pairs: tuple[Pair, ...] = ()
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    labels: LabelTable


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One tree that a data set may come in.

    ``folders`` are the directories (``{split}`` filled in) that a root of this layout has;
    ``scan(root, split)`` lists it and raises DataError only for a directory that cannot be read.
    """

    name: str
    origin: str
    tree: tuple[str, ...]
    folders: tuple[str, ...]
    scan: Callable[[Path, str], Scan]

    def missing(self, root: Path, split: str) -> list[str]:
        """The folders that ``root`` lacks to be of this layout."""
        return [name for name in self.wanted(split) if not (root / name).is_dir()]

    def wanted(self, split: str) -> list[str]:
        """The folders of this layout for one split."""
        return [name.format(split=split) for name in self.folders]


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What is known about a data set before looking at a disk."""

    title: str
    citation: str
    page: str
    downloads: tuple[str, ...]
    licence: str
    splits: tuple[str, ...]
    default_split: str
    published_images: Mapping[str, int]
    layouts: tuple[Layout, ...]


@dataclass
class PairUp:
    """Collects pairs and faults while a tree is walked; every fault is kept, the first does not stop it."""

    root: Path
    pairs: list[Pair] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    used: set[Path] = field(default_factory=set)
    _by_key: dict[str, Path] = field(default_factory=dict)

    def add(self, key: str, image: Path, label: Path, *, present: bool) -> None:
        """Pair ``image`` with ``label`` (there or not); ``key`` is what no second image may share."""
        first = self._by_key.setdefault(key, image)
        self.used.add(label)
        if first is not image:
            self.fault("duplicate stem", image, f"the same label would serve {self.below(first)} too: keep one")
        elif not present:
            self.fault("image without label", image, f"expected {self.below(label)}")
        else:
            self.pairs.append(Pair(name=self.below(image), image=image, label=label))

    def orphans(self, labels: Iterable[Path]) -> None:
        """Every label that no image asked for is a fault."""
        for label in labels:
            if label not in self.used:
                self.fault("label without image", label, "no image has this stem")

    def fault(self, kind: str, file: Path, message: str) -> None:
        """Note one fault of a file below the root."""
        self.faults.append(Fault(kind=kind, file=self.below(file), message=message))

    def below(self, path: Path) -> str:
        """The path relative to the root, with ``/`` separators."""
        return path.relative_to(self.root).as_posix()

    def scan(self, labels: LabelTable, *, notes: Sequence[str] = ()) -> Scan:
        """The result, pairs sorted by name; a name that no JSON or terminal can hold is a fault."""
        bad = [pair for pair in self.pairs if not is_utf8(pair.name)]
        for pair in bad:
            self.faults.append(Fault(kind="file name", file=ascii(pair.name), message="not UTF-8: rename it"))
        pairs = sorted((pair for pair in self.pairs if pair not in bad), key=lambda pair: pair.name)
        return Scan(pairs=tuple(pairs), faults=tuple(self.faults), notes=tuple(notes), labels=labels)


def files_in(folder: Path, *, recursive: bool = False) -> Iterator[Path]:
    """Files of a folder in sorted order, hidden ones left out (macOS leaves ``._x.png`` beside ``x.png``).

    Links are followed, but never back into a folder that the path has come through. A link to nothing is listed, so
    that reading it reports it; pipes, sockets and devices are not: reading one may never end.

    Raises:
        DataError: for a folder that cannot be listed.
    """
    return _walk(folder, recursive, ())


def _walk(folder: Path, recursive: bool, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """``above`` holds (device, inode) of the folders that led here."""
    try:
        status = folder.stat()
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: folder not readable: {error.strerror}") from None
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    # os.path answers False where Path raises: behind a folder that may not be entered
    yield from (path for path in paths if os.path.isfile(path) or not os.path.exists(path))  # noqa: PTH110, PTH113
    for path in paths if recursive else ():
        if os.path.isdir(path):  # noqa: PTH112
            yield from _walk(path, recursive, (*above, here))


def is_utf8(text: str) -> bool:
    """Whether JSON and terminals can hold ``text``: the name of a file need not be valid UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _ranges(values: frozenset[int]) -> str:
    """``{2, 3, 4, 9}`` as ``2-4, 9``."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and runs[-1][-1] == value - 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
