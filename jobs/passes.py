"""The passes of one network over one data set, as they are submitted: what is there is kept."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from abet.errors import UsageError
from abet.mirror import default_run
from abet.names import OOD_NAMES
from abet.places import Place
from abet.site import SiteConfig
from abet.text import counted
from jobs import catalogue
from jobs.catalogue import Request
from jobs.options import told
from jobs.spec import JobSpec


def passes(job: str, dataset: str | None, request: Request, site: SiteConfig) -> list[JobSpec]:
    """The jobs of ``evaluate``, ``components``, ``fit`` or ``calibrate``. Raises UsageError for what a node refuses."""
    if job == "fit":
        return [catalogue.fit(dataset or catalogue.FITTED_ON, request, site)]
    if dataset is None:
        raise UsageError(f"{job} needs --dataset (make: DATASET=): {' or '.join(OOD_NAMES)}")
    catalogue.require_evaluated(dataset)
    # Once: a promotion in between must not give the shards of one checkpoint to the run of another
    request = replace(request, checkpoint=request.checkpoint or catalogue.default_checkpoint(site))
    if job == "calibrate":
        return [catalogue.calibration(dataset, request, site)]
    run = request.output or run_of(request, site)
    return (_evaluation if job == "evaluate" else _components)(dataset, request, site, run)


def run_of(request: Request, site: SiteConfig) -> Place:
    """What an evaluation or a report belongs to."""
    if request.run:
        return catalogue.run_named(request.run, site)
    return default_run(request.checkpoint or catalogue.default_checkpoint(site), site)


def _evaluation(dataset: str, request: Request, site: SiteConfig, run: Place) -> list[JobSpec]:
    from abet.second_pass import require_same_pass
    from abet.shard_set import missing_shards

    shards = request.shards or 1
    # One job finds out by itself: where its run lies in S3, the keys may be the cluster's alone
    if shards > 1 or request.components or isinstance(run, Path):
        _require_same_evaluation(dataset, request, site, run)
    if request.components:
        require_same_pass(run, dataset, site, shards=shards)
    missing = missing_shards(run, dataset, shards, site) if shards > 1 else [1]
    _say_kept(missing, shards, run, "shard")
    lacking = _lacking(dataset, shards, site, run) if request.components and shards > 1 else []
    return catalogue.evaluation(dataset, request, site, run=run, missing=missing, lacking=lacking)


def _require_same_evaluation(dataset: str, request: Request, site: SiteConfig, run: Place) -> None:
    from abet.begun import require_same_evaluation

    given, others = told(request.options, ("--scores", "--shard", "--limit"))
    require_same_evaluation(
        run,
        dataset,
        site,
        shards=_shards_of(request.shards or 1, given.get("shard"), others),
        scores=given.get("scores", "all"),
        protocols=request.components or not {"--protocols", "--components"}.isdisjoint(others),
        limit=int(given["limit"]) if given.get("limit", "").isdecimal() else None,
    )


def _components(dataset: str, request: Request, site: SiteConfig, run: Place) -> list[JobSpec]:
    from abet.second_pass import require_merged, require_same_pass

    shards = request.shards or 1
    given, others = told(request.options, ("--track", "--scores"))  # what components.json tells too
    require_merged(run, dataset, site)
    require_same_pass(run, dataset, site, shards=shards, **given)
    missing = _lacking(dataset, shards, site, run)
    if others and not missing:
        raise UsageError(
            f"--option {' '.join(others)}: all shards of components are there, and the merge that is left to do takes "
            "no such option: leave it out (make: COMPONENTS_ARGS=), or remove components.json and components-*.npz "
            f"of {run} to count otherwise"
        )
    return catalogue.components(dataset, request, site, run=run, missing=missing)


def _lacking(dataset: str, shards: int, site: SiteConfig, run: Place) -> list[int]:
    from abet.run import component_name
    from abet.shard_set import missing_shards

    lacking = missing_shards(run, dataset, shards, site, named=component_name)
    _say_kept(lacking, shards, run, "shard of components", "shards of components")
    return lacking


def _say_kept(missing: Sequence[int], shards: int, run: Place, noun: str, plural: str | None = None) -> None:
    if len(missing) < shards:
        typer.echo(f"{shards - len(missing)} of {counted(shards, noun, plural)} are there and kept: {run}", err=True)


def _shards_of(shards: int, shard: str | None, others: Sequence[str]) -> int | None:
    """Into how many an evaluation is split, given its option --shard; None: as many as there are, or not to be told."""
    if shard is not None:
        count = shard.partition("/")[2]
        return int(count) if count.isdecimal() else None
    return None if shards == 1 and "--only-missing" in others else shards
