"""abet evaluate | merge | scores | show-config"""

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    parse_shard,
    place_of,
    require_ood_set,
    require_output,
    say,
    split_names,
    with_fitted,
)
from abet.errors import CheckpointError, DataError, UsageError
from abet.labels import CITYSCAPES
from abet.places import Place, S3Uri, parse_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from abet.data.index import Dataset
    from abet.detector import Detector
    from abet.evaluate import Evaluation
    from abet.mirror import Mirror
    from abet.site import SiteConfig


LONG_SECONDS = 600


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    for command in (evaluate, merge, scores):
        app.command()(command)
    app.command(name="show-config")(show_config)


def evaluate(
    dataset: DatasetOption,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Run, also s3://. Default: the one that the checkpoint belongs to, else <artifacts>/<its name>.",
        ),
    ] = None,
    checkpoint: CheckpointOption = None,
    data_root: DataRootOption = None,
    split: Annotated[
        str | None,
        typer.Option(help="Split of the data set. Default: test, or validation where that alone has labels."),
    ] = None,
    ood_definition: DefinitionOption = None,
    scores: ScoresOption = "all",
    shard: Annotated[
        str | None, typer.Option(help="Evaluate every N-th image from the I-th on: I/N. Default: 1/1.")
    ] = None,
    only_missing: Annotated[
        bool,
        typer.Option(
            "--only-missing",
            help="Evaluate the shards that are missing or damaged in --output one after the other, and merge; "
            "with --shard, that one alone.",
        ),
    ] = False,
    images: Annotated[
        str | None, typer.Option(help="Only these images: names separated by commas, or @FILE with one per line.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    samples: Annotated[int, typer.Option(min=0, help="Images that keep their maps for the report.")] = 60,
    protocols: Annotated[
        bool,
        typer.Option(
            "--protocols", help="Also SegmentMeIfYouCan's and Meta-OoD's protocols, per-image means and intervals."
        ),
    ] = False,
    components: Annotated[
        bool, typer.Option("--components", help="Also find objects as objects, in a second pass: implies --protocols.")
    ] = False,
    num_classes: Annotated[
        int, typer.Option(min=1, help="Classes that the checkpoint should have; OOD is what lies outside them.")
    ] = len(CITYSCAPES),
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads. All shards of an evaluation use the same number.")
    ] = None,
    device: DeviceOption = "auto",
    model: ModelOption = "cityscapes_finetune",
) -> None:
    """Evaluate a checkpoint on an OOD data set: all scores in one pass, at full resolution."""
    number, shards = parse_shard(shard or "1/1")
    keys = choose_scores(scores)
    if components and shards > 1:
        raise UsageError(
            f"--components with --shard {shard}: the threshold follows from all shards together. Evaluate them with "
            "--protocols, merge them, and then run `abet components`, which takes --shard too"
        )
    require_ood_set(dataset)
    from abet.data.registry import require_split

    require_split(dataset, split, definition=ood_definition)
    from abet.evaluate import Evaluation, shard_of
    from abet.mirror import default_run, mirrored
    from abet.shard_set import shards_of
    from abet.site import data_root as find_root
    from abet.site import load_site

    site = load_site()
    root = find_root(site, dataset, place_of(data_root))
    chosen = choose_checkpoint(place_of(checkpoint), site, num_classes)
    run = place_of(output) or default_run(chosen.place, site)
    require_output(run, kind="folder", s3=site.s3)
    whole_run = only_missing and shard is None
    if whole_run:
        shards = shards_of(run, dataset, site)
    data = open_data(dataset, root, split, site, definition=ood_definition)
    data = data.select(images=None if images is None else split_names(images), limit=limit)
    parts = {part: shard_of(data.pairs, part, shards) for part in (range(1, shards + 1) if whole_run else [number])}
    say(*(f"note: {note}" for note in data.notes))
    use_threads(threads)
    detector = load(chosen, device, model, site)
    require_classes(detector, num_classes)
    detector = with_fitted(detector, keys, site, named=scores != "all")
    evaluation = Evaluation(
        detector=detector,
        dataset=data,
        scores=keys,
        shards=shards,
        samples=samples,
        data_root=str(root) if isinstance(root, S3Uri) else None,
        protocols=protocols or components,
    )
    with mirrored(run, site) as mirror:
        whole = shards == 1 and images is None and limit is None
        for part in _to_do(evaluation, mirror, list(parts)) if only_missing else parts:
            _evaluate_shard(evaluation, replace(data, pairs=parts[part]), mirror, part, whole=whole, mend=only_missing)
    if shards == 1 or whole_run:
        _merge_and_print(run, dataset, site)
        if components:
            from abet.cli.components import choose_track, count_after

            count_after(evaluation, run, site, choose_track(None, dataset))
    else:
        say(f"when all {shards} shards are there: abet merge {shlex.quote(str(run))} --dataset {dataset}")


def _evaluate_shard(
    evaluation: "Evaluation", images: "Dataset", mirror: "Mirror", number: int, *, whole: bool, mend: bool
) -> None:
    """Evaluate one shard, whose ``images`` (the ``whole`` set?) are given, into a run, unless it is there.

    With ``mend``, one that is damaged is replaced.
    """
    from abet.mirror import pull_evaluation
    from abet.run import evaluation_dir, shard_path
    from abet.storage import ABSENT, version_of

    pull_evaluation(mirror, images.name, shard=(number, evaluation.shards))
    path = shard_path(mirror.folder, images.name, number, evaluation.shards)
    seen, seen_here = mirror.version(path), version_of(path)  # before it is read: one that comes meanwhile is kept
    found = _condition(evaluation, mirror, number, mend=mend)
    if found == "there":
        say(f"kept {mirror.seen(path)}: this shard was evaluated before")
        return
    announce(evaluation, images, f"{number}/{evaluation.shards}", whole=whole)
    if found == "damaged":
        ours = evaluation.mend_shard(mirror.folder, number, seen=seen_here, agree=mirror.agree)
    else:
        ours, seen = True, ABSENT
        evaluation.run_shard(mirror.folder, number, agree=mirror.agree)
    mirror.push(*sorted((evaluation_dir(mirror.folder, images.name) / "samples").glob("*.npz")))
    if mirror.push_new(path, damaged=seen) and ours:
        say(f"wrote {mirror.seen(path)}")
    else:
        say(f"kept {mirror.seen(path)}: another process has evaluated this shard meanwhile")


def _condition(evaluation: "Evaluation", mirror: "Mirror", number: int, *, mend: bool) -> str:
    """Whether a shard, once pulled, is ``missing``, ``there`` or, where that is to be mended, ``damaged``."""
    from abet.shards import DamagedShard

    try:
        return "missing" if evaluation.find_shard(mirror.folder, number) is None else "there"
    except DamagedShard:
        if not mend:
            raise
        return "damaged"


def _to_do(evaluation: "Evaluation", mirror: "Mirror", numbers: "list[int]") -> "list[int]":
    """Which shards are missing or damaged, said aloud."""
    from abet.mirror import pull_evaluation

    found = {}
    for number in numbers:
        pull_evaluation(mirror, evaluation.dataset.name, shard=(number, evaluation.shards))
        found[number] = _condition(evaluation, mirror, number, mend=True)
    todo = {number: condition for number, condition in found.items() if condition != "there"}
    named = [f"{number}/{evaluation.shards} ({condition})" for number, condition in todo.items()]
    say(
        f"{len(found) - len(todo)} of {len(found)} shards are there and kept"
        + (f"; to evaluate: {', '.join(named)}" if named else "")
    )
    return list(todo)


def use_threads(threads: int | None) -> None:
    """Fix the number of CPU threads of this process; None leaves torch's choice."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def require_classes(detector: "Detector", num_classes: int) -> None:
    """Raises CheckpointError unless the detector has the number of classes that the user expects."""
    found = detector.config.num_classes
    if found != num_classes:
        raise CheckpointError(
            f"{detector.uri}: tells {found} classes apart, expected {num_classes} (OOD in these sets is what the "
            f"{len(CITYSCAPES)} Cityscapes classes do not cover): fine-tune it first, or say that you mean it with "
            f"--num-classes {found}"
        )


def announce(evaluation: "Evaluation", data: "Dataset", shard: str, *, whole: bool) -> None:
    """Verify the files of the shard, then say how long it will take."""
    from abet.evaluate import estimate_seconds
    from abet.progress import format_seconds

    pixels = verified_pixels(data, whole=whole)
    detector = evaluation.detector
    defined = [key for key in evaluation.scores if detector.why_missing(key) is None]
    seconds = estimate_seconds(detector, pixels, defined)
    say(
        f"{data.name} {data.split} {shard}: {len(data.pairs)} images, {pixels / 1e6:.1f} Mpixel, "
        f"{len(defined)} scores on {detector.device}: about {format_seconds(seconds)}"
    )
    if seconds > LONG_SECONDS:
        say("a shard that is stopped starts again from its first image: --shard I/N makes smaller ones")


def verified_pixels(data: "Dataset", *, whole: bool) -> int:
    """Decode every file, which costs little beside a network's pass, so that none fails hours into the evaluation.

    Returns the pixels in all. Raises DataError with every fault; of a ``whole`` set also for having no ID or no OOD
    pixel, without which no figure is defined (a part of one may well have none).
    """
    from abet.data.check import check_dataset, useless
    from abet.progress import progress

    with progress("check files", len(data.pairs)) as advance:
        report = check_dataset(data, progress=lambda _done, _all: advance(1))
    found = [*report.faults, *(useless(data, report.pixels) if whole and report.ok else ())]
    if found:
        faults = "\n  ".join(str(fault) for fault in found)
        raise DataError(f"{data.root}: {len(found)} faults, nothing was evaluated:\n  {faults}")
    return report.pixels.total


def merge(
    run: Annotated[str, typer.Argument(help="Run that the shards were evaluated into: a folder, or s3://.")],
    dataset: DatasetOption,
    checkpoint: Annotated[
        str | None, typer.Option(help="What the evaluation should be of; shards of another checkpoint are refused.")
    ] = None,
    wait_minutes: Annotated[
        float | None, typer.Option(min=0, help="Wait so long for shards that are not there yet. Default: do not wait.")
    ] = None,
) -> None:
    """Add up the shards of an evaluation into metrics.json. Exits 3 and names them when shards are missing."""
    from abet.shard_wait import await_shards
    from abet.site import load_site

    require_ood_set(dataset)
    place = parse_place(run)
    site = load_site()
    require_output(place, kind="folder", s3=site.s3)
    sha256 = None if checkpoint is None else _identity(parse_place(checkpoint), site)
    if wait_minutes is not None:
        await_shards(place, dataset, site, minutes=wait_minutes)
    metrics = _merge_and_print(place, dataset, site, sha256=sha256)
    from abet.cli.tables import print_components

    print_components(metrics)


def _identity(checkpoint: Place, site: "SiteConfig") -> str:
    """SHA-256 of a checkpoint's weights, by its manifest; of a published file its own. Nothing is evaluated by it."""
    from abet.checkpoint import read_manifest, resolve
    from abet.files import sha256_of
    from abet.remote import local_checkpoint

    path = resolve(local_checkpoint(checkpoint, site))
    return read_manifest(path).sha256 if path.is_dir() else sha256_of(path)


def _merge_and_print(run: Place, dataset: str, site: "SiteConfig", *, sha256: str | None = None) -> "Mapping[str, Any]":
    from abet.cli.tables import print_metrics
    from abet.merge import merge_in
    from abet.run import evaluation_dir

    metrics = merge_in(run, dataset, site, sha256=sha256)
    print_metrics(metrics)
    say(
        f"wrote {evaluation_dir(run, dataset) / 'metrics.json'}",
        f"next: abet report {shlex.quote(str(run))} --output report.html",
    )
    return metrics


def scores() -> None:
    """List the scores: key, formula, source and what each needs of the network and of `abet fit`."""
    from rich.table import Table
    from rich.text import Text

    from abet.cli.tables import console
    from abet.scores import SCORES
    from abet.text import printable

    table = Table("key", "formula", "source", "needs")
    for score in SCORES.values():
        source = f"{score.source} ({score.distribution})" if score.distribution else score.source
        needs = (*score.needs, *(("fit",) if score.fitted else ()))
        cells = (score.key, score.formula, source, ", ".join(needs))
        table.add_row(*(Text(printable(cell, limit=400)) for cell in cells))  # a plug-in's words are anyone's
    console().print(table)


def show_config(
    recipe: Annotated[str, typer.Argument(help="Shipped recipe, or path of a .yaml file.")],
    explain: Annotated[bool, typer.Option("--explain", help="With what each key means, as comments.")] = False,
) -> None:
    """Print a recipe, validated and complete."""
    import yaml

    from abet.config import Recipe, load_recipe
    from abet.settings import explained

    if not recipe:
        raise UsageError("show-config needs the name of a recipe")
    values = load_recipe(recipe).model_dump(mode="json")
    text = explained(Recipe, values) if explain else yaml.safe_dump(values, sort_keys=False)
    typer.echo(text.rstrip())
