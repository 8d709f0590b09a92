"""Verify a data root in full: every pair decoded, every fault reported, none of them the last.

abet data check road_anomaly /data/RoadAnomaly
"""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from abet.cpus import available_cpus
from abet.data.check_report import CheckReport, ClassCounts, PixelCounts, count_pixels, describe
from abet.data.images import decode_image, read_label
from abet.data.index import Dataset, require_same_size, survey
from abet.data.layout import Fault, Pair
from abet.data.overlay import add_overlay
from abet.data.registry import DATASETS
from abet.errors import DataError, UsageError
from abet.labels import IGNORE, VOID
from abet.text import counted

__all__ = ["CheckReport", "ClassCounts", "PixelCounts", "Progress", "check", "check_dataset", "describe", "useless"]

_T = TypeVar("_T")

Progress = Callable[[int, int], None]
"""Called with (pairs done, pairs in all) after each pair, in order, from the calling thread."""


@dataclass(frozen=True, kw_only=True)
class _Examined:
    size: tuple[int, int] | None = None
    histogram: NDArray[np.int64] | None = None
    """(256,) pixels of each value that a read label may hold; None for a pair with a fault."""
    notes: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


def check(
    name: str,
    root: Path,
    split: str | None = None,
    *,
    definition: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Read every image and label below ``root`` and report all that is wrong; nothing about the files is raised.

    ``workers`` threads decode (default: the CPUs this process may use); Pillow and NumPy release the GIL, so
    threads are as fast as processes here and need no start-up.

    Raises:
        UsageError: an unknown data set, split or definition, or fewer than one worker.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers}: at least one is needed")
    found = survey(name, root, split, definition=definition)
    if found.dataset is None:
        nothing = PixelCounts() if DATASETS[name].kind == "ood" else ClassCounts()
        return CheckReport(
            name=name, split=found.split, root=Path(root), layout=None, images=0, sizes=(), pixels=nothing,
            notes=found.notes, faults=found.faults,
        )  # fmt: skip
    report = check_dataset(found.dataset, workers=workers, progress=progress)
    faults, notes = [*found.faults, *report.faults], [*report.notes]
    if report.pixels.total:
        faults += useless(found.dataset, report.pixels)
        notes += _absent_classes(report.pixels)
    return replace(report, faults=tuple(faults), notes=tuple(notes))


def check_dataset(dataset: Dataset, *, workers: int | None = None, progress: Progress | None = None) -> CheckReport:
    """The same for pairs that are listed already, a selection say; what it lacks as a whole is no fault here."""
    return _report(dataset, _examine_all(dataset, workers or available_cpus(), progress))


def _examine_all(dataset: Dataset, workers: int, progress: Progress | None) -> list[_Examined]:
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


def _examine(dataset: Dataset, pair: Pair) -> _Examined:
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
    if decoded is not None and (overlay := pair.overlay) is not None:
        attempt("overlay", overlay, lambda: add_overlay(decoded.pixels, overlay))
    return _Examined(
        size=None if decoded is None else (decoded.pixels.shape[1], decoded.pixels.shape[0]),
        histogram=None if label is None or faults else np.bincount(label.ravel(), minlength=256),
        notes=() if decoded is None else decoded.notes,
        faults=tuple(faults),
    )


def _report(dataset: Dataset, examined: list[_Examined]) -> CheckReport:
    sizes = Counter(result.size for result in examined if result.size is not None)
    histograms = [result.histogram for result in examined if result.histogram is not None]
    notes = [*dataset.notes, *(note for result in examined for note in result.notes)]
    blank = {"ood": ("void", VOID, "any figure"), "training": ("ignored", IGNORE, "what is learned")}
    word, value, purpose = blank[DATASETS[dataset.name].kind]
    empty = sum(1 for histogram in histograms if histogram[value] == histogram.sum())
    if empty:
        notes.append(
            f"{counted(empty, 'image is', 'images are')} {word} throughout: read, and without effect on {purpose}"
        )
    return CheckReport(
        name=dataset.name,
        split=dataset.split,
        root=dataset.root,
        layout=dataset.layout,
        images=len(dataset.pairs),
        sizes=tuple(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))),
        pixels=count_pixels(dataset.labels, _total(histograms)),
        notes=tuple(notes),
        faults=tuple(fault for result in examined for fault in result.faults),
    )


def _total(histograms: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    total = np.zeros(256, dtype=np.int64)
    for histogram in histograms:
        total += histogram
    return total


def useless(dataset: Dataset, pixels: PixelCounts | ClassCounts) -> Iterator[Fault]:
    """What a set of sound pairs may still lack, so that nothing can be done with it."""
    if isinstance(pixels, PixelCounts):
        lacking = [word for word, count in (("ID", pixels.id), ("OOD", pixels.ood)) if not count]
        remark = "no metric is defined"
    else:
        lacking = [] if pixels.total > pixels.ignored else ["labelled"]
        remark = "nothing can be learned"
    for word in lacking:
        message = (
            f"no {word} pixel in the whole set: {remark} (the labels are read as {dataset.labels}); labels of another "
            "kind? Compare the tree with docs/datasets.md"
        )
        yield Fault(kind="label values", file=str(dataset.root), message=message)


def _absent_classes(pixels: PixelCounts | ClassCounts) -> list[str]:
    absent = pixels.absent if isinstance(pixels, ClassCounts) else ()
    return [f"{len(absent)} classes never occur: {', '.join(absent)}"] if absent else []
