"""Tables of the protocols that a run was also measured by, whatever they are: one table per protocol.

Nothing here knows which protocols there are. What an entry of ``metrics.json`` holds is told apart by its form: a
fraction is a figure, as is an object with ``low`` and ``high``; the rest says under which conditions it was taken.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from abet.report.runs import RunResults
from abet.report.table import Cell, Column, compares, mark_best, percent, spread
from abet.text import points

TITLES: Final = {
    "auroc": ("AUROC", +1),
    "ap": ("AP", +1),
    "auprc": ("AUPRC", +1),
    "fpr95": ("FPR95", -1),
    "best_f1": ("best F1", +1),
    "siou": ("sIoU", +1),
    "siou_predictions": ("sIoU of predictions", +1),
    "ppv": ("PPV", +1),
    "f1": ("F1", +1),
}
"""Figure -> heading, and which end is good; another is headed by its key and has no best."""
_CONDITIONS: Final = ("tpr", "prevalence", "threshold", "best_f1_threshold", "confidence")
_HEADINGS: Final = {"tpr": "TPR used", "best_f1_threshold": "best-F1 threshold", "left_out": "left out"}
_SILENT: Final = ("protocol", "reason", "seed")

Entry = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ProtocolRow:
    """One score of one run by a protocol."""

    run: str
    score: str
    cells: Sequence[Cell]
    conditions: Sequence[str]
    """What the figures were taken at, as short texts that run along the table's ``conditions``."""


@dataclass(frozen=True, kw_only=True)
class ProtocolTable:
    """All scores of all runs by one protocol on one data set."""

    name: str
    columns: Sequence[Column]
    conditions: Sequence[str]
    """Headings of the conditions."""
    rows: Sequence[ProtocolRow]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One score minus another of the same run, with 95% intervals."""

    run: str
    score: str
    minus: str
    cells: Sequence[Cell]
    """``best`` where the interval does not hold 0."""


def protocol_tables(runs: Sequence[RunResults], labels: Sequence[str], dataset: str) -> list[ProtocolTable]:
    """A table per protocol that any run has of ``dataset``, in order of first appearance."""
    found: dict[str, list[tuple[str, str, Entry]]] = {}
    for run, label in _evaluated(runs, labels, dataset):
        for score, figures in run.datasets[dataset].metrics.scores.items():
            for name, entry in figures.protocols.items():
                found.setdefault(name, []).append((label, score, entry))
    alike = compares(runs, dataset)
    return [_table(name, entries, alike=alike) for name, entries in found.items()]


def differences(runs: Sequence[RunResults], labels: Sequence[str], dataset: str) -> list[Difference]:
    """Every pair of scores of each run that has paired intervals."""
    return [
        Difference(
            run=label,
            score=str(pair.get("score")),
            minus=str(pair.get("minus")),
            cells=[_difference(pair.get(figure)) for figure in ("auroc", "ap", "fpr95")],
        )
        for run, label in _evaluated(runs, labels, dataset)
        for pair in run.datasets[dataset].metrics.paired_differences
    ]


def _evaluated(runs: Sequence[RunResults], labels: Sequence[str], dataset: str) -> list[tuple[RunResults, str]]:
    return [(run, label) for run, label in zip(runs, labels, strict=True) if dataset in run.datasets]


def _table(name: str, entries: Sequence[tuple[str, str, Entry]], *, alike: bool) -> ProtocolTable:
    read = [(run, score, dict(figures_of(entry)), dict(_conditions(entry)), entry) for run, score, entry in entries]
    keys = list(dict.fromkeys(key for _, _, figures, _, _ in read for key in figures))
    conditions = list(dict.fromkeys(key for *_, found, _ in read for key in found))
    columns = [_column(key, name) for key in keys]
    rows = [
        ProtocolRow(
            run=run,
            score=score,
            cells=[_cell(figures.get(key), entry) for key in keys],
            conditions=[found.get(key, "") for key in conditions],
        )
        for run, score, figures, found, entry in read
    ]
    cells = mark_best([row.cells for row in rows], columns, compares=alike)
    rows = [
        ProtocolRow(run=row.run, score=row.score, cells=marked, conditions=row.conditions)
        for row, marked in zip(rows, cells, strict=True)
    ]
    return ProtocolTable(name=name, columns=columns, conditions=conditions, rows=rows)


def _column(key: str, protocol: str) -> Column:
    *above, last = key.split(".")
    title, better = TITLES.get(last, (last.replace("_", " "), 0))
    return Column(title=" ".join([*above, title]), meaning=f"{key} by {protocol}", better=better)


def figures_of(entry: Entry, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Figures of an entry by key, as they stand there; of one inside another object by OUTER.INNER."""
    for key, value in entry.items():
        if key in _CONDITIONS or key in _SILENT:
            continue
        if key in TITLES or isinstance(value, float) or _is_interval(value):
            yield prefix + key, value
        elif isinstance(value, dict) and any(inner in TITLES for inner in value):
            yield from figures_of(value, f"{prefix}{key}.")


def conditions_of(entry: Entry) -> Iterator[tuple[str, Any]]:
    """What the figures of an entry were taken at, by key, as it stands there."""
    figures = {key.partition(".")[0] for key, _ in figures_of(entry)}
    point = entry.get("fpr95")
    inner = {key: point[key] for key in _CONDITIONS if key in point} if isinstance(point, dict) else {}
    for key, value in {**entry, **inner}.items():
        if key not in figures and key not in _SILENT and _text(key, value):
            yield key, value


def _conditions(entry: Entry) -> Iterator[tuple[str, str]]:
    for key, value in conditions_of(entry):
        yield _HEADINGS.get(key, key.replace("_", " ")), _text(key, value)


def _text(key: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(name, part)}" for name, part in value.items() if _text(name, part))
    if isinstance(value, bool) or value is None or isinstance(value, list):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if "threshold" in key else f"{100 * value:.4g} %"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_interval(value: Any) -> bool:
    return isinstance(value, dict) and {"low", "high"} <= value.keys()


def _cell(value: Any, entry: Entry) -> Cell:
    if isinstance(value, dict) and "value" not in value and _is_interval(value):
        return _interval(value)
    low = high = None
    if isinstance(value, dict):
        low, high, value = value.get("low"), value.get("high"), value.get("value")
    if not isinstance(value, float | int):
        return Cell(value=None, text="n/a", detail=str(entry.get("reason") or "undefined"))
    if not isinstance(low, float | int) or not isinstance(high, float | int):
        return Cell(value=value, text=percent(value), detail=repr(value))
    return Cell(
        value=value, text=percent(value), spread=spread(value, low, high), detail=f"{value!r} in [{low!r}, {high!r}]"
    )


def _interval(value: Entry) -> Cell:
    """Two ends have no place in a ranking: ``value`` is None."""
    low, high, binning = value["low"], value["high"], value.get("binning")
    if not isinstance(low, float | int) or not isinstance(high, float | int):
        return Cell(value=None, text="n/a", detail="undefined")
    detail = f"[{low!r}, {high!r}]" + ("" if binning is None else f", each end at most {binning!r} too far out")
    return Cell(value=None, text=f"{percent(low)} to {percent(high)}", detail=detail)


def _difference(value: Any) -> Cell:
    if not _is_interval(value) or not isinstance(value["low"], float | int):
        return Cell(value=None, text="n/a", detail="undefined")
    low, high = value["low"], value["high"]
    return Cell(
        value=None,
        text=f"{points(low)} to {points(high)}",
        detail=f"[{low!r}, {high!r}]",
        best=bool(low > 0 or high < 0),
    )
