"""Data roots: there, and laid out as the readers expect."""

from collections.abc import Iterator
from pathlib import Path

from abet.doctor.check import Check
from abet.doctor.folders import impatient
from abet.errors import AbetError
from abet.install import missing_modules
from abet.names import OOD_NAMES, TRAINING_NAMES
from abet.places import Place, S3Uri
from abet.site import SiteConfig
from abet.storage import open_storage
from abet.text import counted


def check_data_sets(site: SiteConfig) -> Iterator[Check]:
    """One check for each data set."""
    for name in (*OOD_NAMES, *TRAINING_NAMES):
        if name not in site.data:
            yield Check.unset(f"data.{name}", "", "only if you need it: docs/datasets.md says where to get it")
        else:
            yield _check(name, site.data[name], site)


def _check(name: str, place: Place, site: SiteConfig) -> Check:
    try:
        if isinstance(place, S3Uri):
            return _check_remote(name, place, site)
        return _check_folder(name, place)
    except AbetError as error:
        return Check.problem(f"data.{name}", str(error), f"correct `data: {name}` in the site file")


def _check_remote(name: str, place: S3Uri, site: SiteConfig) -> Check:
    entries = open_storage(place, impatient(site)).list()
    if not entries:
        return Check.problem(f"data.{name}", f"{place} holds nothing", f"abet sync FOLDER {place}")
    size = sum(entry.bytes for entry in entries) / 2**30
    return Check.ok(f"data.{name}", f"{place}: {len(entries)} objects, {size:.1f} GiB; checked when a node copies it")


def _check_folder(name: str, root: Path) -> Check:
    if not root.is_dir():
        return Check.problem(
            f"data.{name}", f"{root} is no folder here", f"correct `data: {name}` in the site file; docs/datasets.md"
        )
    if missing_modules():
        return Check.ok(f"data.{name}", f"{root} is there; its layout is checked by the full install alone")
    from abet.data.index import survey

    found = survey(name, root)
    if found.dataset is None or found.faults:
        first = found.faults[0].message.splitlines()[0]
        text = f"{root}: {counted(len(found.faults), 'fault')}, the first: {first}"
        return Check.problem(
            f"data.{name}", text, f"abet data check {name} lists all; docs/datasets.md shows the trees"
        )
    return Check.ok(f"data.{name}", f"{root}: {counted(len(found.dataset.pairs), 'image')} of split {found.split}")
