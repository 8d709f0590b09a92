"""abet calibrate"""

import shlex
from typing import Annotated

import typer

from abet.cli.components import TrackOption, choose_track
from abet.cli.options import (
    CheckpointOption,
    DataRootOption,
    DatasetOption,
    DefinitionOption,
    DeviceOption,
    ModelOption,
    ScoresOption,
    choose_checkpoint,
    choose_scores,
    load,
    open_data,
    place_of,
    require_ood_set,
    require_output,
    say,
    split_names,
    with_fitted,
)
from abet.cli.panels import USE
from abet.errors import UsageError
from abet.labels import CITYSCAPES
from abet.places import parse_place


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command(rich_help_panel=USE)(calibrate)


def calibrate(
    dataset: DatasetOption,
    checkpoint: CheckpointOption = None,
    data_root: DataRootOption = None,
    split: Annotated[
        str | None,
        typer.Option(help="Split of the data set; better not one that you test on. Default: as for `abet evaluate`."),
    ] = None,
    ood_definition: DefinitionOption = None,
    scores: ScoresOption = "all",
    images: Annotated[
        str | None, typer.Option(help="Only these images: names separated by commas, or @FILE with one per line.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    track: TrackOption = None,
    num_classes: Annotated[int, typer.Option(min=1, help="Classes that the checkpoint should have.")] = len(CITYSCAPES),
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: DeviceOption = "auto",
    model: ModelOption = "cityscapes_finetune",
) -> None:
    """Choose thresholds for `abet predict` on a labelled set, and keep them with the checkpoint."""
    keys = choose_scores(scores)
    require_ood_set(dataset)
    chosen_track = choose_track(track, dataset)
    from abet.data.registry import require_split

    require_split(dataset, split, definition=ood_definition)
    from abet import companions
    from abet.calibrate import PASSES, Calibration, leak_note, papers_test_on
    from abet.calibrate import calibrate as measure
    from abet.calibration import FILE, require_sound, store
    from abet.cli.before_passes import announce, require_classes, use_threads
    from abet.cli.tables import print_calibration
    from abet.evaluate import Evaluation
    from abet.site import data_root as find_root
    from abet.site import load_site

    site = load_site()
    root = find_root(site, dataset, place_of(data_root))
    chosen = choose_checkpoint(place_of(checkpoint), site, num_classes)
    data = open_data(dataset, root, split, site, definition=ood_definition)
    data = data.select(images=None if images is None else split_names(images), limit=limit)
    say(*(f"note: {note}" for note in data.notes))
    if papers_test_on(dataset, data.split):
        say(f"note: {leak_note(dataset, data.split)}")
    use_threads(threads)
    detector = load(chosen, device, model, site)
    require_classes(detector, num_classes)
    detector = with_fitted(detector, keys, site, named=scores != "all")
    keys = _defined(detector.available_scores(), keys, named=scores != "all")
    file = companions.companion(parse_place(detector.uri), FILE)
    require_output(file, kind="file", s3=site.s3)
    require_sound(detector.uri, site.s3)
    evaluation = Evaluation(detector=detector, dataset=data, scores=keys)
    job = Calibration(detector=detector, dataset=data, scores=keys, track=chosen_track)
    whole = images is None and limit is None
    announce(evaluation, data, "in two passes", whole=whole, passes=PASSES, count=job.count_map, divisible=False)
    found = measure(job)
    path, notes = store(detector.uri, detector.sha256, found, site.s3)
    print_calibration(found)
    say(*(f"note: {note}" for note in notes))
    say(
        f"wrote {path}",
        f"next: abet predict --checkpoint {shlex.quote(str(chosen.place))} --score {keys[0]} --threshold f1-pixel "
        f"--calibration {dataset} ...",
    )


def _defined(available: tuple[str, ...], keys: tuple[str, ...], *, named: bool) -> tuple[str, ...]:
    """Those of ``keys`` that are defined here. Raises UsageError where one was named that it does not."""
    missing = [key for key in keys if key not in available]
    if named and missing:
        raise UsageError(
            f"--scores: this network does not define {', '.join(missing)}; choose among {', '.join(available)}"
        )
    return tuple(key for key in keys if key in available)
