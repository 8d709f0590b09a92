"""Handing jobs over, or showing what would be: here, to SLURM, to Kubernetes. What is wrong is said before."""

import os
from collections.abc import Sequence
from typing import Final

import typer

from abet.errors import UsageError
from abet.places import SCHEME, parse_place
from abet.site import SiteConfig
from jobs.executors.local import LocalExecutor
from jobs.profile import SlurmProfile, load_profile
from jobs.records import Record
from jobs.spec import JobSpec


def _submit_here(specs: list[JobSpec], site: SiteConfig, *, profile: str | None, dry_run: bool) -> int:
    if profile is not None:
        raise UsageError(f"--profile {profile} means nothing on this machine: leave it out, or name --on slurm")
    local = LocalExecutor(site=site)
    if dry_run:
        typer.echo(local.render(specs), nl=False)
        return 0
    _require_set(specs)
    return local.submit(specs)


def _submit_to_slurm(specs: list[JobSpec], site: SiteConfig, *, profile: str | None, dry_run: bool) -> int:
    from jobs.executors.slurm import SlurmExecutor

    slurm = SlurmExecutor(site=site, profile=load_profile(profile or site.profile))
    if dry_run:
        typer.echo(slurm.render(specs), nl=False)
        return 0
    _require_set(specs)
    require_keys(specs, slurm.profile)
    require_places(specs, site)
    _say_submitted("SLURM job", slurm.submit(specs))
    return 0


def _submit_to_kubernetes(specs: list[JobSpec], site: SiteConfig, *, profile: str | None, dry_run: bool) -> int:
    from jobs.executors.kubernetes import KubernetesExecutor
    from jobs.kubernetes.profile import load_profile

    kubernetes = KubernetesExecutor(site=site, profile=load_profile(profile or site.kubernetes))
    if dry_run:
        typer.echo(kubernetes.render(specs), nl=False)
        return 0
    _say_submitted("Kubernetes", kubernetes.submit(specs))
    return 0


SUBMIT: Final = {"local": _submit_here, "slurm": _submit_to_slurm, "kubernetes": _submit_to_kubernetes}
"""Where -> submits jobs there, or prints what it would submit; returns an exit code."""


def _say_submitted(where: str, submitted: Sequence[Record]) -> None:
    for record in submitted:
        typer.echo(f"submitted {record.job.id} as {where} {record.job.number}; records and logs: {record.folder}")
    typer.echo("follow it: python -m jobs logs -f JOB; how it stands: python -m jobs status")


def _require_set(specs: Sequence[JobSpec]) -> None:
    for name in dict.fromkeys(name for spec in specs for name in spec.secrets):
        if name not in os.environ:
            raise UsageError(f"--secret {name}: there is no such variable here; export it, the job gets it from you")


def require_keys(specs: Sequence[JobSpec], profile: SlurmProfile) -> None:
    """Raises UsageError where the keys of S3 that are used here would not reach the job."""
    # boto3 looks at these first, whatever else there is
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    if not os.environ.get(keys[0]):
        return
    for spec in specs:
        missing = [name for name in keys if os.environ.get(name) and name not in (*profile.environment, *spec.secrets)]
        if missing and (spec.artifacts or "").startswith(SCHEME):
            raise UsageError(
                f"{spec.name} writes to {spec.artifacts} with keys from your environment; jobs get of it only what is "
                f"named: add {' '.join(f'--secret {name}' for name in missing)} (make: SECRET='{' '.join(missing)}'), "
                "or keep the keys in ~/.aws/credentials and unset those variables"
            )


def require_places(specs: Sequence[JobSpec], site: SiteConfig) -> None:
    """Raises before anything waits in a queue: where a job writes must be writable for whoever submits it."""
    from abet.storage import open_storage, require_writable

    for text in dict.fromkeys(spec.artifacts for spec in specs if spec.artifacts):
        require_writable(open_storage(parse_place(text), site.s3))
