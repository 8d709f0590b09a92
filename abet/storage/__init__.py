"""Where runs and data lie: one small interface over a folder and over S3. No torch import.

storage = open_storage(parse_place("s3://models/abet"), site.s3)
content, version = storage.read("latest.json")
storage.write("latest.json", newer, expect=version)  # raises Conflict if somebody was faster
"""

import secrets
from contextlib import suppress
from pathlib import Path

from abet.places import Place, S3Uri
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
    "ConditionsIgnored",
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


class ConditionsIgnored(StorageRefused):
    """The server writes what it was told to write only under a condition that does not hold."""


def require_writable(storage: Storage) -> None:
    """Write and delete a tiny object, so that a job fails now rather than at its first checkpoint.

    In S3 it is written once more on conditions that do not hold: who owns a run is decided by such writes.

    Raises:
        StorageRefused: it may not be written or not be deleted; the message says what would help.
        ConditionsIgnored: a write passed that must not.
        StorageUnavailable: no answer.
    """
    name = f".abet-write-test-{secrets.token_hex(8)}"
    try:
        storage.write(name, b"first", expect=ABSENT)
        ignored = _ignored_conditions(storage, name) if isinstance(storage.place, S3Uri) else []
        storage.delete([name])
    except OSError as error:
        reason = error.strerror or error
        raise StorageRefused(
            f"{storage.place} cannot be written ({reason}); get permission for it or choose another place"
        ) from None
    if ignored:
        raise ConditionsIgnored(
            f"{storage.place}: the server ignores {' and '.join(ignored)}, so two trainers could overwrite each other "
            "unnoticed; keep artifacts on a server that honours them (AWS S3, and recent MinIO, Ceph and SeaweedFS, "
            "do), or in a folder"
        )


def _ignored_conditions(storage: Storage, name: str) -> list[str]:
    """The headers that a server does not heed, tried on an object that is there."""
    ignored = []
    for condition, expect in (("If-None-Match", ABSENT), ("If-Match", "0" * 32)):
        with suppress(Conflict):
            storage.write(name, f"second: {condition}".encode(), expect=expect)
            ignored.append(condition)
    return ignored
