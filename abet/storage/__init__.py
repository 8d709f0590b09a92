"""Where runs and data lie: one small interface over a folder and over S3. No torch import.

storage = open_storage(parse_place("s3://models/abet"), site.s3)
content, version = storage.read("latest.json")
storage.write("latest.json", newer, expect=version)  # raises Conflict if somebody was faster
"""

import secrets
from pathlib import Path

from abet.places import Place
from abet.site import S3Settings
from abet.storage.local import LocalStorage, locked, version_of
from abet.storage.protocol import (
    ABSENT,
    Conflict,
    Entry,
    NotFound,
    Storage,
    StorageRefused,
    StorageUnavailable,
    require_name,
)
from abet.storage.s3 import S3Storage

__all__ = [
    "ABSENT",
    "Conflict",
    "Entry",
    "LocalStorage",
    "NotFound",
    "S3Storage",
    "Storage",
    "StorageRefused",
    "StorageUnavailable",
    "locked",
    "open_storage",
    "require_name",
    "require_writable",
    "version_of",
]

_DEFAULTS = S3Settings()


def open_storage(place: Place, s3: S3Settings = _DEFAULTS) -> Storage:
    """The storage at ``place``. Raises StorageRefused when the settings or the profile can reach no S3 at all."""
    return LocalStorage(place) if isinstance(place, Path) else S3Storage(place, s3)


def require_writable(storage: Storage) -> None:
    """Write and delete a tiny object, so that a job fails now rather than at its first checkpoint.

    Raises:
        StorageRefused: it may not be written or not be deleted; the message says what would help.
        StorageUnavailable: no answer.
    """
    name = f".abet-write-test-{secrets.token_hex(8)}"
    try:
        storage.write(name, b"", expect=ABSENT)
        storage.delete([name])
    except OSError as error:
        reason = error.strerror or error
        raise StorageRefused(
            f"{storage.place} cannot be written ({reason}); get permission for it or choose another place"
        ) from None
