"""abet submission"""

from typing import Annotated, Literal

import typer

from abet.cli.before_passes import require_classes
from abet.cli.options import (
    CheckpointOption,
    DataRootOption,
    DatasetOption,
    DeviceOption,
    ModelOption,
    check_names,
    choose_checkpoint,
    folder_of,
    load,
    place_of,
    require_ood_set,
    require_output,
    say,
    with_fitted,
)
from abet.cli.panels import EVALUATE
from abet.errors import UsageError
from abet.labels import CITYSCAPES
from abet.text import counted


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command(rich_help_panel=EVALUATE)(submission)


def submission(
    dataset: DatasetOption,
    method: Annotated[str, typer.Option(help="What the benchmark is to call it: letters, digits and _.-")],
    output: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for anomaly_p/METHOD/TRACK/NAME.FORMAT.")],
    score: Annotated[str, typer.Option(help="Score key (see `abet scores`).")] = "abet",
    format: Annotated[
        Literal["npy", "hdf5"], typer.Option(help="hdf5 is what the benchmark reads, and needs the extra hdf5.")
    ] = "npy",
    checkpoint: CheckpointOption = None,
    data_root: DataRootOption = None,
    device: DeviceOption = "auto",
    model: ModelOption = "cityscapes_finetune",
) -> None:
    """Write the score files of a benchmark with hidden labels, for its authors' server. Goes on where it stopped."""
    require_ood_set(dataset)
    from abet.scores import SCORES
    from abet.site import data_root as find_root
    from abet.site import load_site
    from abet.staging import stage
    from abet.submission import METHOD, Submission, find_images, require_format, submission_spec

    check_names("score", [score], SCORES)
    submission_spec(dataset)
    require_format(format)
    if not METHOD.fullmatch(method):
        raise UsageError(
            f"--method {method!r}: the name of a folder is needed: letters, digits and _.-, such as AbeT-v1"
        )
    folder = folder_of("--output", output, remedy="copy it with `abet sync` afterwards")
    require_output(folder, kind="folder")
    site = load_site()
    root = find_root(site, dataset, place_of(data_root))
    chosen = choose_checkpoint(place_of(checkpoint), site)
    images, notes = find_images(dataset, stage(root, site, what=dataset))
    say(*(f"note: {note}" for note in notes))
    detector = load(chosen, device, model, site)
    require_classes(detector, len(CITYSCAPES))
    detector = with_fitted(detector, [score], site, named=True)
    job = Submission(detector=detector, dataset=dataset, score=score, method=method, output=folder, format=format)
    written = job.write(images)
    say(
        f"wrote {written} of {counted(len(images), 'score file')} to {job.folder}"
        + (", kept the others" * (written < len(images)))
    )
    if format == "npy":
        say("the benchmark reads HDF5: --format hdf5 (docs/predictions.md)")
