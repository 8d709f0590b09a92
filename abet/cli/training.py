"""abet train"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from abet.cli.options import DeviceOption, require_output, say


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command()(train)


def train(
    recipe: Annotated[str, typer.Argument(help="Shipped recipe, or path of a .yaml file (see `abet show-config`).")],
    output: Annotated[
        Path, typer.Option(help="Run directory: checkpoints, metrics, TensorBoard. Resumed if it is one.")
    ],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE changes one value of the recipe; repeat for more.")
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option(help="Weights to start from: checkpoint folder, run directory, or published .pth.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the recipe's data set. Default: the site file's.")
    ] = None,
    resume: Annotated[
        Literal["auto", "never"], typer.Option(help="auto goes on from the run's newest sound checkpoint.")
    ] = "auto",
    allow_topology_change: Annotated[
        bool, typer.Option("--allow-topology-change", help="Resume on another number of processes, threads or device.")
    ] = False,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Replace images that cannot be read by others, and report them.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads per process.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Train a network: one process, or one per GPU under `abet launch` (or torchrun)."""
    from abet.cli.evaluation import use_threads
    from abet.config import load_recipe

    settings = load_recipe(recipe, changes=changes or [])
    require_output(output, kind="folder")
    from abet.site import data_root as find_root
    from abet.site import load_site

    root = find_root(load_site(), settings.data.dataset, data_root)
    use_threads(threads)
    from abet.distributed import discover
    from abet.train import train as run_training
    from abet.training.job import plan_job

    job = plan_job(
        name=recipe,
        recipe=settings,
        data_root=root,
        run=output,
        topology=discover(device),
        snapshot=snapshot,
        resume=resume,
        allow_topology_change=allow_topology_change,
        skip_corrupt=skip_corrupt,
    )
    session = run_training(job)
    if job.topology.rank == 0:
        best = session.best
        say(
            f"{output}: {session.step} steps done"
            + ("" if best is None else f", best mIoU {best.miou:.4f} at step {best.step}"),
            f"next: abet evaluate --checkpoint {output} --dataset road_anomaly --data-root DIR"
            if settings.data.dataset == "cityscapes"
            else f"next: abet train cityscapes_finetune --snapshot {output} --output DIR",
        )
