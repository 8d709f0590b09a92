"""abet evaluate"""

import shlex
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from abet.cli.before_passes import announce, require_classes, require_defined, use_threads
from abet.cli.merging import merge_and_print
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
from abet.cli.panels import EVALUATE
from abet.errors import UsageError
from abet.labels import CITYSCAPES
from abet.places import Place, S3Uri
from abet.text import counted

if TYPE_CHECKING:
    from abet.data.index import Dataset
    from abet.evaluate import Evaluation
    from abet.mirror import Mirror
    from abet.site import SiteConfig


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command(rich_help_panel=EVALUATE)(evaluate)


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
    _require_possible(dataset, split, ood_definition, sharded_components=shard if components and shards > 1 else None)
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
    require_defined(detector, keys)
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
        _sum_up(evaluation, run, site, components=components)
    else:
        say(f"when all {shards} shards are there: abet merge {shlex.quote(str(run))} --dataset {dataset}")


def _require_possible(
    dataset: str, split: str | None, definition: str | None, *, sharded_components: str | None
) -> None:
    """Raises UsageError for what no evaluation can be; ``sharded_components`` is --shard beside --components."""
    from abet.data.registry import require_split

    if sharded_components is not None:
        raise UsageError(
            f"--components with --shard {sharded_components}: the threshold follows from all shards together. Evaluate "
            "them with --protocols, merge them, and then run `abet components`, which takes --shard too"
        )
    require_ood_set(dataset)
    require_split(dataset, split, definition=definition)


def _sum_up(evaluation: "Evaluation", run: Place, site: "SiteConfig", *, components: bool) -> None:
    """Merge all shards of a run and, on demand, find objects in a second pass."""
    dataset = evaluation.dataset.name
    merge_and_print(run, dataset, site, last=not components)
    if components:
        from abet.cli.components import choose_track, count_after

        count_after(evaluation, run, site, choose_track(None, dataset))


def _evaluate_shard(
    evaluation: "Evaluation", images: "Dataset", mirror: "Mirror", number: int, *, whole: bool, mend: bool
) -> None:
    """Evaluate one shard, whose ``images`` (the ``whole`` set?) are given, into a run, unless it is there.

    With ``mend``, one that is damaged is replaced.
    """
    from abet.counting import in_arrays
    from abet.estimates import count_map, finishing_seconds
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
    protocols, merged = evaluation.protocols, evaluation.shards == 1
    announce(
        evaluation,
        images,
        f"{number}/{evaluation.shards}",
        whole=whole,
        count=partial(count_map, protocols=protocols) if in_arrays(evaluation.detector.device) else None,
        finish=partial(finishing_seconds, protocols=protocols, merged=merged),
    )
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
        f"{len(found) - len(todo)} of {counted(len(found), 'shard is', 'shards are')} there and kept"
        + (f"; to evaluate: {', '.join(named)}" if named else "")
    )
    return list(todo)
