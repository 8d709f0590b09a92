"""The site file ``abet.site.yaml``: the one place where a user's paths stand. No torch import.

Found through ``$ABET_SITE``, else in the working directory, else in the nearest folder above it. Relative paths in
it are relative to the file itself. ``abet.site.example.yaml`` is the commented template.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from abet.errors import UsageError, unknown_name
from abet.settings import Strict, parse, read_yaml

FILE_NAME = "abet.site.yaml"
_NOWHERE = FILE_NAME + " (there is none in {} or a folder above it, and ABET_SITE is not set)"


class SiteConfig(Strict):
    """Where this site keeps what abet reads and writes."""

    data: dict[str, Path] = Field(default_factory=dict, description="data set name -> the folder that holds it")
    weights: Path = Field(default=Path("weights"), description="folder of downloaded and imported checkpoints")
    artifacts: Path = Field(default=Path("runs"), description="folder under which runs and promotions are written")
    checkpoint: Path | None = Field(
        default=None, description="checkpoint that `make eval` uses; empty: the newest promoted one"
    )

    @field_validator("data", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return {} if value is None else value


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
    _require_known(site.data, path)
    base = Path.cwd() if path is None else path.resolve().parent
    return SiteConfig(
        data={name: base / root.expanduser() for name, root in site.data.items()},
        weights=base / site.weights.expanduser(),
        artifacts=base / site.artifacts.expanduser(),
        checkpoint=None if site.checkpoint is None else base / site.checkpoint.expanduser(),
    )


def _require_known(names: Iterable[str], path: Path | None) -> None:
    """Raises UsageError for a name under ``data:`` that no data set has: its folder would never be looked at."""
    for name in names:
        from abet.data.index import DATASETS  # only where a site names data sets: the module itself stays light

        if name not in DATASETS:
            raise unknown_name(kind=f"data set (under `data:` in {path})", name=name, choices=DATASETS)


def data_root(site: SiteConfig, dataset: str, given: Path | None) -> Path:
    """The folder of ``dataset``: the one given, else the site's. Raises UsageError when neither names one."""
    if given is not None:
        return given
    if dataset in site.data:
        return site.data[dataset]
    raise UsageError(
        f"no data root for {dataset!r}: give --data-root DIR (make: DATA_ROOT=DIR), or write it under `data:` in "
        f"{find_site_file() or _NOWHERE.format(Path.cwd())}; docs/datasets.md says where to get it"
    )
