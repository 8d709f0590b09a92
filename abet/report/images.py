"""The per-image table of a data set, as plain columns for the page's script."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from abet.report.maps import sampled
from abet.report.records import ImageFigures, ImageTable
from abet.report.runs import RunResults


def image_names(runs: Sequence[RunResults], dataset: str) -> list[str]:
    """Every image that any run knows by name: those of ``images.json`` and those that kept maps."""
    tables = [table for _, table in _tables(runs, dataset)]
    return sorted({name for table in tables for name in table.images} | set(sampled(runs, dataset)))


def image_columns(runs: Sequence[RunResults], dataset: str, names: Sequence[str]) -> dict[str, Any]:
    """Columns along ``names``: ``pixels``, each ``id`` and ``ood``, and ``figures`` of every (run, score).

    Of each figure: ap, auroc, fpr95 (fractions), fp and missed as [at least, at most] pixels; null where not known;
    and ``pixels``, the place of its run's among the pixels. Runs that counted the same share one.
    """
    places = {name: place for place, name in enumerate(names)}
    taken: list[_Pixels] = []
    figures = []
    for number, table in _tables(runs, dataset):
        definition = runs[number].datasets[dataset].metrics.ood_definition
        rows = [places[name] for name in table.images]
        counted = dict(zip(rows, zip(table.pixels.id, table.pixels.ood, strict=True), strict=True))
        place = next((place for place, other in enumerate(taken) if other.agrees(definition, counted)), len(taken))
        if place == len(taken):
            taken.append(_Pixels(definition, {}))
        taken[place].counts.update(counted)
        for score, found in table.scores.items():
            figures.append({"run": number, "score": score, "pixels": place, **_columns(found, rows, len(names))})
    return {"pixels": [each.columns(len(names)) for each in taken], "figures": figures}


class _Pixels(NamedTuple):
    """Pixels of images as runs of one definition of OOD counted them."""

    definition: str | None
    counts: dict[int, tuple[int, int]]
    """Row of an image -> its ID and its OOD pixels."""

    def agrees(self, definition: str | None, counts: Mapping[int, tuple[int, int]]) -> bool:
        """Whether a run's counts can stand beside these: other images, or the same pixels of the same ones."""
        return definition == self.definition and all(self.counts.get(row, own) == own for row, own in counts.items())

    def columns(self, length: int) -> dict[str, list[int | None]]:
        rows = list(self.counts)
        return {
            kind: _placed([both[which] for both in self.counts.values()], rows, length)
            for which, kind in enumerate(("id", "ood"))
        }


def _tables(runs: Sequence[RunResults], dataset: str) -> list[tuple[int, ImageTable]]:
    found = [(number, run.datasets[dataset].images) for number, run in enumerate(runs) if dataset in run.datasets]
    return [(number, table) for number, table in found if table is not None]


def _columns(found: ImageFigures, rows: Sequence[int], length: int) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for key in ("ap", "auroc", "fpr95"):
        values = [None if value is None else float(f"{value:.6g}") for value in getattr(found, key).value]
        columns[key] = _placed(values, rows, length)
    for key, bounds in (("fp", found.false_positives), ("missed", found.missed)):
        pairs = (
            [None] * len(rows) if bounds is None else [list(ends) for ends in zip(bounds.low, bounds.high, strict=True)]
        )
        columns[key] = _placed(pairs, rows, length)
    return columns


def _placed(values: Sequence[Any], rows: Sequence[int], length: int) -> list[Any]:
    column: list[Any] = [None] * length
    for row, value in zip(rows, values, strict=True):
        column[row] = value
    return column
