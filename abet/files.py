"""Files that appear whole or not at all, and JSON that any parser accepts."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from abet.errors import DataError

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""errno values that mean: there is no room for this file."""


@contextmanager
def atomic_path(target: Path, *, keep_existing: bool = False) -> Iterator[Path]:
    """A temporary path beside ``target`` that replaces it when the block ends well and vanishes when it does not.

    The temporary keeps the target's suffix, since writers choose their format by it. Parent folders are made. With
    ``keep_existing``, of several processes that write at once the first one wins and the others change nothing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=f".partial{target.suffix}", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes private files; what we publish follows the umask like any other file
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
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
    """Write strict JSON (no NaN, no Infinity), one trailing newline, keys in the given order; see `atomic_path`."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_bytes(target, text.encode(), keep_existing=keep_existing)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises DataError when it is missing, damaged or no object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: damaged JSON ({error}); write it again with the command that made it") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
