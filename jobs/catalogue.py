"""The jobs that exist, as JobSpecs: training, evaluation by shards, fit, calibration, report.

One source: `make`, ``python -m jobs`` and the committed files of slurm/ and k8s/ all come from here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

from abet.batching import plan_batches
from abet.config import Recipe, load_recipe
from abet.errors import UsageError, unknown_name
from abet.names import OOD_NAMES, PUBLISHED_SUFFIXES, TRAINING_NAMES
from abet.places import Place
from abet.promote import DETECTOR_CLASSES, PRETRAINING_CLASSES, newest_promoted
from abet.settings import parse
from abet.site import FROM_NOTHING, SiteConfig, data_root, imagenet_trunk
from jobs.mounts import mounts_of
from jobs.options import chosen
from jobs.spec import SHARD, JobSpec, Kind, Mount, fitting_grace

CPUS_PER_GPU: Final = 8
MEMORY_GIB_PER_GPU: Final = 60
SHARDS: Final = 8
GPUS_OF_RECIPE: Final = 8
"""What recipes for the real data sets are written for; the demos train on CPUs."""
FITTED_ON: Final = "cityscapes"
"""What detectors are trained on, and so fitted, where nothing else is named."""
OF_BOTH_PASSES: Final = ("--images", "--limit", "--threads", "--device")
"""Options of an evaluation that its second pass must be given again; the others it reads in the run."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What somebody asked for beside the job's name; None: the job's own value."""

    name: str | None = None
    nodes: int | None = None
    gpus: int | None = None
    """Per node."""
    processes: int | None = None
    """Per node; without GPUs."""
    cpus: int | None = None
    memory_gib: int | None = None
    time_limit_minutes: int | None = None
    retries: int | None = None
    grace_seconds: int | None = None
    run: str | None = None
    """Name of the run below the artifacts."""
    output: Place | None = None
    snapshot: Place | str | None = None
    checkpoint: Place | None = None
    data_root: Place | None = None
    shards: int | None = None
    components: bool = False
    """Of an evaluation: with the second pass."""
    changes: tuple[str, ...] = ()
    """--set KEY=VALUE of the recipe."""
    allow_below_target: bool = False
    secrets: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """Further options of the abet command, as they stand."""


def training(recipe: str, request: Request, site: SiteConfig) -> JobSpec:
    """One training run. Raises UsageError where recipe, data, start weights or the number of GPUs cannot be meant."""
    settings = load_recipe(recipe, changes=request.changes)
    short = short_name(recipe)
    output = request.output or run_named(request.run or short, site)
    root = data_root(site, settings.data.dataset, request.data_root)
    gpus = request.gpus if request.gpus is not None else (0 if trains_on_cpus(recipe) else gpus_of(settings))
    processes = gpus or request.processes or 1
    nodes = request.nodes or 1
    full_size = not trains_on_cpus(recipe) and not _own_file(recipe)
    plan_batches(settings.batch, processes * nodes, settings.training.sync_batch_norm)
    command = ["train", recipe, "--output", str(output)]
    command += [] if request.data_root is None else ["--data-root", str(root)]
    snapshot = _snapshot(settings, request, site)
    named = snapshot or request.snapshot  # `none` among them
    command += [] if named is None else ["--snapshot", str(named)]
    for change in request.changes:
        command += ["--set", change]
    command += ["--allow-below-target"] if request.allow_below_target else []
    return _spec(
        request,
        name=request.name or job_name(short),
        kind="train",
        recipe=recipe,
        command=(*command, *request.options),
        nodes=nodes,
        gpus_per_node=gpus,
        processes_per_node=processes,
        cpus_per_node=request.cpus or (gpus * CPUS_PER_GPU or 2 * processes),
        memory_gib=request.memory_gib or (gpus or (full_size and processes)) * MEMORY_GIB_PER_GPU or 4 * processes,
        time_limit_minutes=request.time_limit_minutes or (24 * 60 if gpus else 60),
        shared_memory_gib=max(1, 8 * gpus),
        artifacts=str(output),
        grace_seconds=300 if gpus else 60,
        mounts=mounts_of(site, data=[root], inputs=[*_own_file(recipe), *_given(snapshot)], output=output),
    )


def gpus_of(recipe: Recipe) -> int:
    """What a recipe is written for: eight, or, where it says how many turns a batch takes, as many as that leaves."""
    batch = recipe.batch
    if batch.accumulation is None:
        return GPUS_OF_RECIPE
    return max(1, batch.global_batch // (batch.batch_per_gpu * batch.accumulation))


def short_name(recipe: str) -> str:
    """What a recipe is called: itself, or its file without the ending."""
    return Path(recipe).stem if _own_file(recipe) else recipe


def trains_on_cpus(recipe: str) -> bool:
    """Whether a recipe, by its name or its path, is one of the small ones that need no GPU."""
    return short_name(recipe).startswith("demo_")


def _own_file(recipe: str) -> list[Path]:
    return [Path(recipe)] if recipe.endswith((".yaml", ".yml")) else []


def _given(place: Place | None) -> list[Place]:
    return [] if place is None else [place]


def run_named(name: str, site: SiteConfig) -> Place:
    """The run of that name below the artifacts. Raises UsageError for one that would lie elsewhere."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\n\r\0]", name):
        raise UsageError(f"run {name!r}: expected a name below {site.artifacts}; --output takes any place")
    return site.artifacts / name


def _snapshot(recipe: Recipe, request: Request, site: SiteConfig) -> Place | None:
    """Start weights: those named, else what the recipe starts from. Raises UsageError where that is not here."""
    if request.snapshot == FROM_NOTHING:
        return None
    if request.snapshot is not None:
        assert not isinstance(request.snapshot, str)
        return request.snapshot
    if recipe.training.start_weights == "pretraining":
        return newest_promoted(site, PRETRAINING_CLASSES).checkpoint
    return imagenet_trunk(recipe.model.trunk.kind, site) if recipe.training.start_weights == "imagenet_trunk" else None


def evaluation(
    dataset: str, request: Request, site: SiteConfig, *, run: Place, missing: Sequence[int], lacking: Sequence[int] = ()
) -> list[JobSpec]:
    """The array over the shards that are ``missing`` in ``run``, and the merge that waits for it.

    With ``request.components`` the array of the second pass waits for the merge, which finds its thresholds;
    ``lacking`` are the shards of that which are missing. With one shard the evaluation does all of it by itself.
    """
    require_evaluated(dataset)
    shards = request.shards or 1
    checkpoint = request.checkpoint or default_checkpoint(site)
    command = ["evaluate", "--dataset", dataset, "--checkpoint", str(checkpoint), "--output", str(run)]
    command += _root_named(request)
    if request.components:
        command += ["--components" if shards == 1 else "--protocols"]
    array = _pass("evaluate", dataset, request, site, command=command, checkpoint=checkpoint, run=run, missing=missing)
    if shards == 1:
        return [array]
    # Shards that are there may be of another checkpoint: the merge compares
    more = [] if lacking or not request.components else ["--components"]
    merge = _merge(dataset, request, more, run=run, checkpoint=checkpoint, mounts=array.mounts)
    made = [array, merge.model_copy(update={"after": (array.name,)})] if missing else [merge]
    if request.components and lacking:
        again = replace(request, name=None, checkpoint=checkpoint, options=_of_both_passes(request.options))
        (second,) = components(dataset, again, site, run=run, missing=lacking)
        made.append(second.model_copy(update={"after": (merge.name,)}))
    return made


def components(
    dataset: str, request: Request, site: SiteConfig, *, run: Place, missing: Sequence[int]
) -> list[JobSpec]:
    """The second pass over what was evaluated and merged into ``run``: its last shard to end writes the figures.

    Where none of its shards is ``missing``, a merge writes them. Options are for shards: a merge takes none.
    """
    require_evaluated(dataset)
    checkpoint = request.checkpoint or default_checkpoint(site)
    command = ["components", str(run), "--dataset", dataset, "--checkpoint", str(checkpoint), *_root_named(request)]
    made = _pass("components", dataset, request, site, command=command, checkpoint=checkpoint, run=run, missing=missing)
    if missing:
        return [made]
    return [_merge(dataset, request, ["--components"], run=run, checkpoint=checkpoint, mounts=made.mounts)]


def _merge(
    dataset: str, request: Request, more: Sequence[str], *, run: Place, checkpoint: Place, mounts: tuple[Mount, ...]
) -> JobSpec:
    command = ("merge", str(run), "--dataset", dataset, "--checkpoint", str(checkpoint), *more)
    return _small(request, name=f"merge-{job_name(dataset)}", kind="merge", command=command, run=run, mounts=mounts)


def _of_both_passes(options: Sequence[str]) -> tuple[str, ...]:
    """Those of an evaluation's further options that decide what its second pass looks at, and how it computes."""
    kept, _ = chosen(options, OF_BOTH_PASSES)
    return tuple(chain.from_iterable(kept))


def fit(dataset: str, request: Request, site: SiteConfig) -> JobSpec:
    """What some scores need, found in one pass over a training set and kept with the checkpoint."""
    if dataset not in TRAINING_NAMES:
        raise unknown_name(kind="training set", name=dataset, choices=TRAINING_NAMES)
    return _kept_with_checkpoint("fit", dataset, request, site)


def calibration(dataset: str, request: Request, site: SiteConfig) -> JobSpec:
    """Thresholds, chosen in two passes over a labelled set and kept with the checkpoint."""
    require_evaluated(dataset)
    return _kept_with_checkpoint("calibrate", dataset, request, site)


def _kept_with_checkpoint(kind: Kind, dataset: str, request: Request, site: SiteConfig) -> JobSpec:
    num_classes = PRETRAINING_CLASSES if dataset == "mapillary" else DETECTOR_CLASSES
    checkpoint = request.checkpoint or default_checkpoint(site, num_classes)
    command = [kind, "--dataset", dataset, "--checkpoint", str(checkpoint), *_root_named(request)]
    beside = checkpoint.parent if checkpoint.name.endswith(PUBLISHED_SUFFIXES) else checkpoint
    return _pass(kind, dataset, replace(request, shards=1), site, command=command, checkpoint=checkpoint, run=beside)


def _root_named(request: Request) -> list[str]:
    return [] if request.data_root is None else ["--data-root", str(request.data_root)]


def _pass(
    kind: Kind,
    dataset: str,
    request: Request,
    site: SiteConfig,
    *,
    command: Sequence[str],
    checkpoint: Place,
    run: Place,
    missing: Sequence[int] = (),
) -> JobSpec:
    """One network over one data set, on one GPU, or over each of its ``missing`` shards; writes below ``run``."""
    gpus = 1 if request.gpus is None else request.gpus
    sharded = (request.shards or 1) > 1
    shard = ["--shard", f"{SHARD}/{request.shards}"] if sharded and missing else []
    data = [data_root(site, dataset, request.data_root)]
    return _spec(
        request,
        name=request.name or f"{'eval' if kind == 'evaluate' else kind}-{job_name(dataset)}",
        kind=kind,
        command=(*command, *shard, *request.options),
        shards=tuple(missing) if sharded else (),
        gpus_per_node=gpus,
        cpus_per_node=request.cpus or (CPUS_PER_GPU if gpus else 2),
        memory_gib=request.memory_gib or (MEMORY_GIB_PER_GPU if gpus else 8),
        time_limit_minutes=request.time_limit_minutes or 240,
        artifacts=str(run),
        grace_seconds=30,
        mounts=mounts_of(site, data=data, inputs=[checkpoint], output=run),
    )


def require_evaluated(dataset: str) -> None:
    """Raises UsageError for what is no OOD data set; names the nearest."""
    if dataset not in OOD_NAMES:
        raise unknown_name(kind="data set to evaluate", name=dataset, choices=OOD_NAMES)


def default_checkpoint(site: SiteConfig, num_classes: int = DETECTOR_CLASSES) -> Place:
    """What is taken when nothing is named: the site's, else the newest promoted checkpoint of so many classes.

    Raises UsageError where there is none, and for the site's, which is a detector, where another number is wanted.
    """
    if site.checkpoint is not None and num_classes != DETECTOR_CLASSES:
        raise UsageError(
            f"checkpoint: {site.checkpoint} of the site file is a detector of {DETECTOR_CLASSES} classes, and a pass "
            f"over this data set needs a checkpoint of {num_classes}: name one with --checkpoint (make: CHECKPOINT=)"
        )
    return site.checkpoint or newest_promoted(site, num_classes).checkpoint


def report(runs: Sequence[Place], request: Request, site: SiteConfig) -> JobSpec:
    """The page of one or more evaluated runs, written beside the first."""
    page = request.output or runs[0] / "report.html"
    command = ("report", *map(str, runs), "--output", str(page), *request.options)
    mounts = mounts_of(site, inputs=runs, output=page)
    return _small(request, name=request.name or "report", kind="report", command=command, run=runs[0], mounts=mounts)


def job_name(text: str) -> str:
    """A name that every scheduler takes, from a recipe's or data set's."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].rstrip("-")
    return name if name[:1].isalpha() else f"job-{name}".rstrip("-")


def _small(
    request: Request, *, name: str, kind: str, command: tuple[str, ...], run: Place, mounts: tuple[Mount, ...]
) -> JobSpec:
    return _spec(
        request,
        name=name,
        kind=kind,
        command=command,
        cpus_per_node=2,
        memory_gib=8,
        time_limit_minutes=60,
        artifacts=str(run),
        grace_seconds=30,
        mounts=mounts,
    )


def _spec(request: Request, **values: Any) -> JobSpec:
    values["secrets"] = request.secrets
    values["grace_seconds"] = fitting_grace(values["grace_seconds"], values["time_limit_minutes"])
    for key in ("retries", "grace_seconds"):
        if getattr(request, key) is not None:
            values[key] = getattr(request, key)
    return parse(JobSpec, values, source="job")
