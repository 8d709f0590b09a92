"""The comparison of runs as a table for a paper: runs x scores x sets.

    abet report runs/abet runs/plain --format latex > table.tex

Markdown and LaTeX hold percentages, a row for each score of each run and the sets side by side, the best of a column in
bold. CSV holds fractions with every digit, a row for each run, set, score and protocol.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from abet.errors import UsageError, unknown_name
from abet.report.csv_rows import CSV_COLUMNS, FIGURES, Group, csv_rows, prevalence
from abet.report.markup import csv_table, latex_table, latex_text, markdown_table, markdown_text
from abet.report.records import Interval, Intervals, Metrics
from abet.report.runs import RunResults, label_runs, score_keys
from abet.report.table import COLUMNS, MEASURED, UNEXPLAINED, Cell, Row, comparison, percent

Format = Literal["md", "csv", "latex"]

GROUPS: Final[tuple[Group, ...]] = ("exact", "reference")
_PLACES: Final = {"exact": range(MEASURED), "reference": range(MEASURED, len(COLUMNS))}
"""Which columns of the comparison a group is."""


def render_table(
    runs: Sequence[RunResults],
    kind: Format,
    *,
    datasets: Sequence[str] = (),
    scores: Sequence[str] = (),
    groups: Sequence[Group] = ("exact",),
) -> str:
    """The table as text; of the data sets and scores named (all: none is), with the groups of figures named.

    Raises:
        UsageError: a data set or score that no run holds.
    """
    labels = label_runs(runs)
    narrowed, names = _narrow(runs, datasets, scores)
    if kind == "csv":
        return csv_table(CSV_COLUMNS, csv_rows(narrowed, labels, names, groups))
    wide = _Wide.of(narrowed, labels, names, groups)
    return _markdown(wide) if kind == "md" else _latex(wide)


def _narrow(
    runs: Sequence[RunResults], datasets: Sequence[str], scores: Sequence[str]
) -> tuple[list[RunResults], list[str]]:
    """The runs with these scores alone, so that the best is the best of what is shown; and the data sets' names."""
    there = sorted({name for run in runs for name in run.datasets})
    for kind, named, choices in (("data set", datasets, there), ("score", scores, score_keys(runs))):
        for name in named:
            if name not in choices:
                raise unknown_name(kind=f"{kind} of these runs", name=name, choices=choices)
    names = list(dict.fromkeys(datasets)) or there
    return [_with_scores(run, scores, names) for run in runs], names


def _with_scores(run: RunResults, scores: Collection[str], names: Collection[str]) -> RunResults:
    kept = {}
    for name in names:
        if name in run.datasets:
            data = run.datasets[name]
            chosen = {key: entry for key, entry in data.metrics.scores.items() if not scores or key in scores}
            kept[name] = replace(data, metrics=data.metrics.model_copy(update={"scores": chosen}))
    return replace(run, datasets=kept)


# --- Markdown and LaTeX


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A cell with its interval as text, and the footnotes about it."""

    cell: Cell
    interval: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class _Wide:
    """What both show: the sets, the figures of each, and a row for every (run, score) with a figure at all."""

    sets: Sequence[str]
    titles: Sequence[str]
    """Of the columns of one set."""
    rows: Sequence[tuple[str, str, Sequence[_Shown | None]]]
    """Run, score, cells; None where the run does not hold that set."""
    notes: Sequence[str]
    """Footnotes, by number from 1."""
    about: Sequence[str]
    """What concerns the whole table."""

    @classmethod
    def of(
        cls, runs: Sequence[RunResults], labels: Sequence[str], names: Sequence[str], groups: Sequence[Group]
    ) -> "_Wide":
        places = [place for group in groups for place in _PLACES[group]]
        parts = [_shown(runs, labels, name, places) for name in names]
        keys = [(label, key) for run, label in zip(runs, labels, strict=True) for key in score_keys([run])]
        rows = [(*key, [cell for part in parts for cell in part.get(key, [None] * len(places))]) for key in keys]
        kept = [row for row in rows if any(cell and cell.cell.value is not None for cell in row[2])]
        return cls(
            sets=names,
            titles=[COLUMNS[place].title + ("" if place < MEASURED else " (100 bins)") for place in places],
            rows=kept,
            notes=list(dict.fromkeys(note for *_, cells in kept for cell in cells if cell for note in cell.notes)),
            about=[*_about(runs, names), *_left_out([row for row in rows if row not in kept])],
        )


def _shown(
    runs: Sequence[RunResults], labels: Sequence[str], name: str, places: Sequence[int]
) -> dict[tuple[str, str], list[_Shown | None]]:
    """(run, score) -> the cells of one data set."""
    table = comparison(runs, labels, name)
    held = {label: run.datasets[name].metrics for run, label in zip(runs, labels, strict=True) if name in run.datasets}

    def one(row: Row, place: int) -> _Shown:
        cell, found = row.cells[place], held[row.run].scores[row.score].intervals
        numbers = [*(row.notes if place == places[0] else ()), *([] if cell.note is None else [cell.note])]
        interval = _interval(found, place) if cell.value is not None else ""
        return _Shown(cell=cell, interval=interval, notes=[table.notes[number - 1] for number in numbers])

    return {(row.run, row.score): [one(row, place) for place in places] for row in table.rows}


def _left_out(rows: Sequence[tuple[str, str, Sequence[_Shown | None]]]) -> list[str]:
    """One line for each reason why a score of a run has no figure anywhere."""
    reasons: dict[str, list[str]] = {}
    for run, key, cells in rows:
        why = next((note for cell in cells if cell for note in cell.notes), UNEXPLAINED)
        reasons.setdefault(why, []).append(f"{key} of {run}")
    return [f"Left out: {', '.join(names)}: {why}." for why, names in reasons.items()]


def _interval(found: Intervals | None, place: int) -> str:
    ends: Interval | None = getattr(found, FIGURES[place]) if found and place < MEASURED else None
    return "" if ends is None else f"[{percent(ends.low)}, {percent(ends.high)}]"


def _about(runs: Sequence[RunResults], names: Sequence[str]) -> list[str]:
    """What the whole table says: units, sets with their images, and intervals."""
    parts = []
    for name in names:
        found = {_describe(run.datasets[name].metrics) for run in runs if name in run.datasets}
        unlike = " is not the same for all runs" if len(found) > 1 else ""
        parts.append(f"{name}{unlike}: {'; '.join(sorted(found))}")
    lines = [f"In percent; best of a column in bold; ± half the proven bracket, where it shows. {'. '.join(parts)}."]
    entries = [entry for run in runs for data in run.datasets.values() for entry in data.metrics.scores.values()]
    drawn = {(i.confidence, i.resamples) for entry in entries if (i := entry.intervals)}
    lines += [f"[..]: {100 * confidence:.0f}% over {count:,} draws of images." for confidence, count in sorted(drawn)]
    return lines


def _describe(metrics: Metrics) -> str:
    definition = f", definition {metrics.ood_definition}" if metrics.ood_definition else ""
    share = prevalence(metrics.pixels.id, metrics.pixels.ood)
    of_pixels = "" if share is None else f", {percent(share)}% of the pixels OOD"
    return f"{metrics.split or 'test'}, {metrics.images} images{definition}{of_pixels}"


@dataclass(frozen=True, kw_only=True)
class _Markup:
    """How one of the two writes names and figures."""

    name: Callable[[str], str]
    figure: Callable[[str], str]
    bold: str
    note: str

    def cell(self, wide: _Wide, shown: _Shown | None) -> str:
        if shown is None:
            return ""
        value = self.figure(shown.cell.text)
        parts = [self.bold.format(value) if shown.cell.best else value]
        parts += [self.figure(part) for part in (shown.cell.spread, shown.interval) if part]
        numbers = ",".join(str(wide.notes.index(note) + 1) for note in shown.notes)
        return " ".join(parts) + (self.note.format(numbers) if numbers else "")

    def rows(self, wide: _Wide) -> list[list[str]]:
        return [
            [self.name(run), self.name(key), *(self.cell(wide, shown) for shown in cells)]
            for run, key, cells in wide.rows
        ]

    def below(self, wide: _Wide) -> list[str]:
        """Footnotes by number, then what concerns the whole table."""
        numbered = [f"{self.note.format(place)} {self.name(note)}" for place, note in enumerate(wide.notes, start=1)]
        return numbered + [self.name(line) for line in wide.about]


_MARKDOWN: Final = _Markup(name=markdown_text, figure=str, bold="**{}**", note="<sup>{}</sup>")
_LATEX: Final = _Markup(name=latex_text, figure=latex_text, bold=r"\textbf{{{}}}", note=r"\textsuperscript{{{}}}")


def _markdown(wide: _Wide) -> str:
    header = ["run", "score", *(f"{markdown_text(name)} {title}" for name in wide.sets for title in wide.titles)]
    below = "".join(f"\n{line}\n" for line in _MARKDOWN.below(wide))
    return markdown_table(header, _MARKDOWN.rows(wide), left=2) + below


def _latex(wide: _Wide) -> str:
    count, sets = len(wide.titles), len(wide.sets)
    spans = [rf"\multicolumn{{{count}}}{{c}}{{{latex_text(name)}}}" for name in wide.sets]
    starts = [3 + count * place for place in range(sets)]
    rules = " ".join(rf"\cmidrule(lr){{{start}-{start + count - 1}}}" for start in starts)
    titles = ["run", "score", *(title for _ in wide.sets for title in wide.titles)]
    head = [" & ".join(["", "", *spans]) + r" \\", rules, " & ".join(titles) + r" \\"]
    table = latex_table(head, _LATEX.rows(wide), columns="ll" + "r" * count * sets)
    below = "".join(f"{line}\\par\n" for line in _LATEX.below(wide))
    return table + r"\par\smallskip{\footnotesize" + f"\n{below}}}\n"


def parse_groups(names: Sequence[str]) -> tuple[Group, ...]:
    """The groups of figures named, in the order of the table. Raises UsageError for an unknown one, or for none."""
    for name in names:
        if name not in GROUPS:
            raise unknown_name(kind="group of columns", name=name, choices=GROUPS)
    if not names:
        raise UsageError(f"no columns: choose among {', '.join(GROUPS)}")
    return tuple(group for group in GROUPS if group in names)
