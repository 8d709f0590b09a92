"""What a pod is told of the site: a ConfigMap with a site file of its own, in which no path of this machine stands."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from abet.errors import UsageError
from abet.places import Place
from abet.settings import parse
from abet.site import FILE_NAME, S3Settings, SiteConfig, find_site_file
from jobs.kubernetes.profile import Claim, KubernetesProfile
from jobs.spec import JobSpec

FOLDER: Final = "/etc/abet"
SITE_PATH: Final = f"{FOLDER}/{FILE_NAME}"
SCRATCH: Final = "/scratch"


def with_environment(site: SiteConfig, environment: Mapping[str, str]) -> SiteConfig:
    """``site`` with the S3 server and region that this machine's environment names, which pods do not have."""
    named = {
        "endpoint": environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL"),
        "region": environment.get("AWS_DEFAULT_REGION"),
    }
    given = site.s3.model_dump(exclude_none=True)
    values = {key: value for key, value in named.items() if value} | given
    s3 = parse(S3Settings, values, source="AWS_ENDPOINT_URL of the environment")
    return site.model_copy(update={"s3": s3})


def pod_site(site: SiteConfig, profile: KubernetesProfile) -> str:
    """The text of a pod's site file: every place of ``site`` that pods can see.

    Raises:
        UsageError: S3 is a server of this machine alone.
    """
    _require_reachable(site.s3.endpoint)
    values: dict[str, Any] = {
        "data": {name: str(place) for name, place in site.data.items() if is_seen(place, profile)},
        "artifacts": str(site.artifacts) if is_seen(site.artifacts, profile) else None,
        "scratch": SCRATCH,
        "s3": site.s3.model_dump(exclude_defaults=True) if site.s3 != S3Settings() else None,
    }
    return yaml.safe_dump({key: value for key, value in values.items() if value}, sort_keys=False)


def _require_reachable(endpoint: str | None) -> None:
    host = urlsplit(endpoint or "").hostname or ""
    if host in {"localhost", "::1"} or host.startswith("127."):
        raise UsageError(
            f"s3.endpoint: {endpoint} is this machine to itself, and each pod to itself: give the name or address by "
            "which pods reach that server"
        )


def is_seen(place: Place, profile: KubernetesProfile) -> bool:
    """Whether pods see a place: S3, or what lies on a claim."""
    return not isinstance(place, Path) or claim_of(str(place), profile) is not None


def claim_of(path: str, profile: KubernetesProfile) -> str | None:
    """The path of the claim that a path lies on."""
    found = _claim(path, profile)
    return None if found is None else found.path


def _claim(path: str, profile: KubernetesProfile) -> Claim | None:
    """Of several, one within the other, the innermost."""
    holding = [each for each in profile.volumes if PurePosixPath(path).is_relative_to(each.path)]
    return max(holding, key=lambda each: len(PurePosixPath(each.path).parts), default=None)


def require_seen(spec: JobSpec, site: SiteConfig, profile: KubernetesProfile) -> None:
    """Raises UsageError for paths of a job that its pods would not see, or not be able to write; names each."""
    unseen = [path for path in _paths(spec, site) if claim_of(path, profile) is None]
    if unseen:
        raise UsageError(
            f"{spec.name}: pods do not see {', '.join(dict.fromkeys(unseen))} of this machine: copy it to S3 (abet "
            "sync) and name that place in the site file or on the command line, or name the claim that holds it under "
            "`volumes:` of the Kubernetes profile"
        )
    claim = _claim(str(spec.artifacts), profile)
    if claim is not None and claim.read_only:
        raise UsageError(
            f"{spec.name}: it writes to {spec.artifacts}, and claim {claim.claim} ({claim.path}) has `read_only: true` "
            "under `volumes:` of the Kubernetes profile: set that to false, or name what lies on another claim or in S3"
        )


def _paths(spec: JobSpec, site: SiteConfig) -> Iterator[str]:
    """What the job reads and writes, without what every job mounts elsewhere and a pod has of its own."""
    file = find_site_file()
    own = {str(site.jobs.absolute()), str(site.scratch_folder.absolute())}
    own |= set() if file is None else {str(file.absolute().parent)}
    if spec.artifacts and not Path(spec.artifacts).is_relative_to(str(site.artifacts)):
        own.add(str(site.artifacts))  # mounted by every job; who writes elsewhere does not need it
    yield from (mount.source for mount in spec.mounts if mount.source not in own)
