"""Find the tree that a root holds: the root itself, one folder below it, or its parent, and only if one fits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from abet.data.layout import DatasetSpec, Layout
from abet.errors import DataError

_LEVELS_UP: Final = 4
_LOOKED_AT: Final = 100
"""So many folders of one folder are looked into for a tree: a hint is no search."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A root and the layout that it has; ``notes`` say so when it is not the folder that was asked for."""

    root: Path
    layout: Layout
    notes: tuple[str, ...] = ()


def find(spec: DatasetSpec, root: Path, split: str) -> Place:
    """The one place at or next to ``root`` that has all folders of a layout.

    Raises:
        DataError: no place or several, saying what was found, what each layout lacks, and the trees.
    """
    _require_folder(spec, root, split)
    here = _fitting(spec, root, split)
    if len(here) > 1:
        trees = " and ".join(f"{place.layout.origin} ({', '.join(place.layout.wanted(split))})" for place in here)
        raise DataError(f"{root} holds {trees}: keep one there and move the other, so that it is clear which is read")
    if here:
        return here[0]
    near = [place for folder in _neighbours(spec, root, split) for place in _fitting(spec, folder, split)]
    if len(near) == 1:
        note = f"{near[0].root} is read: {root} itself holds no {spec.title} tree"
        return Place(root=near[0].root, layout=near[0].layout, notes=(note,))
    if near:
        names = ", ".join(str(place.root) for place in near)
        raise DataError(f"{root} is not a {spec.title} root, several folders next to it are: {names}; name one of them")
    _require_not_refused(spec, root, split)
    raise DataError(_nothing(spec, root, split))


def expected(spec: DatasetSpec, split: str) -> str:
    """The trees that a root may have, and where to read more."""
    lines = ["Expected below the root:"]
    for layout in spec.layouts:
        lines.append(f"  {layout.origin}:")
        lines += [f"    {line.replace('SPLIT', split)}" for line in layout.tree]
    return "\n".join([*lines, "docs/datasets.md says where the data come from and how to unpack them."])


def _fitting(spec: DatasetSpec, root: Path, split: str) -> list[Place]:
    return [Place(root=root, layout=layout) for layout in spec.layouts if not layout.missing(root, split)]


def _neighbours(spec: DatasetSpec, root: Path, split: str) -> list[Path]:
    """Folders directly below; and the parent, if the root is itself a folder that a layout names."""
    below = sorted(path for path in _entries(root) if path.is_dir())
    named = {Path(name).parts[0] for layout in spec.layouts for name in layout.wanted(split)}
    return below + ([root.absolute().parent] if root.absolute().name in named else [])


def _require_folder(spec: DatasetSpec, root: Path, split: str) -> None:
    if root.is_file():
        raise DataError(f"{root} is a file; an archive is unpacked first. {expected(spec, split)}")
    if not root.is_dir():
        raise DataError(f"{root} does not exist or is out of reach. {expected(spec, split)}")
    if not _entries(root):
        raise DataError(f"{root} is empty. {expected(spec, split)}")


def _require_not_refused(spec: DatasetSpec, root: Path, split: str) -> None:
    for folder in (root, *_neighbours(spec, root, split)):
        for tree in spec.refused_trees:
            if (folder / tree.folder.format(split=split)).is_dir():
                raise DataError(f"{folder} {tree.reason}. {expected(spec, split)}")


def _nothing(spec: DatasetSpec, root: Path, split: str) -> str:
    names = [path.name + ("/" if path.is_dir() else "") for path in _entries(root)]
    found = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    lines = [f"{root} holds no {spec.title} tree (split {split}); found: {found}"]
    for layout in spec.layouts:
        missing = layout.missing(root, split)
        half = len(missing) < len(layout.wanted(split))
        lines.append(f"  {layout.origin}: lacks {', '.join(missing)}" + (" (half unpacked?)" if half else ""))
        lines += _other_splits(spec, layout, root, split)
    return "\n".join([*lines, *_further(spec, root, split), expected(spec, split)])


def _further(spec: DatasetSpec, root: Path, split: str) -> list[str]:
    """Roots that are too far away to be taken unasked: some folders up, or two down."""
    above = list(root.absolute().parents)[:_LEVELS_UP]
    below = [inner for folder in _folders(root) for inner in _folders(folder)]
    fitting = [str(folder) for folder in (*above, *below) if _fitting(spec, folder, split)]
    return [f"  did you mean {' or '.join(fitting[:3])}?"] if fitting else []


def _folders(folder: Path) -> list[Path]:
    """Those directly below; none where it may not be listed: what is missing is the error then."""
    try:
        return [path for path in _entries(folder) if path.is_dir()][:_LOOKED_AT]
    except DataError:
        return []


def _other_splits(spec: DatasetSpec, layout: Layout, root: Path, split: str) -> list[str]:
    there = [other for other in spec.splits if other != split and not layout.missing(root, other)]
    return [f"  split {', '.join(there)} is there"] if there and layout.wanted(split) != layout.wanted(there[0]) else []


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: folder not readable: {error.strerror}") from None
