"""Every way to ask something of a storage, and what a refusal must look like."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from abet.storage import (
    ABSENT,
    Storage,
    StorageRefused,
    require_writable,
)

SECRET = "planted-secret-value"
KEY_ID = "PLANTEDKEYID"


def uses(storage: Storage, tmp_path: Path) -> dict[str, Callable[[], object]]:
    """Every way to ask something of a storage."""
    (tmp_path / "file").write_bytes(b"content")
    return {
        "list": storage.list,
        "read": lambda: storage.read("a"),
        "write": lambda: storage.write("a", b"", expect=None),
        "write if absent": lambda: storage.write("a", b"", expect=ABSENT),
        "write if still": lambda: storage.write("a", b"", expect="0123"),
        "upload": lambda: storage.upload(tmp_path / "file", "a"),
        "download": lambda: storage.download("a", tmp_path / "target"),
        "delete": lambda: storage.delete(["a"]),
        "try": lambda: require_writable(storage),
    }


def refusal(use: Callable[[], object]) -> str:
    """The message of a refusal that no retry would change."""
    start = time.monotonic()
    with pytest.raises(StorageRefused) as refused:
        use()
    assert refused.value.exit_code == 2
    assert time.monotonic() - start < 5
    assert SECRET not in str(refused.value)
    assert KEY_ID not in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
