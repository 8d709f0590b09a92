"""abet data check"""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Verify data sets."""


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Data set, e.g. road_anomaly.")],
    root: Annotated[Path | None, typer.Argument(help="Its folder. Default: the site file's.")] = None,
    split: Annotated[str | None, typer.Option(help="Split. Default: test.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads. Default: one per core.")] = None,
) -> None:
    """Verify a data set in full: pairs, sizes, label values, unreadable files. Exits 3 if anything is wrong."""
    from abet.cli.options import check_names
    from abet.data.check import check as run_check
    from abet.data.check import describe
    from abet.data.index import DATASETS
    from abet.progress import unsized_progress
    from abet.site import data_root, load_site

    check_names("dataset", [name], DATASETS)
    with unsized_progress(f"check {name}") as show:
        report = run_check(name, data_root(load_site(), name, root), split, workers=workers, progress=show)
    typer.echo(describe(report))
    if not report.ok:
        raise typer.Exit(3)
