"""How a data set's files are listed and paired: by stem, or by the path and name that image and label share."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from abet.data.images import is_image_name
from abet.data.layout import Fault, Pair, Scan
from abet.data.tables import ClassTable, LabelTable
from abet.errors import DataError

IMAGE_TOKEN: Final = "_leftImg8bit"
"""How the image names of Cityscapes, and of sets in its form, end."""


@dataclass
class PairUp:
    """Collects pairs and faults while a tree is walked; every fault is kept, the first does not stop it."""

    root: Path
    pairs: list[Pair] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    used: set[Path] = field(default_factory=set)
    _by_key: dict[str, Path] = field(default_factory=dict)

    def add(self, key: str, image: Path, label: Path, *, present: bool, overlay: Path | None = None) -> None:
        """Pair ``image``, and what is added to it, with ``label`` (there or not); no second image may share ``key``."""
        first = self._by_key.setdefault(key, image)
        self.used.add(label)
        if first is not image:
            self.fault("duplicate stem", image, f"the same label would serve {self.below(first)} too: keep one")
        elif not present:
            self.fault("image without label", image, f"expected {self.below(label)}")
        else:
            self.pairs.append(Pair(name=self.below(overlay or image), image=image, label=label, overlay=overlay))

    def by_key(self, labels: Iterable[Path], key: Callable[[Path], str]) -> dict[str, Path]:
        """Labels by what they share with their image; a second one of a key is a fault."""
        found: dict[str, Path] = {}
        for label in labels:
            first = found.setdefault(key(label), label)
            if first is not label:
                self.used.add(label)
                self.fault("duplicate stem", label, f"{self.below(first)} is a label of the same image: keep one")
        return found

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

    def scan(self, labels: LabelTable | ClassTable, *, notes: Sequence[str] = ()) -> Scan:
        """The result, pairs sorted by name; a name that no JSON or terminal can hold is a fault."""
        good = []
        for pair in self.pairs:
            if is_utf8(pair.name):
                good.append(pair)
            else:
                self.faults.append(Fault(kind="file name", file=ascii(pair.name), message="not UTF-8: rename it"))
        pairs = sorted(good, key=lambda pair: pair.name)
        return Scan(pairs=tuple(pairs), faults=tuple(self.faults), notes=tuple(notes), labels=labels)


def pair_by_stem(root: Path, images: Path, labels: Path) -> PairUp:
    """Pair ``images/NAME.<any image suffix>`` with ``labels/NAME.png``. Both folders lie below ``root``."""
    result = PairUp(root)
    by_stem = result.by_key(
        (path for path in files_in(labels) if path.suffix.lower() == ".png"), lambda path: path.stem
    )
    for image in files_in(images):
        if is_image_name(image.name):
            label = by_stem.get(image.stem)
            result.add(image.stem, image, label or labels / f"{image.stem}.png", present=label is not None)
    result.orphans(by_stem.values())
    return result


def scan_by_token(
    root: Path, images: Path, labels: Path, kinds: Mapping[str, tuple[str, LabelTable | ClassTable]]
) -> Scan:
    """Pair ``images/PLACE/STEM_leftImg8bit.<suffix>`` with ``labels/PLACE/STEM<label suffix>``.

    ``kinds`` are the one or two kinds of label file, each with its suffix and table. The first decides wherever the
    split has it at all; an image that has the second alone is then a fault.
    """
    found = {kind: _labels_by_key(labels, suffix) for kind, (suffix, _) in kinds.items()}
    first, second = next(iter(kinds)), list(kinds)[-1]
    kind, other = (first, second) if found[first] or not found[second] else (second, first)
    suffix, table = kinds[kind]
    result = PairUp(root)
    for image in files_in(images, recursive=True):
        if not is_image_name(image.name):
            continue
        if not image.stem.endswith(IMAGE_TOKEN):
            result.fault("unexpected name", image, f"image names end in {IMAGE_TOKEN}: move or rename it")
            continue
        key = image.relative_to(images).with_name(image.stem.removesuffix(IMAGE_TOKEN)).as_posix()
        if key not in found[kind] and key in found[other]:
            result.fault("mixed label kinds", image, f"has {other} only, others have {kind}: use one kind for all")
            continue
        label = found[kind].get(key, labels / f"{key}{suffix}")
        result.add(key, image, label, present=key in found[kind])
    result.orphans(found[kind].values())
    return result.scan(table, notes=[f"labels read from *{suffix}"])


def _labels_by_key(folder: Path, suffix: str) -> dict[str, Path]:
    """Labels by ``<place>/<stem>`` without the suffix."""
    return {
        path.relative_to(folder).as_posix().removesuffix(suffix): path
        for path in files_in(folder, recursive=True)
        if path.name.endswith(suffix)
    }


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
        with os.scandir(folder) as listing:
            entries = sorted((entry for entry in listing if not entry.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise DataError(f"{folder}: folder not readable: {error.strerror}") from None
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    yield from (folder / entry.name for entry in entries if _is_listed(entry))
    for entry in entries if recursive else ():
        if not entry.is_file(follow_symlinks=False) and os.path.isdir(entry):  # noqa: PTH112
            yield from _walk(folder / entry.name, recursive, (*above, here))


def _is_listed(entry: os.DirEntry[str]) -> bool:
    """An ordinary file, which the listing itself tells without a further call to a slow disk, or a link to nothing."""
    if entry.is_file(follow_symlinks=False):
        return True
    # os.path answers False where Path raises: behind a folder that may not be entered
    return entry.is_symlink() and (os.path.isfile(entry) or not os.path.exists(entry))  # noqa: PTH110, PTH113


def is_utf8(text: str) -> bool:
    """Whether JSON and terminals can hold ``text``: the name of a file need not be valid UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
