"""abet compare, and the tables of abet report --format"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from abet.cli.options import DatasetOption, place_of, require_ood_set, require_output, say, split_names
from abet.cli.panels import EVALUATE
from abet.places import Place, parse_place
from abet.text import counted, points

if TYPE_CHECKING:
    from abet.report.formats import Format
    from abet.site import SiteConfig

TITLES = {"auroc": "AUROC", "ap": "AP", "fpr95": "FPR95"}


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command(rich_help_panel=EVALUATE)(compare)


def compare(
    run_a: Annotated[str, typer.Argument(help="Run of the one model: a folder, or s3://.")],
    run_b: Annotated[str, typer.Argument(help="Run of the other, on the same images.")],
    dataset: DatasetOption,
    scores: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: KEY of both, or KEY:KEY, RUN_A's and RUN_B's. Default: all that both define."
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write the intervals as JSON; also s3://.")
    ] = None,
) -> None:
    """Whether one model is better than another on the same images: paired intervals of the differences."""
    require_ood_set(dataset)
    named = split_names(None if scores == "all" else scores, what="score")
    places = [parse_place(run) for run in (run_a, run_b)]
    from abet.files import json_text
    from abet.paired_models import choose_pairs, compare_models, read_counts
    from abet.site import load_site

    site, target = load_site(), place_of(output)
    if target is not None:
        require_output(target, kind="file", s3=site.s3)
    first, second = (read_counts(place, dataset, site) for place in places)
    result = compare_models(first, second, choose_pairs(first, second, named))
    _print_comparisons(result)
    if target is not None:
        write_place(target, json_text(result), site)


def _print_comparisons(result: Mapping[str, Any]) -> None:
    from rich.table import Column, Table

    from abet.cli.tables import console, definition_lines

    table = Table(
        *("scores", "figure"),
        *(Column(name, justify="right") for name in ("A", "B", "A - B", "95% interval")),
        "A is",
        title=f"{result['dataset']} ({result['split']}), in percent; the difference in points",
    )
    for entry in result["comparisons"]:
        pair = entry["score"] + (f" : {entry['minus']}" if entry["minus"] != entry["score"] else "")
        for key, title in TITLES.items():
            table.add_row(pair, title, *_cells(entry[key]))
        table.add_section()
    console().print(table)
    drawn = result["comparisons"][0]
    lines = [f"{letter}: {result[side]['run']}" for letter, side in (("A", "first"), ("B", "second"))]
    lines.append(
        f"{counted(drawn['resamples'], 'draw')} of {counted(drawn['images'], 'image')}, the same for both models"
    )
    lines += _broken(result["comparisons"])
    lines += definition_lines(result)
    lines += sorted({entry["reason"] for entry in result["comparisons"] if "reason" in entry})
    for line in lines:
        console().print(line, markup=False, soft_wrap=True)


def _broken(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which scores of which model are no numbers somewhere."""
    lines = []
    for entry in comparisons:
        for letter, side, key in (("A", "first", entry["score"]), ("B", "second", entry["minus"])):
            if pixels := entry.get("non_finite_pixels", {}).get(side):
                lines.append(
                    f"{letter}: {key} is not a finite number in {pixels:,} pixels; NaN ranks above every number"
                )
    return list(dict.fromkeys(lines))


def _cells(figure: Mapping[str, Any] | None) -> Sequence[str]:
    if figure is None:
        return ("n/a",) * 4 + ("not told apart",)
    plain = [f"{100 * figure[key]:.2f}" for key in ("first", "second")]
    signed = [points(figure[key]) for key in ("difference", "low", "high")]
    return (*plain, signed[0], f"{signed[1]} .. {signed[2]}", figure["verdict"])


def write_place(target: Place, text: str, site: "SiteConfig") -> None:
    """Write a file of this machine, or an object, whole; then say so."""
    from abet.files import write_bytes
    from abet.storage import open_storage

    if isinstance(target, Path):
        write_bytes(target, text.encode())
    else:
        open_storage(target.parent, site.s3).write(target.name, text.encode(), expect=None)
    say(f"wrote {target}")


def write_table(
    runs: Sequence[str],
    kind: "Format",
    output: Place | None,
    datasets: Sequence[str],
    scores: str | None,
    columns: str | None,
) -> None:
    """``abet report --format``: the table of the runs to a file, or to stdout."""
    from abet.cli.reporting import loaded_run
    from abet.report.formats import render_table
    from abet.site import load_site

    for name in datasets:
        require_ood_set(name)
    groups = split_names(columns, what="column")
    keys = split_names(None if scores == "all" else scores, what="score")
    places = [parse_place(run) for run in runs]
    site = load_site()
    if output is not None:
        require_output(output, kind="file", s3=site.s3)
    with ExitStack() as stack:
        loaded = [stack.enter_context(loaded_run(place, site)) for place in places]
        text = render_table(loaded, kind, datasets=datasets, scores=keys, groups=groups)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_place(output, text, site)
