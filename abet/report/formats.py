"""The comparison of runs as a table for a paper: runs x scores x sets.

    abet report runs/abet runs/plain --format latex > table.tex

Markdown and LaTeX hold percentages, a table for each protocol, a row for each score of each run and the sets side by
side, the best of a column in bold. CSV holds fractions with every digit, a row for each run, set, score and protocol.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from abet.errors import unknown_name
from abet.metrics import components, smiyc
from abet.report.csv_rows import CSV_COLUMNS, EXACT, REFERENCE, csv_rows
from abet.report.markup import csv_table, latex_table, latex_text, markdown_table, markdown_text
from abet.report.runs import RunResults, label_runs, score_keys
from abet.report.wide import Shown, Wide, exact_table, protocol_table

Format = Literal["md", "csv", "latex"]

GROUPS: Final = (EXACT, REFERENCE)
ALL: Final = "all"
PUBLISHED: Final = (EXACT, smiyc.PROTOCOL, components.PROTOCOL)
"""What papers show: Markdown and LaTeX unless others are asked for, as far as the runs have them."""


def render_table(
    runs: Sequence[RunResults],
    kind: Format,
    *,
    datasets: Sequence[str] = (),
    scores: Sequence[str] = (),
    groups: Sequence[str] = (),
) -> str:
    """The tables as text; of the data sets and scores named (all: none is), with the groups of figures named.

    A group is ``exact``, ``reference`` or a protocol that the runs were measured by. None: all in CSV, `PUBLISHED`
    in the others.

    Raises:
        UsageError: a data set, score or group that no run holds.
    """
    labels = label_runs(runs)
    narrowed, names = _narrow(runs, datasets, scores)
    chosen = _choose_groups(groups, _protocols(narrowed), kind)
    if kind == "csv":
        rows = list(csv_rows(narrowed, labels, names, chosen))
        columns = dict.fromkeys((*CSV_COLUMNS, *(key for row in rows for key in row)))
        return csv_table(list(columns), rows)
    own = [group for group in chosen if group in GROUPS]
    tables = [exact_table(narrowed, labels, names, own)] if own else []
    tables += [protocol_table(narrowed, labels, names, group) for group in chosen if group not in GROUPS]
    heading, write = ("#### {}\n\n", _markdown) if kind == "md" else ("% {}\n", _latex)
    return "\n".join((heading.format(table.protocol) if len(tables) > 1 else "") + write(table) for table in tables)


def _protocols(runs: Sequence[RunResults]) -> list[str]:
    """Every protocol of the runs once, in order of first appearance."""
    entries = (entry for run in runs for data in run.datasets.values() for entry in data.metrics.scores.values())
    return list(dict.fromkeys(name for entry in entries for name in entry.protocols))


def _choose_groups(named: Sequence[str], there: Sequence[str], kind: Format) -> list[str]:
    """The groups named, in the order of the tables. Raises UsageError for an unknown one."""
    every = [*GROUPS, *there]
    for name in named:
        if name not in (*every, ALL):
            raise unknown_name(kind="group of columns of these runs", name=name, choices=(*every, ALL))
    if ALL in named or (kind == "csv" and not named):
        return every
    return [group for group in every if group in (named or PUBLISHED)]


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
class _Markup:
    """How one of the two writes names and figures."""

    name: Callable[[str], str]
    figure: Callable[[str], str]
    bold: str
    note: str

    def cell(self, wide: Wide, shown: Shown | None) -> str:
        if shown is None:
            return ""
        value = self.figure(shown.cell.text)
        parts = [self.bold.format(value) if shown.cell.best else value]
        parts += [self.figure(part) for part in (shown.cell.spread, shown.interval) if part]
        numbers = ",".join(str(wide.notes.index(note) + 1) for note in shown.notes)
        return " ".join(parts) + (self.note.format(numbers) if numbers else "")

    def rows(self, wide: Wide) -> list[list[str]]:
        return [
            [self.name(run), self.name(key), *(self.cell(wide, shown) for shown in cells)]
            for run, key, cells in wide.rows
        ]

    def below(self, wide: Wide) -> list[str]:
        """Footnotes by number, then what concerns the whole table."""
        numbered = [f"{self.note.format(place)} {self.name(note)}" for place, note in enumerate(wide.notes, start=1)]
        return numbered + [self.name(line) for line in wide.about]


_MARKDOWN: Final = _Markup(name=markdown_text, figure=str, bold="**{}**", note="<sup>{}</sup>")
_LATEX: Final = _Markup(name=latex_text, figure=latex_text, bold=r"\textbf{{{}}}", note=r"\textsuperscript{{{}}}")


def _markdown(wide: Wide) -> str:
    header = ["run", "score", *(f"{markdown_text(name)} {title}" for name in wide.sets for title in wide.titles)]
    below = "".join(f"\n{line}\n" for line in _MARKDOWN.below(wide))
    return markdown_table(header, _MARKDOWN.rows(wide), left=2) + below


def _latex(wide: Wide) -> str:
    count, sets = len(wide.titles), len(wide.sets)
    spans = [rf"\multicolumn{{{count}}}{{c}}{{{latex_text(name)}}}" for name in wide.sets]
    starts = [3 + count * place for place in range(sets)]
    rules = " ".join(rf"\cmidrule(lr){{{start}-{start + count - 1}}}" for start in starts)
    titles = ["run", "score", *(title for _ in wide.sets for title in wide.titles)]
    head = [" & ".join(["", "", *spans]) + r" \\", rules, " & ".join(titles) + r" \\"]
    table = latex_table(head, _LATEX.rows(wide), columns="ll" + "r" * count * sets)
    below = "".join(f"{line}\\par\n" for line in _LATEX.below(wide))
    return table + r"\par\smallskip{\footnotesize" + f"\n{below}}}\n"
