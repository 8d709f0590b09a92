"""The comparison table of one data set as text: values, brackets, which is best, and why something is missing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from abet.report.records import Figure, PixelCounts, ScoreFigures
from abet.report.runs import RunResults

DECIMALS = 2
"""Shown of a percentage: 0.01 percentage points."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A figure: its heading, what it means and which end of the scale is good (+1 high, -1 low, 0 not known)."""

    title: str
    meaning: str
    better: int


COLUMNS = (
    Column(title="AUROC", meaning="Area under the ROC curve", better=+1),
    Column(title="AP", meaning="Average precision: area under the precision-recall curve", better=+1),
    Column(title="FPR95", meaning="Share of ID pixels flagged when 95 % of the OOD pixels are found", better=-1),
    Column(title="AUROC", meaning="AUROC by the paper's 100-bin protocol", better=+1),
    Column(title="AUPRC", meaning="Average precision by the paper's 100-bin protocol", better=+1),
    Column(title="FPR95", meaning="FPR at the TPR nearest to 95 % by the paper's 100-bin protocol", better=-1),
)
UNEXPLAINED = "undefined; metrics.json gives no reason"
MEASURED = 3
"""The first so many columns are exact figures, the others the reference protocol's."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure: percentage, the half-width of its bracket where that shows, full digits for the tooltip."""

    value: float | None
    text: str
    spread: str = ""
    detail: str = ""
    note: int | None = None
    """Number of the footnote that says why there is no value."""
    best: bool = False
    compares: bool = True
    """Whether it may be the best of its column: not where runs were evaluated on different pixels."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One score of one run."""

    run: str
    score: str
    cells: Sequence[Cell]
    threshold: Cell
    """At 95% TPR, in raw score units."""
    dropped: str
    dropped_detail: str
    notes: Sequence[int]
    """Footnotes about the whole row."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows in order of runs, then scores; footnotes are numbered from 1."""

    rows: Sequence[Row]
    notes: Sequence[str]


@dataclass
class _Notes:
    texts: list[str] = field(default_factory=list)

    def number(self, text: str) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def comparison(runs: Sequence[RunResults], labels: Sequence[str], dataset: str) -> Table:
    """The table of every (run, score) that was evaluated on ``dataset``."""
    notes = _Notes()
    rows = [
        _row(label, score, figures, run.datasets[dataset].metrics.pixels, notes)
        for run, label in zip(runs, labels, strict=True)
        if dataset in run.datasets
        for score, figures in run.datasets[dataset].metrics.scores.items()
    ]
    return Table(rows=_mark_best(rows, compares=compares(runs, dataset)), notes=notes.texts)


def compares(runs: Sequence[RunResults], dataset: str) -> bool:
    """Whether the runs' figures on ``dataset`` are of the same pixels of the same files, by the same definition of OOD.

    A run that does not say which files it read compares with those of as many pixels.
    """
    found = [run.datasets[dataset].metrics for run in runs if dataset in run.datasets]
    alike = len({(one.split or "test", one.images, one.pixels, one.ood_definition) for one in found}) <= 1
    return alike and len({one.list_sha256 for one in found} - {None}) <= 1


def percent(fraction: float) -> str:
    """A fraction as a percentage without its sign: 0.123456 -> 12.35."""
    return f"{fraction * 100:.{DECIMALS}f}"


def spread(value: float, low: float, high: float) -> str:
    """The bracket as "±0.03", wide enough that the shown value ± this contains it; empty where rounding hides it."""
    if max(value - low, high - value) * 100 < 0.5 * 10**-DECIMALS:
        return ""
    shown = float(percent(value))
    half_width = max(shown - low * 100, high * 100 - shown)
    # The subtraction leaves dust of 1e-14, which must not cost a digit
    return f"±{math.ceil(half_width * 10**DECIMALS - 1e-9) / 10**DECIMALS:.{DECIMALS}f}"


def _row(run: str, score: str, figures: ScoreFigures, pixels: PixelCounts, notes: _Notes) -> Row:
    broken = figures.non_finite
    found = []
    if broken and (broken.id or broken.ood):
        counted = "NaN ranks above every number, infinities at their ends"
        found.append(notes.number(f"{broken.id:,} ID and {broken.ood:,} OOD pixels are not finite: {counted}."))
    reference = figures.reference_protocol
    dropped = reference.dropped if reference else None
    measured = [_measured(figure, figures.reason, notes) for figure in (figures.auroc, figures.ap, figures.fpr95)]
    return Row(
        run=run,
        score=score,
        cells=[*measured, *_reference(figures, notes)],
        threshold=_threshold(figures, notes),
        dropped="" if dropped is None else f"{_share(dropped.id, pixels.id)} / {_share(dropped.ood, pixels.ood)}",
        dropped_detail="" if dropped is None else f"{dropped.id:,} ID and {dropped.ood:,} OOD pixels outside [0, 1]",
        notes=found,
    )


def _measured(figure: Figure | None, reason: str | None, notes: _Notes) -> Cell:
    if figure is None or figure.value is None:
        why = (figure.reason if figure else None) or reason or UNEXPLAINED
        return _absent(why, notes)
    low = figure.value if figure.low is None else figure.low
    high = figure.value if figure.high is None else figure.high
    operating_point = getattr(figure, "tpr", None)
    detail = f"{figure.value!r} in [{low!r}, {high!r}]"
    if operating_point is not None:
        detail += f" at TPR {operating_point!r}"
    return Cell(value=figure.value, text=percent(figure.value), spread=spread(figure.value, low, high), detail=detail)


def _threshold(figures: ScoreFigures, notes: _Notes) -> Cell:
    point = figures.fpr95
    if point is None or point.threshold is None:
        return _absent((point.reason if point else None) or figures.reason or UNEXPLAINED, notes)
    return Cell(value=point.threshold, text=f"{point.threshold:.4g}", detail=repr(point.threshold))


def _reference(figures: ScoreFigures, notes: _Notes) -> list[Cell]:
    reference = figures.reference_protocol
    own = reference.reason if reference else None
    why = own or figures.reference_protocol_reason or figures.reason or UNEXPLAINED
    values = (reference.auroc, reference.auprc, reference.fpr95) if reference else (None, None, None)
    return [
        _absent(why, notes) if value is None else Cell(value=value, text=percent(value), detail=repr(value))
        for value in values
    ]


def _absent(reason: str, notes: _Notes) -> Cell:
    return Cell(value=None, text="n/a", detail=reason, note=notes.number(reason))


def _share(part: int, whole: int) -> str:
    """Percentage with enough digits that a few lost pixels do not read as none."""
    if part == 0 or whole == 0:
        return "0"
    share = 100 * part / whole
    return f"{share:.1f}" if share >= 0.05 else "<0.1"


def mark_best(rows: Sequence[Sequence[Cell]], columns: Sequence[Column], *, compares: bool) -> list[list[Cell]]:
    """Mark the best value of each column, ties included; a single value is not the best of anything.

    Of rows that do not compare none is.
    """
    best = [_best([row[place].value for row in rows], column.better) for place, column in enumerate(columns)]
    return [
        [
            replace(cell, best=compares and cell.value is not None and cell.value == wanted, compares=compares)
            for cell, wanted in zip(row, best, strict=True)
        ]
        for row in rows
    ]


def _best(values: Sequence[float | None], better: int) -> float | None:
    found = [value for value in values if value is not None]
    if len(found) < 2 or better == 0:
        return None
    return max(found) if better > 0 else min(found)


def _mark_best(rows: Sequence[Row], *, compares: bool) -> list[Row]:
    marked = mark_best([row.cells for row in rows], COLUMNS, compares=compares)
    return [replace(row, cells=cells) for row, cells in zip(rows, marked, strict=True)]
