"""A server that accepts and stays silent: how long it is waited for, and that no process hangs on it at its end."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from abet.places import S3Uri
from abet.site import S3Settings
from abet.storage import StorageUnavailable, open_storage
from abet.storage.s3_parts import PART_BYTES
from tests.storage.asking import uses
from tests.storage.scripted import Scripted, storage_at

ROOT = Path(__file__).parents[2]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a server that takes every connection and never says a word."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.faults
def test_patience_ends_when_it_says_and_tells_the_time_that_passed(silent: str, tmp_path: Path):
    storage = open_storage(S3Uri("bucket", "run"), S3Settings(endpoint=silent, patience_seconds=1))
    for name, use in uses(storage, tmp_path).items():
        start = time.monotonic()
        with pytest.raises(StorageUnavailable, match=f"no answer from {silent} within [12] s") as lost:
            use()
        passed = time.monotonic() - start
        assert passed < 4, name
        assert abs(int(str(lost.value).partition("within ")[2].split()[0]) - passed) < 1, name


def test_a_storage_that_is_abandoned_lets_go_of_whoever_waits(scripted: Scripted, tmp_path: Path):
    scripted.stored = os.urandom(4 * PART_BYTES)
    scripted.broken_answers = ["sound", *["empty"] * 10_000]
    storage = storage_at(scripted)
    threading.Timer(1, storage.abandon).start()
    start = time.monotonic()
    with pytest.raises(StorageUnavailable, match="given up"):
        storage.download("a", tmp_path / "a")
    assert time.monotonic() - start < 4
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageUnavailable, match="given up"):
        storage.list()


BUSY = """
import sys, threading, time
from pathlib import Path
from abet.places import S3Uri
from abet.site import S3Settings
from abet.storage import LocalStorage, open_storage
from abet.sync import sync
storage = open_storage(S3Uri("bucket", "run"), S3Settings(endpoint=sys.argv[1]))
storage._bucket_seen = True
folder = Path(sys.argv[2])
"""
UPLOAD = """
threading.Thread(target=storage.upload, args=(folder / "big", "big"), daemon=True).start()
time.sleep(1)
print("leaving", flush=True)
"""
SYNC = """
from abet.sync import run
run.read_manifest = lambda storage: ({}, "")
run.listing = lambda storage, listing=run.listing: listing(storage) if isinstance(storage, LocalStorage) else {}
threading.Timer(1, lambda: print("leaving", flush=True)).start()
sync(LocalStorage(folder), storage)
"""


@pytest.mark.faults
@pytest.mark.parametrize(("script", "interrupted"), [(UPLOAD, False), (SYNC, True)])
def test_a_process_ends_at_once_whatever_is_on_its_way(silent: str, tmp_path: Path, script: str, interrupted: bool):
    """At its end, or by Ctrl-C."""
    (tmp_path / "big").write_bytes(bytes(4 * PART_BYTES))
    (tmp_path / "small").write_bytes(b"1")
    command = [sys.executable, "-c", BUSY + script, silent, str(tmp_path)]
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "leaving\n"
        if interrupted:
            process.send_signal(signal.SIGINT)
        start = time.monotonic()
        code = process.wait(30)
        assert time.monotonic() - start < 6
        assert code == (-signal.SIGINT if interrupted else 0)
