"""abet controls"""

from pathlib import Path
from typing import Annotated

import typer

from abet.cli.options import DataRootOption, DatasetOption, open_data, require_output, say
from abet.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command()(controls)


def controls(
    dataset: DatasetOption,
    output: Annotated[
        Path | None, typer.Option(help="Run directory. Default: <artifacts>/controls of the site file.")
    ] = None,
    data_root: DataRootOption = None,
    split: Annotated[str | None, typer.Option(help="Split of the OOD set. Default: test.")] = None,
    train_dataset: Annotated[str, typer.Option(help="Set whose colours are known.")] = "cityscapes",
    train_root: Annotated[Path | None, typer.Option(help="Its folder. Default: the site file's.")] = None,
    train_split: Annotated[str | None, typer.Option(help="Its split. Default: the one that is trained on.")] = None,
) -> None:
    """Score an OOD data set by what needs no network: rare colours, and where OOD pixels usually are."""
    from abet.cli.tables import print_metrics
    from abet.controls import evaluate_controls
    from abet.data.index import TRAINING_SETS, open_dataset
    from abet.run import evaluation_dir
    from abet.site import data_root as find_root
    from abet.site import load_site

    if train_dataset not in TRAINING_SETS:
        raise UsageError(f"--train-dataset {train_dataset!r}: colours are learned from {' or '.join(TRAINING_SETS)}")
    site = load_site()
    data = open_data(dataset, data_root, split, site)
    training = open_dataset(train_dataset, find_root(site, train_dataset, train_root), train_split)
    run = output or site.artifacts / "controls"
    require_output(run, kind="folder")
    say(*(f"note: {note}" for note in (*data.notes, *training.notes)))
    print_metrics(evaluate_controls(data, training, run))
    say(f"wrote {evaluation_dir(run, dataset) / 'metrics.json'}", f"next: abet report {run} --output report.html")
