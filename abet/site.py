"""The site file ``abet.site.yaml``: the one place where a user's paths stand. No torch import.

Found through ``$ABET_SITE``, else in the working directory, else in the nearest folder above it. Relative paths in
it are relative to the file itself. ``abet.site.example.yaml`` is the commented template; `abet init` fills it in.
"""

import os
import tempfile
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from abet.errors import UsageError, unknown_name
from abet.names import OOD_NAMES, TRAINING_NAMES
from abet.places import Place, S3Uri, parse_place
from abet.settings import Strict, parse, read_yaml

FILE_NAME = "abet.site.yaml"
FROM_NOTHING = "none"
"""As a snapshot: draw all weights anew."""
TRUNK_FILE = "wider_resnet38.pth.tar"
"""WiderResNet38, trained on ImageNet, as NVIDIA published it: docs/weights.md."""
_NOWHERE = FILE_NAME + " (there is none in {} or a folder above it, and ABET_SITE is not set)"


class S3Settings(Strict):
    """How S3 is reached. Credentials come from boto3's chain (environment, ~/.aws, instance role), never from here."""

    endpoint: str | None = Field(default=None, description="URL of a server other than AWS, e.g. http://minio:9000")
    region: str | None = Field(default=None, description="region of the bucket; empty: as ~/.aws/config says")
    checksums: Literal["when_supported", "when_required"] = Field(
        default="when_supported", description="when_required for servers that know no CRC checksums"
    )
    patience_seconds: int = Field(
        default=120, ge=0, description="how long to go on trying while the server does not answer, or restarts"
    )

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("expected a URL that begins with http:// or https://")
        if value is not None and "@" in value:
            raise ValueError("credentials do not belong in it, boto3 finds them elsewhere: docs/storage.md")
        return value


class SiteConfig(Strict):
    """Where this site keeps what abet reads and writes. A place is a path, or s3://bucket/prefix."""

    data: dict[str, Place] = Field(default_factory=dict, description="data set name -> the place that holds it")
    weights: Path = Field(default=Path("weights"), description="folder of downloaded and imported checkpoints")
    artifacts: Place = Field(default=Path("runs"), description="place under which runs and promotions are written")
    checkpoint: Place | None = Field(
        default=None, description="checkpoint that `make eval` uses; empty: the newest promoted one"
    )
    scratch: Path | None = Field(
        default=None, description="fast folder of a node for copies of what lies in S3; empty: below $TMPDIR"
    )
    image: str | None = Field(default=None, description="container image that jobs run in, if their profile wants one")
    profile: str = Field(default="default", description="SLURM profile: a name in slurm/profiles/, or a .yaml path")
    kubernetes: str = Field(
        default="default", description="Kubernetes profile: a name in k8s/profiles/, or a .yaml path"
    )
    jobs: Path = Field(
        default=Path("runs/jobs"), description="folder of job records and logs; on SLURM all nodes must see it"
    )
    s3: S3Settings = S3Settings()

    @field_validator("data", "s3", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("data", mode="after")
    @classmethod
    def _known(cls, value: dict[str, Place]) -> dict[str, Place]:
        for name in value:
            # its folder would never be looked at
            if name not in (*OOD_NAMES, *TRAINING_NAMES):
                raise ValueError(str(unknown_name(kind="data set", name=name, choices=(*OOD_NAMES, *TRAINING_NAMES))))
        return value

    @field_validator("data", "artifacts", "checkpoint", mode="before")
    @classmethod
    def _places(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: _place(entry) for name, entry in value.items()}
        return _place(value)

    @property
    def scratch_folder(self) -> Path:
        """Where copies of what lies in S3 are kept on this machine."""
        return self.scratch or Path(
            os.environ.get("ABET_SCRATCH") or Path(tempfile.gettempdir()) / f"abet-{os.getuid()}"
        )


def _place(value: Any) -> Any:
    if value is None or isinstance(value, Path | S3Uri):
        return value
    if not isinstance(value, str):
        raise ValueError("expected a path or s3://bucket/prefix")
    return parse_place(value)


def find_site_file() -> Path | None:
    """The site file that applies here, or None. Raises UsageError when ``$ABET_SITE`` names a missing one."""
    named = os.environ.get("ABET_SITE")
    if named:
        if not Path(named).is_file():
            raise UsageError(f"ABET_SITE={named}: no such file; point it at your {FILE_NAME} or unset it")
        return Path(named)
    here = Path.cwd()
    return next((folder / FILE_NAME for folder in (here, *here.parents) if (folder / FILE_NAME).is_file()), None)


def load_site() -> SiteConfig:
    """The site's settings with absolute paths; the defaults, under the working directory, without a site file.

    Raises:
        UsageError: an unreadable site file, a misspelt key or data set, or a wrong value.
    """
    path = find_site_file()
    values = {} if path is None else read_yaml(path)
    site = parse(SiteConfig, {} if values is None else values, source=str(path or FILE_NAME))
    base = Path.cwd() if path is None else path.absolute().parent
    return site.model_copy(
        update={
            "data": {name: _absolute(base, root) for name, root in site.data.items()},
            "artifacts": _absolute(base, site.artifacts),
            "checkpoint": None if site.checkpoint is None else _absolute(base, site.checkpoint),
            "weights": base / site.weights.expanduser(),
            "scratch": None if site.scratch is None else base / site.scratch.expanduser(),
            "profile": _profile(base, site.profile),
            "kubernetes": _profile(base, site.kubernetes),
            "jobs": base / site.jobs.expanduser(),
        }
    )


def _profile(base: Path, name: str) -> str:
    return str(base / Path(name).expanduser()) if name.endswith((".yaml", ".yml")) else name


def _absolute(base: Path, place: Place) -> Place:
    return place if isinstance(place, S3Uri) else base / place.expanduser()


def data_root(
    site: SiteConfig, dataset: str, given: Place | None, *, option: str = "--data-root DIR (make: DATA_ROOT=DIR)"
) -> Place:
    """The place of ``dataset``: the one given, else the site's. Raises UsageError when neither names one.

    option: what gives it.
    """
    if given is not None:
        return given
    if dataset in site.data:
        return site.data[dataset]
    raise UsageError(
        f"no data root for {dataset!r}: give {option}, or write it under `data:` in "
        f"{find_site_file() or _NOWHERE.format(Path.cwd())}; docs/datasets.md says where to get it"
    )


def imagenet_trunk(kind: str, site: SiteConfig) -> Path:
    """The published trunk of that kind in the site's folder of weights. Raises UsageError where it is not there."""
    path = site.weights / TRUNK_FILE
    if kind == "wider_resnet" and path.is_file():
        return path
    why = f"{path} is not there" if kind == "wider_resnet" else "no file of it is known by name"
    raise UsageError(
        f"the recipe starts from a {kind} trunk that was trained on ImageNet, and {why}: download it "
        "(docs/weights.md), or name a snapshot: --snapshot PLACE, SNAPSHOT=PLACE of make; none draws all weights anew"
    )
