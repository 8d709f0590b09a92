"""Files that appear whole or not at all, and JSON that any parser accepts."""

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from abet.errors import DataError

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""errno values that mean: there is no room for this file."""
TEMPORARY = re.compile(r"\.(?P<stem>.+)\.[0-9a-f]{16}\.partial(?P<suffix>\.[^.]*)?")
"""Names that `temporary_beside` gives to files which are not complete yet."""


def temporary_beside(target: Path) -> Path:
    """An unused hidden name in ``target``'s folder, with its suffix.

    The caller makes the file or folder, with its writer's permissions: unlike tempfile's, they follow the umask.
    """
    return target.with_name(f".{target.stem}.{secrets.token_hex(8)}.partial{target.suffix}")


def flush(path: Path) -> None:
    """Wait until the file's content is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def atomic_path(target: Path, *, keep_existing: bool = False) -> Iterator[Path]:
    """A temporary path beside ``target`` that replaces it when the block ends well and vanishes when it does not.

    The temporary keeps the target's suffix, since writers choose their format by it. Parent folders are made. With
    ``keep_existing``, of several processes that write at once the first one wins and the others change nothing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(target)
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        flush(temporary)
        _publish(temporary, target, keep_existing)
    finally:
        temporary.unlink(missing_ok=True)


def _publish(temporary: Path, target: Path, keep_existing: bool) -> None:
    if not keep_existing:
        temporary.replace(target)
        return
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not target.exists():
            temporary.replace(target)


def write_bytes(target: Path, content: bytes, *, keep_existing: bool = False) -> None:
    """Write ``content``; see `atomic_path`."""
    with atomic_path(target, keep_existing=keep_existing) as temporary:
        temporary.write_bytes(content)


def write_json(target: Path, value: Mapping[str, Any], *, keep_existing: bool = False) -> None:
    """Write `json_text`; see `atomic_path`."""
    write_bytes(target, json_text(value).encode(), keep_existing=keep_existing)


def json_text(value: Mapping[str, Any]) -> str:
    """Strict JSON (no NaN, no Infinity), one trailing newline, keys in the given order."""
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises DataError when it is missing, damaged or no object."""
    try:
        return parse_json(path.read_bytes(), source=path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None


def parse_json(content: bytes, *, source: object) -> dict[str, Any]:
    """The object in the JSON text that was read from ``source``. Raises DataError when it is damaged or no object."""
    try:
        value = json.loads(content.decode())
    except (ValueError, RecursionError) as error:  # malformed, not UTF-8, endless digits or nesting
        raise DataError(f"{source}: damaged JSON ({error}); write it again with the command that made it") from None
    if not isinstance(value, dict):
        raise DataError(f"{source}: expected a JSON object, found {type(value).__name__}")
    return value


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
