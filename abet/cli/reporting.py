"""abet report"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from abet.cli.options import (
    DeviceOption,
    EvaluatedRootOption,
    folder_of,
    place_of,
    require_ood_set,
    require_output,
    say,
    split_names,
)
from abet.cli.panels import EVALUATE
from abet.errors import UsageError
from abet.places import Place, parse_place

if TYPE_CHECKING:
    from abet.report.runs import RunResults
    from abet.site import SiteConfig

PAGE: Final = "the page"
OF: Final[Mapping[str, tuple[str, ...]]] = {
    "--images": ("--matrix",),
    "--data-root": ("--matrix",),
    "--device": ("--matrix",),
    "--dataset": ("--matrix", "--format"),
    "--scores": ("--matrix", "--format"),
    "--columns": ("--format",),
    "--max-megabytes": (PAGE,),
    "--maps": (PAGE,),
}
"""Which of its three products an option of the report is of."""


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command(rich_help_panel=EVALUATE)(report)


def report(
    runs: Annotated[list[str], typer.Argument(help="Runs to compare: folders, or s3://.")],
    output: Annotated[
        str | None, typer.Option(metavar="PLACE", help="The page, one self-contained HTML file; also s3://.")
    ] = None,
    matrix: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the paper's figure, .png or .pdf: images x (checkpoint, score)."),
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="Rows of the matrix: image names, comma-separated, or @FILE with one per line.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Data set of the matrix, if the runs hold several; or those of the table.")
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            help="Columns of the matrix per run, comma-separated (default: abet, else entropy); or rows of the table."
        ),
    ] = None,
    format_: Annotated[
        Literal["md", "csv", "latex"] | None,
        typer.Option("--format", help="A table for a paper instead of the page, to stdout or --output."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Figures of that table, comma-separated: exact, reference (the paper's protocol), any protocol by its "
            "name, or all. Default: exact and SegmentMeIfYouCan's; of CSV all."
        ),
    ] = None,
    max_megabytes: Annotated[
        float | None,
        typer.Option(min=1, help="Of the page: its maps are shown smaller, then fewer, until it fits. Default: 25."),
    ] = None,
    maps: Annotated[
        str | None, typer.Option(help="Scores whose maps the page holds, comma-separated. Default: a few of each run.")
    ] = None,
    data_root: EvaluatedRootOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Compare runs on one page, in a table, or as the paper's matrix figure."""
    if format_ is not None and matrix is not None:
        raise UsageError("--format writes a table, --matrix a figure: give one of them")
    made = {
        "--format": format_ is not None,
        "--matrix": matrix is not None,
        PAGE: format_ is None and (matrix is None or output is not None),
    }
    given = {
        "--images": images,
        "--data-root": data_root,
        "--device": None if device == "auto" else device,
        "--dataset": dataset,
        "--scores": scores,
        "--columns": columns,
        "--max-megabytes": max_megabytes,
        "--maps": maps,
    }
    _refuse_idle({name for name, value in given.items() if value is not None}, made)
    target = place_of(output)
    if format_ is not None:
        from abet.cli.comparing import write_table

        write_table(runs, format_, target, split_names(dataset, what="data set"), scores, columns)
        return
    if dataset is not None:
        require_ood_set(dataset)
    rows, keys = split_names(images), split_names(None if scores == "all" else scores, what="score")
    embedded = split_names(maps, what="score")
    figure = None if matrix is None else folder_of("--matrix", matrix, remedy="copy it with `abet sync` afterwards")
    page = (target or Path("report.html")) if made[PAGE] else None
    places = [parse_place(run) for run in runs]
    from abet.site import load_site

    site = load_site()
    if figure is not None:
        _check_matrix(figure, device)
    if page is not None:
        require_output(page, kind="file", s3=site.s3)
    with ExitStack() as stack:
        loaded = [stack.enter_context(loaded_run(place, site)) for place in places]
        if figure is not None:
            from abet.compare import draw_matrix

            draw_matrix(
                loaded,
                figure,
                dataset=dataset,
                images=rows,
                scores=keys,
                data_root=place_of(data_root),
                device=device,
                site=site,
            )
            say(f"wrote {figure}")
        if page is not None:
            from abet.report.page import write_report

            limit = 25.0 if max_megabytes is None else max_megabytes
            write_report(loaded, page, max_megabytes=limit, maps=embedded, s3=site.s3)
            say(f"wrote {page}")


def _refuse_idle(given: set[str], made: Mapping[str, bool]) -> None:
    """Raises UsageError for an option of something that is not made: it would do nothing."""
    for name, products in OF.items():
        if name in given and not any(made[product] for product in products):
            add = {"--matrix": "--matrix FILE.png", "--format": "--format md, csv or latex", PAGE: "--output PLACE"}
            raise UsageError(
                f"{name} would do nothing: it belongs to {' and '.join(products)}, which is not made here; add "
                f"{' or '.join(add[product] for product in products)}, or leave it out"
            )


@contextmanager
def loaded_run(place: Place, site: "SiteConfig") -> Iterator["RunResults"]:
    """What a run holds for showing, while the block lasts; of one in S3 a copy on this machine."""
    from abet.mirror import mirrored, pull_results
    from abet.report.runs import load_run

    with mirrored(place, site) as mirror:
        pull_results(mirror)
        yield load_run(mirror.folder, place=place)


def _check_matrix(matrix: Path, device: str) -> None:
    """What would else be refused only after the networks have run."""
    from abet.report.matrix import check_figure_path

    check_figure_path(matrix)
    require_output(matrix, kind="file")
    from abet.devices import choose_device

    choose_device(device)
