"""The folders of a machine that a job in a container must see: its own, read-only wherever it only reads.

mounts_of(site, data=[root], inputs=[snapshot], output=run)
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from abet.errors import UsageError
from abet.places import Place, S3Uri
from abet.settings import parse
from abet.site import SiteConfig, find_site_file
from jobs.profile import PATH_VARIABLES, ROOT, SlurmProfile
from jobs.spec import JobSpec, Mount

_NOT_IN_A_MOUNT: Final = ":,"
"""What separates the parts of a mount on the command lines of apptainer and pyxis."""


def mounts_of(
    site: SiteConfig, *, data: Iterable[Place] = (), inputs: Iterable[Place] = (), output: Place | None = None
) -> tuple[Mount, ...]:
    """What one job sees under its own name; places in S3 need nothing.

    Args:
        site: its artifacts, records and scratch folder are written by every job, its file is read.
        data: roots of the data sets that the job reads.
        inputs: files and folders that it is started with: recipe, start weights, checkpoint.
        output: the run (or page) that it writes.
    """
    made = [site.artifacts, site.jobs, site.scratch_folder, *([] if output is None else [_holder(output)])]
    file = find_site_file()
    written = [*_mounts(made, made=True), *_mounts([] if file is None else [file.absolute().parent])]
    read = _mounts([*data, *map(_holder, inputs)], read_only=True)
    # What is read and written is written: the later of two mounts of one folder counts
    found = {mount.target: mount for mount in (*read, *written)}
    if isinstance(output, Path) and str(output) in found:
        found[str(output)] = found[str(output)].model_copy(update={"read_only": False})
    return _outer_first(found)


def weights_mount(site: SiteConfig, *, read_only: bool = True) -> Mount:
    """The folder of weights, for whoever does not know yet which of them the job is started with."""
    (mount,) = _mounts([site.weights], read_only=read_only, made=True)
    return mount


def container_mounts(
    profile: SlurmProfile, spec: JobSpec, environment: Mapping[str, str] = os.environ
) -> tuple[Mount, ...]:
    """All mounts of a job's container: the checkout, the job's, the submitter's credentials, the profile's.

    Of two with one target the later counts. Outer folders come before those in them, which they would hide.

    Raises:
        UsageError: a path that cannot be said to a container.
    """
    files = [ROOT / Path(environment[name]).expanduser() for name in PATH_VARIABLES if environment.get(name)]
    if profile.container.runtime == "pyxis" and environment.get("HOME"):  # apptainer shows the home folder as it is
        files.append(Path(environment["HOME"]) / ".aws")
    credentials = _mounts([path for path in files if path.exists()], read_only=True)
    found = {mount.target: mount for mount in (*_mounts([ROOT]), *credentials, *spec.mounts, *profile.mounts)}
    for mount in found.values():
        for path in (mount.source, mount.target):
            if any(char in path for char in _NOT_IN_A_MOUNT):
                raise UsageError(
                    f"{path!r}: the container must see it, and cannot be shown a path with ':' or ','; rename it, or "
                    "give it another name by a symbolic link"
                )
    return _outer_first(found)


def _holder(place: Place) -> Place:
    """The folder to mount: the place itself where it is one; a file, or what is not there yet, by the one around it."""
    return place.parent if isinstance(place, Path) and not place.is_dir() else place


def _mounts(places: Iterable[Place], *, read_only: bool = False, made: bool = False) -> Iterator[Mount]:
    for place in places:
        if isinstance(place, S3Uri) or str(place) == "/":
            continue
        path = str(place.absolute())
        values = {"source": path, "target": path, "read_only": read_only, "made": made}
        yield parse(Mount, values, source="folder that the container must see")


def _outer_first(found: Mapping[str, Mount]) -> tuple[Mount, ...]:
    """In their order, but each after those that it lies in."""
    ordered: dict[str, Mount] = {}
    for target in found:
        for path in (*(str(parent) for parent in reversed(Path(target).parents)), target):
            if path in found:
                ordered.setdefault(path, found[path])
    return tuple(ordered.values())
