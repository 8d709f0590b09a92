"""Verify a data root in full: every pair decoded, every fault reported, none of them the last.

abet data check road_anomaly /data/RoadAnomaly
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from abet.data.images import IndexArray, decode_image, read_label
from abet.data.index import OodDataset, require_same_size, survey
from abet.data.layout import Fault, Pair
from abet.errors import DataError, UsageError
from abet.labels import ID, OOD, VOID

_T = TypeVar("_T")

Progress = Callable[[int, int], None]
"""Called with (pairs done, pairs in all) after each pair, in order, from the calling thread."""


@dataclass(frozen=True, kw_only=True)
class PixelCounts:
    """Pixels of each meaning, summed over every sound pair."""

    id: int = 0
    ood: int = 0
    void: int = 0

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(id=self.id + other.id, ood=self.ood + other.ood, void=self.void + other.void)


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
    pixels: PixelCounts
    notes: tuple[str, ...]
    """Not faults: images that are converted, another number of images than published, all-void labels."""
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """No fault at all: the set can be evaluated."""
        return not self.faults


@dataclass(frozen=True, kw_only=True)
class _Examined:
    size: tuple[int, int] | None = None
    pixels: PixelCounts | None = None
    notes: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


def check(
    name: str, root: Path, split: str | None = None, *, workers: int | None = None, progress: Progress | None = None
) -> CheckReport:
    """Read every image and label below ``root`` and report all that is wrong; nothing about the files is raised.

    ``workers`` threads decode (default: the CPUs this process may use); Pillow and NumPy release the GIL, so
    threads are as fast as processes here and need no start-up.

    Raises:
        UsageError: an unknown data set or split, or fewer than one worker.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers}: at least one is needed")
    found = survey(name, root, split)
    if found.dataset is None:
        return CheckReport(
            name=name, split=found.split, root=Path(root), layout=None, images=0, sizes=(), pixels=PixelCounts(),
            notes=found.notes, faults=found.faults,
        )  # fmt: skip
    report = check_dataset(found.dataset, workers=workers, progress=progress)
    faults = (*found.faults, *report.faults)
    if report.pixels != PixelCounts():
        faults += tuple(_missing_classes(found.dataset, report.pixels))
    return replace(report, faults=faults)


def check_dataset(dataset: OodDataset, *, workers: int | None = None, progress: Progress | None = None) -> CheckReport:
    """The same for pairs that are listed already, a selection say; one without OOD or ID pixel is no fault here."""
    return _report(dataset, _examine_all(dataset, workers or available_cpus(), progress))


def describe(report: CheckReport) -> str:
    """The report as plain text: counts, remarks, and every fault on a line of its own."""
    total = max(1, report.pixels.id + report.pixels.ood + report.pixels.void)
    lines = [f"{report.name} ({report.split}) in {report.root}, tree: {report.layout or 'none'}"]
    lines.append(f"images: {report.images}")
    lines += [f"  {count} of {width}x{height}" for (width, height), count in report.sizes]
    for word, count in (("ID", report.pixels.id), ("OOD", report.pixels.ood), ("void", report.pixels.void)):
        lines.append(f"{word} pixels: {count} ({count / total:.2%})")
    lines += [f"note: {note}" for note in report.notes]
    lines += [f"fault: {fault}" for fault in report.faults]
    found = len(report.faults)
    lines.append("no fault" if not found else "1 fault" if found == 1 else f"{found} faults")
    # A file name need not be UTF-8, what is printed must
    return "\n".join(lines).encode("utf-8", "backslashreplace").decode()


def available_cpus() -> int:
    """CPUs that this process may use: a scheduler's share of the machine where the system tells it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _examine_all(dataset: OodDataset, workers: int, progress: Progress | None) -> list[_Examined]:
    examined = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            for result in pool.map(lambda pair: _examine(dataset, pair), dataset.pairs):
                examined.append(result)
                if progress is not None:
                    progress(len(examined), len(dataset.pairs))
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C waits for the pairs in hand, not for all of them
    return examined


def _examine(dataset: OodDataset, pair: Pair) -> _Examined:
    """Every fault of one pair: a bad image does not hide a bad label."""
    faults: list[Fault] = []

    def attempt(kind: str, path: Path, step: Callable[[], _T]) -> _T | None:
        try:
            return step()
        except DataError as error:
            file = path.relative_to(dataset.root).as_posix()
            faults.append(Fault(kind=kind, file=file, message=str(error).removeprefix(f"{path}: ")))
            return None

    decoded = attempt("image", pair.image, lambda: decode_image(pair.image))
    raw = attempt("label", pair.label, lambda: read_label(pair.label))
    label = None
    if raw is not None:
        label = attempt("label values", pair.label, lambda: dataset.labels.apply(raw, file=pair.label))
    if decoded is not None and raw is not None:
        attempt("size", pair.label, lambda: require_same_size(pair, decoded.pixels, raw))
    return _Examined(
        size=None if decoded is None else (decoded.pixels.shape[1], decoded.pixels.shape[0]),
        pixels=None if label is None or faults else _count(label),
        notes=() if decoded is None else decoded.notes,
        faults=tuple(faults),
    )


def _count(label: IndexArray) -> PixelCounts:
    counts = np.bincount(label.ravel(), minlength=256)
    return PixelCounts(id=int(counts[ID]), ood=int(counts[OOD]), void=int(counts[VOID]))


def _report(dataset: OodDataset, examined: list[_Examined]) -> CheckReport:
    sizes = Counter(result.size for result in examined if result.size is not None)
    counted = [result.pixels for result in examined if result.pixels is not None]
    faults = tuple(fault for result in examined for fault in result.faults)
    notes = [*dataset.notes, *(note for result in examined for note in result.notes)]
    empty = sum(1 for counts in counted if counts.id == counts.ood == 0)
    if empty:
        notes.append(f"{empty} images are void throughout: they are read and add nothing to any figure")
    return CheckReport(
        name=dataset.name,
        split=dataset.split,
        root=dataset.root,
        layout=dataset.layout,
        images=len(dataset.pairs),
        sizes=tuple(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))),
        pixels=sum(counted, PixelCounts()),
        notes=tuple(notes),
        faults=faults,
    )


def _missing_classes(dataset: OodDataset, pixels: PixelCounts) -> Iterator[Fault]:
    for word, count in (("ID", pixels.id), ("OOD", pixels.ood)):
        if not count:
            message = f"no {word} pixel in the whole set: no metric is defined; the labels are of another kind?"
            yield Fault(kind="label values", file=str(dataset.root), message=message)
