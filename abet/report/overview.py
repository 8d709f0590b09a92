"""All data sets side by side: one figure of every (run, score) per set, whichever figure the reader chooses."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from abet.report.protocols import ProtocolTable
from abet.report.table import COLUMNS, MEASURED, Cell, Column, Table

EXACT, REFERENCE = "exact", "the paper's 100 bins"
FIRST_SHOWN: Final = (EXACT, "AP")


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Cells of ``figures[f]`` for ``rows[r]`` on ``sets[s]`` are ``cells[f][r][s]``; None where it was not taken."""

    rows: Sequence[tuple[str, str]]
    """(run, score)."""
    sets: Sequence[str]
    apart: Sequence[str]
    """The sets whose runs do not compare: their columns have no best."""
    figures: Sequence[str]
    better: Sequence[int]
    cells: Sequence[Sequence[Sequence[Cell | None]]]
    shown: int
    """The figure that is shown first."""

    def to_json(self) -> dict[str, Any]:
        """What the page's script needs to show any figure: text, half-width, detail, value and which end is good."""
        cells = [
            [[_cell_data(cell, better) for cell in row] for row in rows]
            for rows, better in zip(self.cells, self.better, strict=True)
        ]
        return {"shown": self.shown, "cells": cells}


def _has_figure(cell: Cell) -> bool:
    return cell.text != "n/a"


def _cell_data(cell: Cell | None, better: int) -> list[Any] | None:
    return None if cell is None else [cell.text, cell.spread, cell.detail, cell.value, better if cell.compares else 0]


def overview(tables: Mapping[str, tuple[Table, Sequence[ProtocolTable]]], *, apart: Sequence[str] = ()) -> Overview:
    """From the tables of each data set, by its name; of those in ``apart`` the runs do not compare."""
    found: dict[str, dict[tuple[str, str], dict[str, Cell]]] = {}
    columns: dict[str, Column] = {}
    for name, (table, protocols) in tables.items():
        for figure, column, row, cell in (*_exact(table), *_by_protocol(protocols)):
            columns.setdefault(figure, column)
            found.setdefault(figure, {}).setdefault(row, {})[name] = cell
    taken = ((row, cell) for rows in found.values() for row, cells in rows.items() for cell in cells.values())
    defined = {row for row, cell in taken if _has_figure(cell)}
    every = dict.fromkeys((row.run, row.score) for table, _ in tables.values() for row in table.rows)
    rows = [row for row in every if row in defined]
    figures = list(columns)
    wanted = f"{FIRST_SHOWN[1]} ({FIRST_SHOWN[0]})"
    return Overview(
        rows=rows,
        sets=list(tables),
        apart=apart,
        figures=figures,
        better=[columns[figure].better for figure in figures],
        cells=[[[found[f].get(row, {}).get(name) for name in tables] for row in rows] for f in figures],
        shown=figures.index(wanted) if wanted in figures else 0,
    )


def _exact(table: Table) -> Iterator[tuple[str, Column, tuple[str, str], Cell]]:
    for row in table.rows:
        for place, (column, cell) in enumerate(zip(COLUMNS, row.cells, strict=True)):
            protocol = EXACT if place < MEASURED else REFERENCE
            yield f"{column.title} ({protocol})", column, (row.run, row.score), cell


def _by_protocol(tables: Sequence[ProtocolTable]) -> Iterator[tuple[str, Column, tuple[str, str], Cell]]:
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                yield f"{column.title} ({table.name})", column, (row.run, row.score), cell
