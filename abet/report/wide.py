"""A table for a paper before it is Markdown or LaTeX: the figures of a protocol, with the data sets side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from abet.report.csv_rows import EXACT, FIGURES, REFERENCE, prevalence
from abet.report.protocols import TITLES, ProtocolTable, protocol_tables
from abet.report.records import Interval, Intervals, Metrics
from abet.report.runs import RunResults, score_keys
from abet.report.table import COLUMNS, MEASURED, UNEXPLAINED, Cell, Row, compares, comparison, percent
from abet.text import counted

_PLACES: Final = {EXACT: range(MEASURED), REFERENCE: range(MEASURED, len(COLUMNS))}
"""Which columns of the comparison a group is."""
_NAMES: Final = {EXACT: "exact-bracketed", REFERENCE: "reference-100-bins"}
_NOT_PRINTED: Final = TITLES["siou_predictions"][0]
"""Of the components: no published table has it. The page and CSV do."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A cell with its interval as text, and the footnotes about it."""

    cell: Cell
    interval: str = ""
    notes: Sequence[str] = ()


Key = tuple[str, str]
"""Run and score."""
Part = Mapping[Key, Sequence[Shown | None]]
"""The cells of one data set."""


@dataclass(frozen=True, kw_only=True)
class Wide:
    """What both show: the sets, the figures of each, and a row for every (run, score) with a figure at all."""

    protocol: str
    """That of all its figures, or those."""
    sets: Sequence[str]
    titles: Sequence[str]
    """Of the columns of one set."""
    rows: Sequence[tuple[str, str, Sequence[Shown | None]]]
    """Run, score, cells; None where the run does not hold that set."""
    notes: Sequence[str]
    """Footnotes, by number from 1."""
    about: Sequence[str]
    """What concerns the whole table."""


def exact_table(runs: Sequence[RunResults], labels: Sequence[str], names: Sequence[str], groups: Sequence[str]) -> Wide:
    """The figures that every evaluation has: the exact ones, the reference protocol's, or both, by ``groups``."""
    places = [place for group in groups for place in _PLACES[group]]
    parts = [_compared(runs, labels, name, places) for name in names]
    titles = [COLUMNS[place].title + ("" if place < MEASURED else " (100 bins)") for place in places]
    drawn = _draws(runs) if EXACT in groups else []
    return _wide(runs, labels, names, titles, parts, protocol=", ".join(_NAMES[group] for group in groups), about=drawn)


def protocol_table(runs: Sequence[RunResults], labels: Sequence[str], names: Sequence[str], protocol: str) -> Wide:
    """The figures of a protocol that the runs were also measured by, as the page shows them."""
    tables = {name: table for name in names for table in protocol_tables(runs, labels, name) if table.name == protocol}
    every = dict.fromkeys(column.title for table in tables.values() for column in table.columns)
    titles = [title for title in every if title != _NOT_PRINTED]
    parts = [_measured(tables[name], titles) if name in tables else {} for name in names]
    about = [*_taken_at(tables), *_unmeasured(runs, labels, names, protocol)]
    return _wide(runs, labels, names, titles, parts, protocol=protocol, about=about)


def _wide(
    runs: Sequence[RunResults],
    labels: Sequence[str],
    names: Sequence[str],
    titles: Sequence[str],
    parts: Sequence[Part],
    *,
    protocol: str,
    about: Sequence[str],
) -> Wide:
    keys = [(label, key) for run, label in zip(runs, labels, strict=True) for key in score_keys([run])]
    keys = [key for key in keys if any(key in part for part in parts)]
    rows = [(*key, [cell for part in parts for cell in part.get(key, [None] * len(titles))]) for key in keys]
    kept = [row for row in rows if any(cell and cell.cell.text != "n/a" for cell in row[2])]
    bold = any(cell and cell.cell.best for *_, cells in kept for cell in cells)
    return Wide(
        protocol=protocol,
        sets=names,
        titles=titles,
        rows=kept,
        notes=list(dict.fromkeys(note for *_, cells in kept for cell in cells if cell for note in cell.notes)),
        about=[_units(runs, names, protocol, bold=bold), *about, *_left_out([row for row in rows if row not in kept])],
    )


def _compared(runs: Sequence[RunResults], labels: Sequence[str], name: str, places: Sequence[int]) -> Part:
    table = comparison(runs, labels, name)
    held = {label: run.datasets[name].metrics for run, label in zip(runs, labels, strict=True) if name in run.datasets}

    def one(row: Row, place: int) -> Shown:
        cell, found = row.cells[place], held[row.run].scores[row.score].intervals
        numbers = [*(row.notes if place == places[0] else ()), *([] if cell.note is None else [cell.note])]
        interval = _interval(found, place) if cell.value is not None else ""
        return Shown(cell=cell, interval=interval, notes=[table.notes[number - 1] for number in numbers])

    return {(row.run, row.score): [one(row, place) for place in places] for row in table.rows}


def _measured(table: ProtocolTable, titles: Sequence[str]) -> Part:
    places = {column.title: place for place, column in enumerate(table.columns)}

    def one(cell: Cell) -> Shown:
        return Shown(cell=cell, notes=[cell.detail] if cell.text == "n/a" else [])

    return {
        (row.run, row.score): [one(row.cells[places[title]]) if title in places else None for title in titles]
        for row in table.rows
    }


def _interval(found: Intervals | None, place: int) -> str:
    ends: Interval | None = getattr(found, FIGURES[place]) if found and place < MEASURED else None
    return "" if ends is None else f"[{percent(ends.low)}, {percent(ends.high)}]"


# --- What stands below a table


def _left_out(rows: Sequence[tuple[str, str, Sequence[Shown | None]]]) -> list[str]:
    """One line for each reason why a score of a run has no figure anywhere."""
    reasons: dict[str, list[str]] = {}
    for run, key, cells in rows:
        why = next((note for cell in cells if cell for note in cell.notes), UNEXPLAINED)
        reasons.setdefault(why, []).append(f"{key} of {run}")
    return [f"Left out: {', '.join(names)}: {why}." for why, names in reasons.items()]


def _units(runs: Sequence[RunResults], names: Sequence[str], protocol: str, *, bold: bool) -> str:
    """What the whole table says: protocol, units, and sets with their images."""
    parts = []
    for name in names:
        found = {_describe(run.datasets[name].metrics) for run in runs if name in run.datasets}
        files = "" if compares(runs, name) or len(found) > 1 else " (other files)"
        unlike = f" is not the same for all runs{files}" if len(found) > 1 or files else ""
        parts.append(f"{name}{unlike}: {'; '.join(sorted(found))}")
    best = " best of a column in bold;" if bold else ""
    return f"Protocol {protocol}, in percent;{best} ± half the proven bracket, where it shows. {'. '.join(parts)}."


def _draws(runs: Sequence[RunResults]) -> list[str]:
    """What the intervals are."""
    entries = [entry for run in runs for data in run.datasets.values() for entry in data.metrics.scores.values()]
    drawn = {(i.confidence, i.resamples) for entry in entries if (i := entry.intervals)}
    return [
        f"[..]: {100 * confidence:.0f}% over {counted(count, 'draw')} of images." for confidence, count in sorted(drawn)
    ]


def _describe(metrics: Metrics) -> str:
    definition = f", definition {metrics.ood_definition}" if metrics.ood_definition else ""
    share = prevalence(metrics.pixels.id, metrics.pixels.ood)
    of_pixels = "" if share is None else f", {percent(share)}% of the pixels OOD"
    return f"{metrics.split or 'test'}, {counted(metrics.images, 'image')}{definition}{of_pixels}"


def _taken_at(tables: Mapping[str, ProtocolTable]) -> Iterator[str]:
    """Conditions that all rows of a set share: those of a row by itself stand on the page and in CSV."""
    for name, table in tables.items():
        columns = zip(table.conditions, zip(*(row.conditions for row in table.rows), strict=True), strict=True)
        shared = [f"{heading} {values[0]}" for heading, values in columns if values[0] and len(set(values)) == 1]
        if shared:
            yield f"{name}: {'; '.join(shared)}."


def _unmeasured(
    runs: Sequence[RunResults], labels: Sequence[str], names: Sequence[str], protocol: str
) -> Iterator[str]:
    """Which scores have figures, but none by this protocol."""
    for run, label in zip(runs, labels, strict=True):
        for name in names:
            scores = run.datasets[name].metrics.scores if name in run.datasets else {}
            absent = [key for key, entry in scores.items() if entry.auroc and protocol not in entry.protocols]
            if absent:
                whole = len(absent) == len([entry for entry in scores.values() if entry.auroc])
                yield f"Not measured by {protocol}: {label} on {name}{'' if whole else ': ' + ', '.join(absent)}."
