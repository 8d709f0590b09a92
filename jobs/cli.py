"""python -m jobs submit | render | manifests | profile | status | logs | cancel"""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn

import typer
import yaml

from abet.config import recipe_names
from abet.errors import AbetError, UsageError, unknown_name
from abet.places import Place, parse_place
from abet.settings import Strict
from abet.site import FROM_NOTHING, SiteConfig, find_site_file, load_site
from jobs import catalogue, watching
from jobs.catalogue import Request
from jobs.passes import passes, run_of
from jobs.pipeline import pipeline
from jobs.profile import load_profile, profile_path
from jobs.records import find, records
from jobs.spec import JobSpec
from jobs.status import statuses
from jobs.submission import SUBMIT

Where = Literal["auto", "local", "slurm", "kubernetes"]
PASSES: Final = ("evaluate", "components", "fit", "calibrate")
"""One network over one data set."""
JOBS: Final = (*PASSES, "report", "pipeline")
"""Beside the recipes, which are jobs by their own names."""

_ALWAYS = "on dry_run profile name retries grace_seconds secret"
_EVERY = f"{_ALWAYS} run"
_SIZE = "gpus cpus memory_gib time_limit_minutes"
_TRAINING = "nodes processes snapshot changes allow_below_target"
TAKEN: Final = {
    "train": f"{_EVERY} {_SIZE} {_TRAINING} output data_root option",
    "evaluate": f"{_EVERY} {_SIZE} dataset checkpoint shards components output data_root option",
    "components": f"{_EVERY} {_SIZE} dataset checkpoint shards output data_root option",
    "fit": f"{_ALWAYS} {_SIZE} dataset checkpoint data_root option",
    "calibrate": f"{_ALWAYS} {_SIZE} dataset checkpoint data_root option",
    "report": f"{_EVERY} checkpoint output option",
    "pipeline": f"{_EVERY} {_SIZE} {_TRAINING} pretrain finetune shards components".replace("name ", ""),
}
"""Options that mean something, by job."""

app = typer.Typer(
    help="Submit abet's jobs to SLURM or Kubernetes, or run them here; run it from the checkout.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def submit(
    context: typer.Context,
    job: Annotated[
        str,
        typer.Argument(help=f"A recipe (mapillary_pretrain, ..., or a .yaml path), {', '.join(JOBS)}."),
    ],
    on: Annotated[
        Where,
        typer.Option(help="auto: SLURM where sbatch is on PATH, else this machine; kubernetes: what kubectl reaches."),
    ] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print exactly what would be submitted, and stop.")
    ] = False,
    profile: Annotated[
        str | None, typer.Option(help="Profile of SLURM or Kubernetes. Default: the site file's.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the job for the scheduler.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Machines.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs of each machine.")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Without GPUs: training processes of each machine.")
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs of each machine.")] = None,
    memory_gib: Annotated[int | None, typer.Option(min=1, help="Memory of each machine.")] = None,
    time_limit_minutes: Annotated[
        int | None, typer.Option(min=1, help="Time limit; after it training alone goes on.")
    ] = None,
    retries: Annotated[int | None, typer.Option(min=0, help="Restarts in a row without a new checkpoint.")] = None,
    grace_seconds: Annotated[
        int | None, typer.Option(min=1, help="Time to save between the signal and the end.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Name of the run below the artifacts.")] = None,
    output: Annotated[str | None, typer.Option(help="Place of the run, instead.")] = None,
    snapshot: Annotated[str | None, typer.Option(help="Start weights; none: from nothing.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="What is evaluated, fitted, calibrated or reported.")] = None,
    dataset: Annotated[str | None, typer.Option(help="What it is evaluated, fitted or calibrated on.")] = None,
    data_root: Annotated[str | None, typer.Option(help="Place of the data set. Default: the site file's.")] = None,
    shards: Annotated[int | None, typer.Option(min=1, help="Parts of an evaluation. Default: 8 on a cluster.")] = None,
    components: Annotated[
        bool, typer.Option("--components", help="Evaluate in two passes: also find objects as objects.")
    ] = False,
    pretrain: Annotated[str, typer.Option(help="First recipe of the pipeline.")] = "mapillary_pretrain",
    finetune: Annotated[str, typer.Option(help="Second recipe of the pipeline.")] = "cityscapes_finetune",
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe; repeat for more.")
    ] = None,
    allow_below_target: Annotated[
        bool, typer.Option("--allow-below-target", help="Go on with a run whose mIoU misses its target.")
    ] = False,
    secret: Annotated[
        list[str] | None, typer.Option(help="Name of a variable that the job needs; its value is never written.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Further option of the abet command; repeat for more.")
    ] = None,
) -> None:
    """Submit a job, or several that wait for each other. The same command again goes on where a run stopped."""
    _require_meant(job, context)
    site = load_site()
    place = _choose(on)
    request = Request(
        name=name,
        nodes=nodes,
        gpus=gpus,
        processes=processes,
        cpus=cpus,
        memory_gib=memory_gib,
        time_limit_minutes=time_limit_minutes,
        retries=retries,
        grace_seconds=grace_seconds,
        run=run,
        output=_place(output),
        snapshot=FROM_NOTHING if snapshot == FROM_NOTHING else _place(snapshot),
        checkpoint=_place(checkpoint),
        data_root=_place(data_root),
        shards=shards or (1 if place == "local" else catalogue.SHARDS),
        components=components,
        changes=tuple(changes or ()),
        allow_below_target=allow_below_target,
        secrets=tuple(secret or ()),
        options=tuple(option or ()),
    )
    specs = _specs(job, request, site, dataset=dataset, pretrain=pretrain, finetune=finetune)
    code = SUBMIT[place](specs, site, profile=profile, dry_run=dry_run)
    if code:
        raise typer.Exit(code)


def _require_meant(job: str, context: typer.Context) -> None:
    """Raises UsageError for an option that this job would not look at."""
    taken = TAKEN.get(job, TAKEN["train"]).split()
    for key in context.params:
        source = context.get_parameter_source(key)
        if source is not None and source.name == "COMMANDLINE" and key not in ("job", *taken):
            raise UsageError(f"{_flag(key)} means nothing to {job}; it takes {', '.join(map(_flag, taken))}")


def _flag(key: str) -> str:
    return "--set" if key == "changes" else f"--{key.replace('_', '-')}"


def _choose(on: Where) -> Literal["local", "slurm", "kubernetes"]:
    if on == "auto":
        return "slurm" if shutil.which("sbatch") else "local"
    return on


def _place(text: str | None) -> Place | None:
    """Paths are made absolute here: the job runs in another folder."""
    if text is None:
        return None
    place = parse_place(text)
    return place.expanduser().absolute() if isinstance(place, Path) else place


def _specs(
    job: str, request: Request, site: SiteConfig, *, dataset: str | None, pretrain: str, finetune: str
) -> list[JobSpec]:
    if job in recipe_names():
        return [catalogue.training(job, request, site)]
    if job.endswith((".yaml", ".yml")):
        return [catalogue.training(str(_place(job)), request, site)]
    if job == "pipeline":
        first, second = (
            str(_place(name)) if name.endswith((".yaml", ".yml")) else name for name in (pretrain, finetune)
        )
        return pipeline(first, second, request, site)
    if job in PASSES:
        return passes(job, dataset, request, site)
    if job == "report":
        return [catalogue.report([run_of(request, site)], request, site)]
    raise unknown_name(kind="job", name=job, choices=(*recipe_names(), *JOBS))


@app.command()
def render(
    output: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("slurm"),
    profile: Annotated[str | None, typer.Option(help="SLURM profile. Default: the site file's.")] = None,
) -> None:
    """Write the batch scripts for login nodes without this Python."""
    from jobs.sbatch import write_all

    site = load_site()
    for path in write_all(output, site, load_profile(profile or site.profile)):
        typer.echo(path)


@app.command()
def manifests(
    output: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("k8s"),
    profile: Annotated[str | None, typer.Option(help="Kubernetes profile. Default: the site file's.")] = None,
) -> None:
    """Write the manifests for `kubectl apply -f`: training, evaluation in two passes, fit, calibration."""
    from jobs.kubernetes.manifests import write_all
    from jobs.kubernetes.profile import load_profile
    from jobs.kubernetes.site_map import with_environment

    site, file = load_site(), find_site_file()
    source = file.name if file is not None else "no site file"
    chosen = load_profile(profile or site.kubernetes)
    for path in write_all(output, with_environment(site, os.environ), chosen, source=source):
        typer.echo(path)


@app.command()
def profile(
    name: Annotated[str | None, typer.Argument(help="A profile or a .yaml path. Default: the site file's.")] = None,
    on: Annotated[Literal["slurm", "kubernetes"], typer.Option(help="Whose profile.")] = "slurm",
) -> None:
    """Check a profile, as far as it can be done here, and print its options. Exits 2 with what to mend."""
    from jobs.checks import problems

    site = load_site()
    if on == "kubernetes":
        from jobs.kubernetes import profile as kubernetes

        used = name or site.kubernetes
        _print_profile(kubernetes.profile_path(used), kubernetes.load_profile(used), " (its keys and values)")
        return
    chosen = name or site.profile
    loaded = load_profile(chosen)
    tried = shutil.which("sbatch") is not None
    if tried and (found := problems(loaded, image=site.image)):
        raise UsageError(f"{profile_path(chosen)}: {'; '.join(found)}")
    remark = "" if tried else " (its keys and values; nothing was tried, there is no sbatch here)"
    _print_profile(profile_path(chosen), loaded, remark)


def _print_profile(path: Path, loaded: Strict, remark: str) -> None:
    typer.echo(f"{path}: as it should be{remark}")
    for line in yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False).splitlines():
        typer.echo(f"  {line}")


@app.command()
def status(
    job: Annotated[str | None, typer.Argument(help="Id, number or name of a job. Default: all of them.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Only so many of the newest.")] = 20,
) -> None:
    """Say how jobs stand, and why. With a job, exits 1 when it ended badly."""
    from jobs.status import exit_code

    site = load_site()
    chosen = [find(site.jobs, job)] if job else records(site.jobs)[-last:]
    found = statuses(chosen)
    watching.print_statuses(chosen, found)
    if job:
        raise typer.Exit(exit_code(found[0]))


@app.command()
def logs(
    job: Annotated[str, typer.Argument(help="Id, number or name of a job.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job has ended.")] = False,
) -> None:
    """Print a job's output; every start of it stands in the same files."""
    watching.print_logs(find(load_site().jobs, job), follow=follow)


@app.command()
def cancel(
    job: Annotated[str, typer.Argument(help="Id, number or name of a job.")],
    now: Annotated[bool, typer.Option("--now", help="Do not wait until it has saved.")] = False,
) -> None:
    """Stop a job: it saves first, and goes on where it stopped when it is submitted again."""
    record = find(load_site().jobs, job)
    typer.echo(watching.cancel(record, now=now))


def main() -> None:
    """Entry point of ``python -m jobs``."""
    try:
        app()
    except AbetError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}", 1)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"abet: error: {message}", err=True)
    sys.exit(code)
