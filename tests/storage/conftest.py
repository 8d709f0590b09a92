"""The scripted server, running."""

import threading
from collections.abc import Iterator

import pytest

from tests.storage.scripted import Scripted

POLL_SECONDS = 0.01  # how soon it hears that it shall end; by default after half a second


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
