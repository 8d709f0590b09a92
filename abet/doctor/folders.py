"""Folders that jobs write to, and what they are started with."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from abet.doctor.check import Check
from abet.errors import AbetError
from abet.places import S3Uri
from abet.promote import find_promoted
from abet.site import S3Settings, SiteConfig
from abet.storage import open_storage

SCRATCH_BYTES = 20 * 2**30
"""Room for a few checkpoints of the full network and the smaller data sets."""


def check_folders(site: SiteConfig) -> Iterator[Check]:
    """Weights, artifacts, the checkpoint in use, scratch, and the folder of jobs."""
    if site.weights.is_dir():
        yield Check.ok("weights", str(site.weights))
    else:
        yield Check.unset("weights", f"{site.weights} is not there", "docs/weights.md says what belongs there")
    if isinstance(site.artifacts, Path):
        yield _writable("artifacts", site.artifacts, "correct `artifacts` in the site file, or get permission")
    yield _checkpoint(site)
    yield _scratch(site)
    yield _writable("jobs", site.jobs, "correct `jobs` in the site file, or get permission")
    yield _image(site.image)


def _image(image: str | None) -> Check:
    if not image:
        return Check.unset("image", "none is named: jobs run without a container, or in their profile's")
    if Path(image).is_absolute() and not Path(image).exists():
        return Check.problem("image", f"{image} is not there", "correct `image` in the site file")
    return Check.ok("image", image)


def _checkpoint(site: SiteConfig) -> Check:
    try:
        if site.checkpoint is None:
            promoted = find_promoted(site.model_copy(update={"s3": impatient(site)}))
            if promoted is None:
                return Check.unset("checkpoint", "none is named or promoted", "abet checkpoint promote PLACE")
            return Check.ok("checkpoint", f"{promoted.checkpoint} (promotion {promoted.number})")
        if isinstance(site.checkpoint, S3Uri):
            there = bool(open_storage(site.checkpoint.parent, impatient(site)).list(site.checkpoint.name))
        else:
            there = site.checkpoint.exists()
    except AbetError as error:
        return Check.problem("checkpoint", str(error), "correct `checkpoint` or `artifacts` in the site file")
    if there:
        return Check.ok("checkpoint", str(site.checkpoint))
    return Check.problem("checkpoint", f"{site.checkpoint} is not there", "correct `checkpoint` in the site file")


def impatient(site: SiteConfig) -> S3Settings:
    """The site's settings of S3 for somebody who waits for the answer."""
    return site.s3.model_copy(update={"patience_seconds": min(5, site.s3.patience_seconds)})


def _scratch(site: SiteConfig) -> Check:
    folder = site.scratch_folder
    found = _writable("scratch", folder, "correct `scratch` in the site file, or set ABET_SCRATCH")
    if found.state != "ok":
        return found
    free = shutil.disk_usage(_nearest(folder)).free
    text = f"{folder}: {free / 2**30:.0f} GiB free"
    uses_s3 = any(isinstance(place, S3Uri) for place in (site.artifacts, site.checkpoint, *site.data.values()))
    if uses_s3 and free < SCRATCH_BYTES:
        return Check.problem("scratch", text, "copies of what lies in S3 need more: set `scratch` in the site file")
    return Check.ok("scratch", text)


def _writable(name: str, folder: Path, fix: str) -> Check:
    """Writes and removes a file, in the folder itself or where it would be made."""
    place = _nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"abet doctor")
            file.flush()
    except OSError as error:
        return Check.problem(name, f"{folder} cannot be written: {error.strerror or error} ({place})", fix)
    return Check.ok(name, str(folder) if place == folder else f"{folder} (will be made)")


def _nearest(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
