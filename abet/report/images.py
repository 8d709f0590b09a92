"""The per-image table of a data set, as plain columns for the page's script."""

from collections.abc import Sequence
from typing import Any

from abet.report.maps import sampled
from abet.report.records import ImageFigures, ImageTable
from abet.report.runs import RunResults


def image_names(runs: Sequence[RunResults], dataset: str) -> list[str]:
    """Every image that any run knows by name: those of ``images.json`` and those that kept maps."""
    tables = [table for _, table in _tables(runs, dataset)]
    return sorted({name for table in tables for name in table.images} | set(sampled(runs, dataset)))


def image_columns(runs: Sequence[RunResults], dataset: str, names: Sequence[str]) -> dict[str, Any]:
    """Columns along ``names``: ``id`` and ``ood`` pixels, and ``figures`` of every (run, score).

    Of each figure: ap, auroc, fpr95 (fractions), fp and missed as [at least, at most] pixels; null where not known.
    """
    tables = _tables(runs, dataset)
    pixels: dict[str, list[int | None]] = {"id": [None] * len(names), "ood": [None] * len(names)}
    places = {name: place for place, name in enumerate(names)}
    figures = []
    for number, table in tables:
        rows = [places[name] for name in table.images]
        for kind, counts in (("id", table.pixels.id), ("ood", table.pixels.ood)):
            for row, count in zip(rows, counts, strict=True):
                pixels[kind][row] = count
        for score, found in table.scores.items():
            figures.append({"run": number, "score": score, **_columns(found, rows, len(names))})
    return {**pixels, "figures": figures}


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
