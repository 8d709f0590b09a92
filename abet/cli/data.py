"""abet data info | check | synthesize"""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from abet.cli.options import DefinitionOption

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Say what data sets are, verify them, or make synthetic ones."""


@app.command()
def info(
    name: Annotated[str | None, typer.Argument(help="Data set; all in a table when none is named.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object on stdout.")] = False,
) -> None:
    """What is known of the data sets: splits, what counts as OOD, citation, download, licence, tree. Reads no data."""
    from abet.cli.options import check_names
    from abet.data.info import describe_set, facts
    from abet.data.registry import DATASETS

    names = list(DATASETS) if name is None else [name]
    check_names("dataset", names, DATASETS)
    if as_json:
        typer.echo(json.dumps({"schema": 1, "sets": {key: facts(DATASETS[key]) for key in names}}, ensure_ascii=False))
    elif name is None:
        from abet.cli.tables import print_sets

        print_sets(DATASETS)
    else:
        typer.echo(describe_set(name, DATASETS[name]))


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Data set, e.g. road_anomaly or cityscapes.")],
    root: Annotated[str | None, typer.Argument(help="Its folder, or s3://. Default: the site file's.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Split. Default: test; of a training set, the one to train on.")
    ] = None,
    ood_definition: DefinitionOption = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads. Default: one per core.")] = None,
) -> None:
    """Verify a data set in full: pairs, sizes, label values, unreadable files. Exits 3 if anything is wrong."""
    from abet.cli.options import check_names, place_of
    from abet.data.check import check as run_check
    from abet.data.check import describe
    from abet.data.registry import DATASETS, require_split
    from abet.progress import unsized_progress
    from abet.site import data_root, load_site
    from abet.staging import stage

    check_names("dataset", [name], DATASETS)
    require_split(name, split, definition=ood_definition)
    site = load_site()
    folder = stage(data_root(site, name, place_of(root)), site, what=name)
    with unsized_progress(f"check {name}") as show:
        report = run_check(name, folder, split, definition=ood_definition, workers=workers, progress=show)
    typer.echo(describe(report))
    if not report.ok:
        raise typer.Exit(3)


@app.command()
def synthesize(
    root: Annotated[Path, typer.Argument(help="Folder to fill; each data set gets a folder of its name below it.")],
    scenes: Annotated[
        list[str] | None,
        typer.Option(help="SET/SPLIT=N, such as cityscapes/val=24, or N for all splits; repeat for more."),
    ] = None,
    sets: Annotated[
        str | None,
        typer.Option(help="Comma-separated sets to draw in place of the four: any that is evaluated or trained on."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other scenes.")] = 0,
    height: Annotated[int, typer.Option(help="Pixels.")] = 128,
    width: Annotated[int, typer.Option(help="Pixels.")] = 256,
    variety: Annotated[
        Literal["full", "calm"],
        typer.Option(help="calm: fair weather, plain surfaces, fewer classes; what a small network learns in minutes."),
    ] = "full",
    workers: Annotated[int | None, typer.Option(help="Processes. Default: one per core. They change no byte.")] = None,
) -> None:
    """Draw street scenes in the trees of Mapillary, Cityscapes, LostAndFound and RoadAnomaly, or of any set by name."""
    from abet.cli.options import require_output, say, split_names
    from abet.cpus import available_cpus
    from abet.data.synthetic.synthesize import Plan, parse_scenes
    from abet.data.synthetic.synthesize import synthesize as make

    counts = parse_scenes(scenes or [], split_names(sets, what="set"))
    plan = Plan(scenes=counts, seed=seed, height=height, width=width, variety=variety)
    require_output(root, kind="folder")
    made = make(root, plan, workers=available_cpus() if workers is None else workers)
    wanted = sum(plan.scenes.values())
    say(f"kept {root}: its {wanted} scenes are there" if not made else f"wrote {made} of {wanted} scenes below {root}")
    for name in sorted({part.split("/")[0] for part, count in plan.scenes.items() if count}):
        typer.echo(root / name)
