"""A folder to copy from, and targets of both kinds."""

from pathlib import Path

import pytest

from abet.storage import LocalStorage, Storage, open_storage
from tests.sync.trees import TREE, write


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def source(tmp_path: Path) -> LocalStorage:
    write(tmp_path / "source", TREE)
    return LocalStorage(tmp_path / "source")


@pytest.fixture(params=["local", "s3"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return LocalStorage(tmp_path / "target")
    s3 = request.getfixturevalue("s3")
    return open_storage(s3.place("target"), s3.settings)
