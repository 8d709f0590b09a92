"""abet train"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from abet.cli.options import DataRootOption, DeviceOption, place_of, require_output, say
from abet.cli.panels import TRAIN
from abet.places import Place, S3Uri, parse_place
from abet.run import CHECKPOINTS

if TYPE_CHECKING:
    from abet.config import Recipe
    from abet.site import SiteConfig
    from abet.training.job import TrainJob
    from abet.training.session import Session


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command(rich_help_panel=TRAIN)(train)


def train(
    recipe: Annotated[str, typer.Argument(help="Shipped recipe, or path of a .yaml file (see `abet show-config`).")],
    output: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Run directory, or s3://: checkpoints, metrics, TensorBoard. Resumed if it is one. "
            "Default: <artifacts>/<recipe>.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE changes one value of the recipe; repeat for more.")
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE", help="Weights to start from: checkpoint folder, run, published .pth; also s3://; or none."
        ),
    ] = None,
    data_root: DataRootOption = None,
    resume: Annotated[
        Literal["auto", "never"], typer.Option(help="auto goes on from the run's newest sound checkpoint.")
    ] = "auto",
    allow_topology_change: Annotated[
        bool,
        typer.Option(
            "--allow-topology-change",
            help="Resume with another number of processes or threads, device, batch_per_gpu, accumulation or compile.",
        ),
    ] = False,
    allow_below_target: Annotated[
        bool, typer.Option("--allow-below-target", help="End well, and say so, below the recipe's target_miou.")
    ] = False,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Replace images that cannot be read by others, and report them.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads per process.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Train a network: one process, or one per GPU under `abet launch` (or torchrun)."""
    from abet.cli.before_passes import use_threads
    from abet.config import load_recipe

    settings = load_recipe(recipe, changes=changes or [])
    from abet.site import FROM_NOTHING, load_site
    from abet.site import data_root as find_root

    site = load_site()
    place = site.artifacts / Path(recipe).stem if output is None else parse_place(output)
    root = find_root(site, settings.data.dataset, place_of(data_root))
    if isinstance(place, Path):
        require_output(place, kind="folder")
    if snapshot is None:
        _require_trunk(settings, place, site)
    use_threads(threads)
    from abet.cpus import available_cpus
    from abet.distributed import discover, process_group, work_apart
    from abet.train import train as run_training
    from abet.training.data import require_same_data, require_same_epochs, stage_on_each_node
    from abet.training.job import plan_job, require_trainable
    from abet.training.sampling import find_places_on_each_node
    from abet.training.target import require_target

    topology = discover(device)
    require_trainable(settings, topology)
    planned: list[TrainJob] = []
    with process_group(topology):
        remote = isinstance(place, S3Uri) and topology.rank == 0
        work_apart(topology, (lambda: require_output(place, kind="folder", s3=site.s3)) if remote else None)
        folder = stage_on_each_node(root, site, topology, what=settings.data.dataset)
        find_places_on_each_node(settings, folder, site, topology)

        def plan() -> None:
            planned.append(
                plan_job(
                    name=recipe,
                    recipe=settings,
                    data_root=root,
                    root=folder,
                    output=place,
                    topology=topology,
                    site=site,
                    snapshot=None if snapshot == FROM_NOTHING else place_of(snapshot),
                    from_nothing=snapshot == FROM_NOTHING,
                    resume=resume,
                    allow_topology_change=allow_topology_change,
                    skip_corrupt=skip_corrupt,
                    readers=available_cpus() if topology.processes == 1 else 1,
                )
            )

        work_apart(topology, plan)  # what is wrong on one node alone ends all with its words
        (job,) = planned
        boosted = [] if job.sampling.boosted is None else [job.sampling.boosted]
        require_same_data(topology, job.train, job.validation, *boosted)
        require_same_epochs(topology, job.sampling.sha256())
        session = run_training(job)
    below = require_target(session.best, settings.training.target_miou, allow_below=allow_below_target)
    if topology.rank == 0:
        _say_what_is_done(settings, place, session, below)


def _require_trunk(recipe: "Recipe", output: Place, site: "SiteConfig") -> None:
    """Raises UsageError where it is certain by now that a fresh start misses the trunk that the recipe begins with."""
    from abet.site import imagenet_trunk

    # A run that goes on needs none; whether one in S3 does is known once its folder is here
    fresh = isinstance(output, Path) and not (output / CHECKPOINTS).exists()
    if fresh and recipe.training.start_weights == "imagenet_trunk":
        imagenet_trunk(recipe.model.trunk.kind, site)


def _say_what_is_done(recipe: "Recipe", output: Place, session: "Session", below: str | None) -> None:
    best = session.best
    say(
        f"{output}: {session.step} steps done"
        + ("" if best is None else f", best mIoU {best.miou:.4f} at step {best.step}"),
        *([] if below is None else [f"{below}: allowed"]),
        f"next: abet evaluate --checkpoint {output} --dataset road_anomaly --data-root DIR"
        if recipe.data.dataset == "cityscapes"
        else f"next: abet train cityscapes_finetune --snapshot {output} --output DIR",
    )
