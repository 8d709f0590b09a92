"""abet fit"""

from typing import Annotated

import typer

from abet.cli.options import (
    CheckpointOption,
    DataRootOption,
    DeviceOption,
    ModelOption,
    choose_checkpoint,
    load,
    open_data,
    place_of,
    require_output,
    say,
)
from abet.cli.panels import EVALUATE
from abet.errors import unknown_name
from abet.names import TRAINING_NAMES
from abet.places import parse_place
from abet.text import counted


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command(rich_help_panel=EVALUATE)(fit)


def fit(
    dataset: Annotated[str, typer.Option("--dataset", help=f"The training set: {' or '.join(TRAINING_NAMES)}.")],
    checkpoint: CheckpointOption = None,
    data_root: DataRootOption = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the data set. Default: the one that is trained on.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another bank of features.")] = 0,
    bank: Annotated[int, typer.Option(min=1, help="Features that knn keeps at most, over all classes.")] = 8192,
    neighbours: Annotated[int, typer.Option(min=1, help="k of knn.")] = 10,
    react_percentile: Annotated[
        float, typer.Option(help="react clips activations above this percentile of the in-distribution ones.")
    ] = 90.0,
    dice_percentile: Annotated[
        float, typer.Option(help="dice leaves out class weights up to this percentile of their contributions.")
    ] = 70.0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: DeviceOption = "auto",
    model: ModelOption = "cityscapes_finetune",
) -> None:
    """Fit what some scores need (see `abet scores`) on in-distribution images, and keep it with the checkpoint."""
    if dataset not in TRAINING_NAMES:
        raise unknown_name(kind="training set", name=dataset, choices=TRAINING_NAMES)
    from abet.data.registry import require_split
    from abet.scores.fitted import NAME, FitSettings
    from abet.settings import parse

    chosen = {"seed": seed, "bank_vectors": bank, "neighbours": neighbours}
    percentiles = {"react_percentile": react_percentile, "dice_percentile": dice_percentile}
    settings = parse(FitSettings, {**chosen, **percentiles}, source="abet fit")
    require_split(dataset, split)
    from abet import companions
    from abet.cli.before_passes import use_threads
    from abet.fit import Fit
    from abet.site import data_root as find_root
    from abet.site import load_site

    site = load_site()
    root = find_root(site, dataset, place_of(data_root))
    data = open_data(dataset, root, split, site).select(limit=limit)
    found = choose_checkpoint(place_of(checkpoint), site, len(data.classes))
    say(*(f"note: {note}" for note in data.notes))
    use_threads(threads)
    detector = load(found, device, model, site)
    job = Fit(detector=detector, dataset=data, settings=settings)
    weights = parse_place(detector.uri)
    require_output(companions.companion(weights, NAME), kind="file", s3=site.s3)
    say(f"{data.name} {data.split}: one pass over {counted(len(data.pairs), 'image')} on {detector.device}")
    place = companions.write(weights, NAME, job.run(), site.s3)
    say(f"wrote {place}", "next: abet evaluate, into a new --output where these weights were evaluated without it")
