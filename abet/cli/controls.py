"""abet controls"""

import shlex
from typing import Annotated

import typer

from abet.cli.options import (
    DataRootOption,
    DatasetOption,
    DefinitionOption,
    open_data,
    place_of,
    require_ood_set,
    require_output,
    say,
)
from abet.cli.panels import EVALUATE
from abet.errors import UsageError
from abet.names import TRAINING_NAMES


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command(rich_help_panel=EVALUATE)(controls)


def controls(
    dataset: DatasetOption,
    output: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="Run directory, or s3://. Default: <artifacts>/controls of the site file."),
    ] = None,
    data_root: DataRootOption = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the OOD set. Default: test, or validation where that alone has labels.")
    ] = None,
    ood_definition: DefinitionOption = None,
    train_dataset: Annotated[str, typer.Option(help="Set whose colours are known.")] = "cityscapes",
    train_root: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Its folder, or s3://. Default: the site file's.")
    ] = None,
    train_split: Annotated[str | None, typer.Option(help="Its split. Default: the one that is trained on.")] = None,
) -> None:
    """Score an OOD data set by what needs no network: rare colours, and where OOD pixels usually are."""
    require_ood_set(dataset)
    if train_dataset not in TRAINING_NAMES:
        raise UsageError(f"--train-dataset {train_dataset!r}: colours are learned from {' or '.join(TRAINING_NAMES)}")
    from abet.data.registry import require_split

    require_split(dataset, split, definition=ood_definition)
    require_split(train_dataset, train_split)
    from abet.cli.before_passes import verified_pixels
    from abet.cli.tables import print_metrics
    from abet.controls import evaluate_controls
    from abet.mirror import mirrored, pull_evaluation
    from abet.run import evaluation_dir
    from abet.site import data_root as find_root
    from abet.site import load_site

    site = load_site()
    run = place_of(output) or site.artifacts / "controls"
    train = find_root(site, train_dataset, place_of(train_root), option="--train-root DIR")
    roots = find_root(site, dataset, place_of(data_root)), train
    require_output(run, kind="folder", s3=site.s3)
    data = open_data(dataset, roots[0], split, site, definition=ood_definition)
    training = open_data(train_dataset, roots[1], train_split, site)
    say(*(f"note: {note}" for note in (*data.notes, *training.notes)))
    for each in (training, data):
        verified_pixels(each, whole=True)
    with mirrored(run, site) as mirror:
        pull_evaluation(mirror, dataset)
        metrics = evaluate_controls(data, training, mirror.folder, agree=mirror.agree)
        folder = evaluation_dir(mirror.folder, dataset)
        mirror.push(folder / "curves.json", folder / "metrics.json")
    print_metrics(metrics)
    say(
        f"wrote {evaluation_dir(run, dataset) / 'metrics.json'}",
        f"next: abet report {shlex.quote(str(run))} --output report.html",
    )
