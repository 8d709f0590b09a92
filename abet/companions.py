"""Small files that are kept with a checkpoint: what was fitted or calibrated for its weights. No torch import.

    write(checkpoint, "calibration.json", content, site.s3)
    content = read(checkpoint, "calibration.json", site.s3)  # None where there is none

They lie in the checkpoint's own folder (of a run, that of the step), so that they are copied and removed with it; the
manifest does not vouch for them, since they come later and may be made again. Of a published ``REF.pth`` they lie
beside it, as ``REF.pth.calibration.json``. Whoever reads one compares the SHA-256 of the weights that it names.
"""

from abet.names import PUBLISHED_SUFFIXES
from abet.places import Place
from abet.site import S3Settings
from abet.storage import ABSENT, NotFound, open_storage


def companion(checkpoint: Place, name: str) -> Place:
    """Where the file ``name`` of a checkpoint lies.

    checkpoint: a checkpoint folder or a published file, as `abet.detector.Detector.uri` names it; not a whole run.
    """
    published = checkpoint.name.endswith(PUBLISHED_SUFFIXES)
    return checkpoint.parent / f"{checkpoint.name}.{name}" if published else checkpoint / name


def read(checkpoint: Place, name: str, s3: S3Settings) -> bytes | None:
    """The content of a checkpoint's file, None where there is none. Raises as a storage does."""
    return read_versioned(checkpoint, name, s3)[0]


def read_versioned(checkpoint: Place, name: str, s3: S3Settings) -> tuple[bytes | None, str]:
    """The same with the version that `write` may expect."""
    place = companion(checkpoint, name)
    try:
        return open_storage(place.parent, s3).read(place.name)
    except NotFound:
        return None, ABSENT


def write(checkpoint: Place, name: str, content: bytes, s3: S3Settings, *, expect: str | None = None) -> Place:
    """Replace a checkpoint's file whole, and return its place; ``expect`` as for `Storage.write`.

    Raises as a storage does, with Conflict where something else than expected is there.
    """
    place = companion(checkpoint, name)
    open_storage(place.parent, s3).write(place.name, content, expect=expect)
    return place
