"""The reproduction as a table of text, for a terminal, and as Markdown, CSV and LaTeX."""

from collections.abc import Mapping, Sequence
from typing import Literal

from abet.report.markup import csv_table, latex_table, latex_text, markdown_table, markdown_text
from abet.report.table import percent
from abet.reproduction.table import TITLES, PaperTable
from abet.reproduction.verdict import Cell, Verdict

Format = Literal["text", "md", "csv", "latex"]

HEADER = ("set", "method", "figure", "paper", "protocol", "exact", "verdict", "because")


def rows_of(cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    """One row of text per cell, figures in percent."""
    return [
        (
            cell.dataset,
            cell.method,
            TITLES[cell.figure],
            *("" if value is None else percent(value) for value in (cell.paper, cell.reference, cell.exact)),
            cell.verdict,
            cell.because,
        )
        for cell in cells
    ]


def summary(table: PaperTable, cells: Sequence[Cell], counted: Mapping[Verdict, int], tolerance_points: float) -> str:
    """What was compared with what, and how it came out."""
    came_out = ", ".join(f"{count} {verdict}" for verdict, count in counted.items() if count)
    return (
        f"{len(cells)} figures: {came_out}. Paper: arXiv {table.arxiv} ({table.version}), Table {table.table}; "
        f"tolerance {tolerance_points:g} points"
    )


def render(kind: Literal["md", "csv", "latex"], cells: Sequence[Cell], below: str) -> str:
    """The table as text; CSV holds fractions with every digit, the others percentages and a last line."""
    if kind == "csv":
        return csv_table(tuple(cells[0].to_json()), (cell.to_json() for cell in cells))
    if kind == "md":
        rows = [[markdown_text(text) for text in row] for row in rows_of(cells)]
        return f"{markdown_table(HEADER, rows, left=len(HEADER))}\n{markdown_text(below)}\n"
    rows = [[latex_text(text) for text in row] for row in rows_of(cells)]
    table = latex_table([" & ".join(HEADER) + r" \\"], rows, columns="lllrrrlp{6cm}")
    return f"{table}\\par\\smallskip{{\\footnotesize {latex_text(below)}\\par}}\n"
