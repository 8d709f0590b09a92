"""The vocabulary that the data-set modules share: pairs, faults, trees, and what is known about a data set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from abet.data.tables import ClassTable, LabelTable


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One image and its label. ``name`` is the image's path below the root with ``/`` separators: its identity."""

    name: str
    image: Path
    label: Path
    overlay: Path | None = None
    """What is added to ``image``, a photograph of another set, to make the image (`abet.data.overlay`); the name is
    then this file's."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong: its kind (few, for grouping), the file below the root, and what to know or do."""

    kind: str
    file: str
    message: str

    def __str__(self) -> str:
        return self.message if self.kind == "root" else f"{self.file}: {self.kind}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a tree holds: complete pairs, everything wrong with the rest, remarks, and how its labels are read."""

    pairs: tuple[Pair, ...] = ()
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    labels: LabelTable | ClassTable


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One tree that a data set may come in.

    ``folders`` are the directories (``{split}`` filled in, or by a function of the split) that a root of it has;
    ``scan(root, split)`` lists it and raises DataError only for a directory that cannot be read, or for labels of
    other classes throughout.
    """

    name: str
    origin: str
    tree: tuple[str, ...]
    folders: tuple[str, ...] | Callable[[str], tuple[str, ...]]
    scan: Callable[[Path, str], Scan]

    def missing(self, root: Path, split: str) -> list[str]:
        """The folders that ``root`` lacks to be of this layout."""
        return [name for name in self.wanted(split) if not (root / name).is_dir()]

    def wanted(self, split: str) -> list[str]:
        """The folders of this layout for one split."""
        names = self.folders(split) if callable(self.folders) else self.folders
        return [name.format(split=split) for name in names]


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One answer to which pixels of an OOD set are ID, OOD and void, in words, and the trees that are read so."""

    name: str
    """On the command line, in the shards' fingerprint and in metrics.json."""
    id: str
    ood: str
    void: str
    source: str
    """Who defines it so."""
    layouts: tuple[Layout, ...] | None = None
    """None: those of the data set."""

    def __str__(self) -> str:
        return f"{self.name}: ID is {self.id}; OOD is {self.ood}; void is {self.void}"


@dataclass(frozen=True, kw_only=True)
class RefusedTree:
    """A tree that a root may well hold and that cannot be used; ``reason`` goes on from the root's path."""

    folder: str
    """The folder (``{split}`` filled in) that tells it."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What is known about a data set before looking at a disk."""

    title: str
    kind: Literal["ood", "training"]
    """ood: labels are read as ID, OOD and VOID, to be evaluated; training: as train ids and IGNORE."""
    citation: str
    page: str
    downloads: tuple[str, ...]
    licence: str
    splits: tuple[str, ...]
    default_split: str
    published_images: Mapping[str, int]
    layouts: tuple[Layout, ...]
    definitions: tuple[Definition, ...] = ()
    """Of an OOD set, what its labels may be read as; the first is the default, and is read from ``layouts``."""
    refused_splits: Mapping[str, str] = field(default_factory=dict)
    """Splits that are published and cannot be used, with the reason."""
    refused_trees: tuple[RefusedTree, ...] = ()
    """Looked for only where no layout fits."""
    validation_split: str | None = None
    """Of a training set, what a network's mIoU is measured on."""
    unlabelled_splits: Mapping[str, int] = field(default_factory=dict)
    """Of a training set, splits whose labels are dummies, each with the published number of images: nothing can be
    measured on them, but predictions for the authors' server be made. They are among the refused splits as well."""
    published_labels: ClassTable | None = None
    """Of a training set, how the authors number the classes, whichever kind of label file is read: for that server."""
    submission: "SubmissionSpec | None" = None
    """Of a benchmark with hidden labels, how its authors take scores."""


@dataclass(frozen=True, kw_only=True)
class SubmissionSpec:
    """The score files that a benchmark's toolkit takes: one per image of the whole set, labelled or not."""

    folder: str
    """What the toolkit calls the whole set: the folder that its files lie in."""
    images: str
    """The folder of all images, below the root."""
    labelled: str
    """How the names of images with public labels begin."""
    published: int
    """Images without public labels."""
