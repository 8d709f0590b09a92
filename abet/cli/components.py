"""abet components"""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abet.cli.options import (
    DatasetOption,
    DeviceOption,
    EvaluatedRootOption,
    announce_detector,
    check_names,
    choose_scores,
    open_data,
    parse_shard,
    place_of,
    require_ood_set,
    require_output,
    say,
    split_names,
    with_fitted,
)
from abet.cli.panels import EVALUATE
from abet.errors import DataError
from abet.places import Place, parse_place
from abet.text import counted

if TYPE_CHECKING:
    from abet.component_pass import ComponentPass, Evaluated
    from abet.data.index import Dataset
    from abet.detector import Detector
    from abet.evaluate import Evaluation
    from abet.mirror import Mirror
    from abet.site import SiteConfig


TrackOption = Annotated[
    str | None,
    typer.Option(
        "--track",
        help="Whose minimum sizes of components: anomaly-track or obstacle-track. Default: by the data set.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command(rich_help_panel=EVALUATE)(components)


def components(
    run: Annotated[str, typer.Argument(help="Run that was evaluated with --protocols: a folder, or s3://.")],
    dataset: DatasetOption,
    scores: Annotated[
        str, typer.Option("--scores", help="Comma-separated score keys of that evaluation, or all.")
    ] = "all",
    shard: Annotated[str, typer.Option(help="Count every N-th image from the I-th on: I/N.")] = "1/1",
    track: TrackOption = None,
    images: Annotated[
        str | None, typer.Option(help="The evaluation's --images: names separated by commas, or @FILE.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The evaluation's --limit.")] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="Where the run's checkpoint is now. Default: where the run found it."),
    ] = None,
    data_root: EvaluatedRootOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads: as many as the evaluation used.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Find objects as objects: the second pass of an evaluation, at the thresholds of its best pixel F1."""
    number, shards = parse_shard(shard)
    require_ood_set(dataset)
    chosen = choose_track(track, dataset)
    keys = None if scores == "all" else choose_scores(scores)
    place = parse_place(run)
    from abet.cli.before_passes import use_threads
    from abet.component_pass import ComponentPass, read_evaluated
    from abet.evaluate import Evaluation
    from abet.mirror import mirrored
    from abet.site import load_site

    site = load_site()
    require_output(place, kind="folder", s3=site.s3)
    use_threads(threads)
    with mirrored(place, site) as mirror:
        pull_pass(mirror, dataset, number, shards)
        evaluated = read_evaluated(mirror.folder, dataset)
        keys = evaluated.choose(keys)
        data = _open(evaluated, place_of(data_root), site)
        data = data.select(images=None if images is None else split_names(images), limit=limit)
        detector = with_fitted(_detector(evaluated, place_of(checkpoint), device, site), keys, site, named=True)
        evaluation = Evaluation(detector=detector, dataset=data, scores=keys, shards=shards)
        count_components(ComponentPass(evaluation=evaluation, evaluated=evaluated, track=chosen), mirror, number)


def choose_track(track: str | None, dataset: str) -> str:
    """The track given, else the data set's. Raises UsageError for an unknown one."""
    from abet.metrics.components import SIZES, track_of

    if track is not None:
        check_names("track", [track], SIZES)
    return track or track_of(dataset)


def pull_pass(mirror: "Mirror", dataset: str, shard: int, shards: int) -> None:
    """Fetch what a shard of the second pass starts from."""
    from abet.component_shards import DESCRIPTION
    from abet.run import CONFIG, component_name

    below = f"evaluation/{dataset}"
    names = ("evaluation.json", "metrics.json", DESCRIPTION, component_name(shard, shards))
    wanted = {CONFIG, f"evaluation/{CONFIG}", *(f"{below}/{name}" for name in names)}
    mirror.pull(wanted.__contains__)


def _open(evaluated: "Evaluated", root: Place | None, site: "SiteConfig") -> "Dataset":
    from abet.run import data_root_of

    description = evaluated.description
    found = data_root_of(description, root)
    definition = description.get("ood_definition")
    return open_data(description["dataset"], found, description["split"], site, definition=definition)


def _detector(evaluated: "Evaluated", given: Place | None, device: str, site: "SiteConfig") -> "Detector":
    """The run's own checkpoint; whether it is that is compared afterwards, with all the rest."""
    from abet.detector import load_place
    from abet.model_config import ModelConfig
    from abet.run import read_config
    from abet.settings import parse

    config = read_config(evaluated.run)
    place = given or parse_place(config["checkpoint"]["uri"])
    if isinstance(place, Path) and not place.exists():
        raise DataError(f"{place}: the run's checkpoint is not there any more: say where it is with --checkpoint")
    model = parse(ModelConfig, config["model"], source=f"{evaluated.run}/config.yaml")
    detector = load_place(place, site, device=device, model=model)
    announce_detector(place, detector)
    return detector


def count_components(job: "ComponentPass", mirror: "Mirror", number: int) -> None:
    """Count one shard unless it is there, and write the figures when all shards are."""
    from abet.cli.before_passes import announce
    from abet.evaluate import shard_of

    evaluation = job.evaluation
    data, shards = evaluation.dataset, evaluation.shards
    pairs = shard_of(data.pairs, number, shards)
    if kept := job.find_shard(number):
        job.begin(agree=mirror.agree)
        say(f"kept {mirror.seen(kept)}: this shard was counted before")
    else:
        announce(
            evaluation, replace(data, pairs=pairs), f"components {number}/{shards}", whole=False, count=job.count_map
        )
        path = job.run_shard(number, agree=mirror.agree)
        told = "wrote" if mirror.push_new(path) else "kept, since another process has counted it meanwhile,"
        say(f"{told} {mirror.seen(path)}")
    _write_figures(job, mirror)


def _write_figures(job: "ComponentPass", mirror: "Mirror") -> None:
    from abet.cli.tables import print_components
    from abet.component_shards import add_components, component_names, missing_component_shards

    folder, place = job.evaluated.folder, mirror.place
    below = f"evaluation/{job.evaluation.dataset.name}/"
    remote = mirror.pull(lambda name: name == f"{below}metrics.json")  # as `write_figures`, of what stands in the run
    there = {path.name for path in folder.glob("*.npz")} | {name.removeprefix(below) for name in remote}
    if missing := missing_component_shards(job.fingerprint, there):
        say(f"{counted(len(missing), 'shard')} of components missing; the last one writes the figures")
        return
    wanted = {f"{below}{name}" for name in component_names(job.fingerprint)}
    mirror.pull(wanted.__contains__)
    metrics, reason = add_components(folder)
    if not mirror.replace(folder / "metrics.json"):  # a merge has written it meanwhile
        return _write_figures(job, mirror)
    if reason:
        raise DataError(reason)
    print_components(metrics)
    say(
        f"wrote {mirror.seen(folder / 'metrics.json')}",
        f"next: abet report {shlex.quote(str(place))} --output report.html",
    )


def count_after(evaluation: "Evaluation", run: Place, site: "SiteConfig", track: str) -> None:
    """The second pass over what was evaluated and merged into ``run`` just now, in one piece."""
    from abet.component_pass import ComponentPass, read_evaluated
    from abet.mirror import mirrored

    with mirrored(run, site) as mirror:
        pull_pass(mirror, evaluation.dataset.name, 1, 1)
        evaluated = read_evaluated(mirror.folder, evaluation.dataset.name)
        second = replace(evaluation, scores=evaluated.choose(None), shards=1)
        count_components(ComponentPass(evaluation=second, evaluated=evaluated, track=track), mirror, 1)
