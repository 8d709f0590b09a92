"""From a name and a root to a sorted list of (image, label) pairs, or to an error that says what is missing.

    dataset = open_dataset("road_anomaly", Path("/data/RoadAnomaly"))
    image, label = dataset.read(dataset.pairs[0])

``open_dataset`` refuses an incomplete root; ``survey`` lists the same root and returns every fault instead.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from abet.data import locate
from abet.data.images import ImageArray, IndexArray, read_image, read_label
from abet.data.layout import DatasetSpec, Fault, Pair
from abet.data.overlay import add_overlay
from abet.data.registry import resolve
from abet.data.tables import ClassTable, LabelTable
from abet.errors import DataError, UsageError
from abet.labels import LabelClass

__all__ = ["Dataset", "Pair", "Survey", "open_dataset", "survey"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A complete list of pairs, sorted by name, and the table that reads their labels. Cheap, and can be pickled."""

    name: str
    split: str
    root: Path
    layout: str
    pairs: tuple[Pair, ...]
    labels: LabelTable | ClassTable
    notes: tuple[str, ...] = ()
    definition: str | None = None
    """Which of the set's definitions of ID, OOD and void the labels are read by; None: its default."""

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """The classes of a training set, by train id."""
        assert isinstance(self.labels, ClassTable), f"{self.name} is no training set"
        return self.labels.classes

    def read(self, pair: Pair) -> tuple[ImageArray, IndexArray]:
        """Image (H, W, 3) uint8 RGB and label (H, W) uint8, of one size.

        Label values are ID, OOD and VOID in an OOD set, train ids and IGNORE in a training set.

        Raises:
            DataError: an unreadable file, different sizes, or label values outside the table.
        """
        image, raw = read_image(pair.image), read_label(pair.label)
        image = image if pair.overlay is None else add_overlay(image, pair.overlay)
        require_same_size(pair, image, raw)
        return image, self.labels.apply(raw, file=pair.label)

    def list_sha256(self) -> str:
        """Fingerprint of what is read: data set, split, label table, and name and byte sizes of every pair.

        Equal on machines that hold equal copies wherever they lie; shards of one evaluation must agree on it.
        Contents are not hashed (LostAndFound has gigabytes): it shows other files, not a flipped bit within one.
        """
        digest = hashlib.sha256(json.dumps([self.name, self.split, self.labels.signature]).encode())
        for pair in self.pairs:
            files = [pair.image, pair.label, *([pair.overlay] if pair.overlay else [])]
            digest.update(json.dumps([pair.name, *map(_bytes, files)]).encode())
        return digest.hexdigest()

    def select(self, *, images: Iterable[str] | None = None, limit: int | None = None) -> "Dataset":
        """The same data set with fewer pairs, in the same order: those named, then the first ``limit`` of them.

        A name is the path below the root, the file name, or the stem (with or without its ``_leftImg8bit``).

        Raises:
            UsageError: a name that fits no image or several, no name at all, or a limit below 1.
        """
        pairs = self.pairs
        if images is not None:
            chosen = {pair.name for text in images for pair in [self._find(text)]}
            if not chosen:
                raise UsageError(f"{self.name}: no image is chosen; name at least one (--images)")
            pairs = tuple(pair for pair in pairs if pair.name in chosen)
        if limit is not None and limit < 1:
            raise UsageError(f"limit {limit}: at least one image is needed")
        return replace(self, pairs=pairs[:limit])

    def _find(self, text: str) -> Pair:
        by_alias: dict[str, list[Pair]] = {}
        for pair in self.pairs:
            for alias in _aliases(pair.name):
                by_alias.setdefault(alias, []).append(pair)
        exact = [pair for pair in by_alias.get(text, []) if pair.name == text] or by_alias.get(text, [])
        if len(exact) == 1:
            return exact[0]
        if exact:
            names = ", ".join(pair.name for pair in exact[:5])
            raise UsageError(f"image {text!r} fits {len(exact)} images: {names}; give the path below the root")
        near = difflib.get_close_matches(text, sorted(by_alias), n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else f" The first is {self.pairs[0].name}."
        raise UsageError(f"{self.name} has no image {text!r} among its {len(self.pairs)}.{hint}")


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What lies below a root, complete or not. ``dataset`` holds the complete pairs; None when no tree was found."""

    split: str
    dataset: Dataset | None
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


def open_dataset(
    name: str, root: Path, split: str | None = None, *, definition: str | None = None, unlabelled: bool = False
) -> Dataset:
    """The complete data set below ``root``; ``split`` defaults to the one that papers evaluate, or train on.

    ``definition`` names one of the set's answers to what is ID, OOD and void; default: the first. With
    ``unlabelled``, a split whose labels are dummies is opened too: every pixel of theirs is ignored. Files are
    listed and none is decoded: 18000 images on a local disk open in a second or two.

    Raises:
        UsageError: an unknown data set, split or definition.
        DataError: a root that is missing, empty, half unpacked or ambiguous; images without label and the reverse.
    """
    result = survey(name, root, split, definition=definition, unlabelled=unlabelled)
    if result.dataset is None or result.faults:
        raise DataError(_refusal(name, root, result))
    return result.dataset


def survey(
    name: str, root: Path, split: str | None = None, *, definition: str | None = None, unlabelled: bool = False
) -> Survey:
    """List a root without judging it: what is wrong with the files is returned, sorted by kind and file.

    ``definition`` and ``unlabelled`` as for `open_dataset`.

    Raises:
        UsageError: an unknown data set, split or definition.
    """
    spec, split, chosen = resolve(name, split, definition, unlabelled=unlabelled)
    try:
        place = locate.find(spec, Path(root).expanduser(), split)
        scan = place.layout.scan(place.root, split)
    except (DataError, OSError) as error:  # OSError: a folder that may not be entered
        fault = Fault(kind="root", file=str(root), message=str(error))
        return Survey(split=split, dataset=None, faults=(fault,), notes=())
    faults = sorted(scan.faults, key=lambda fault: (fault.kind, fault.file))
    if not scan.pairs and not faults:
        message = f"{place.root}: no image found. {locate.expected(spec, split)}"
        faults.append(Fault(kind="root", file=str(root), message=message))
    notes = (*place.notes, *scan.notes, *_count_note(spec, split, len(scan.pairs)))
    dataset = Dataset(
        name=name,
        split=split,
        root=place.root,
        layout=place.layout.name,
        pairs=scan.pairs,
        labels=scan.labels,
        notes=notes,
        definition=chosen,
    )
    return Survey(split=split, dataset=dataset, faults=tuple(faults), notes=notes)


def require_same_size(pair: Pair, image: ImageArray, raw: IndexArray) -> None:
    """Raises DataError unless image (H, W, 3) and label (H, W) agree in H and W."""
    if image.shape[:2] != raw.shape:
        (high, wide), (label_high, label_wide) = image.shape[:2], raw.shape
        raise DataError(
            f"{pair.label}: label of {label_wide}x{label_high} pixels for an image of {wide}x{high} ({pair.image}); "
            "they must be equal: take both from one archive, or resize the image to its label"
        )


def _count_note(spec: DatasetSpec, split: str, count: int) -> list[str]:
    published = {**spec.published_images, **spec.unlabelled_splits}[split]
    return [] if count == published else [f"{count} images, the published {split} split has {published}"]


def _refusal(name: str, root: Path, result: Survey) -> str:
    by_kind: dict[str, list[Fault]] = {}
    for fault in result.faults:
        by_kind.setdefault(fault.kind, []).append(fault)
    if list(by_kind) == ["root"]:
        return f"{name}: {by_kind['root'][0].message}"
    lines = [f"{name}: {root} is not complete:"]
    for kind, faults in by_kind.items():
        shown = "; ".join(f"{fault.file} ({fault.message})" for fault in faults[:3])
        lines.append(f"  {len(faults)} x {kind}: {shown}" + ("; ..." if len(faults) > 3 else ""))
    return "\n".join(
        [*lines, f"  all of them: abet data check {name} {root} --split {result.split}; the trees: docs/datasets.md"]
    )


def _aliases(name: str) -> set[str]:
    path = PurePosixPath(name)
    return {name, path.name, path.stem, path.stem.removesuffix("_leftImg8bit")}


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: was listed and is gone: {error.strerror}") from None
