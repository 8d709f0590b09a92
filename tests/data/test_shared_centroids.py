"""The file of centroids beside the artifacts: computed once for all machines, trusted as little as the local one."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from abet.data import centroid_cache
from abet.data.centroid_cache import cache_path, load_or_compute
from abet.data.centroids import Centroids, compute_centroids
from abet.data.index import Dataset
from abet.places import S3Uri
from abet.site import S3Settings
from abet.storage import Storage, open_storage
from tests.s3_server import S3Server

TILE = 16
NOBODY = S3Settings(endpoint="http://127.0.0.1:9", region="us-east-1", patience_seconds=0)
"""A server that there is not."""


@pytest.fixture
def shared(s3: S3Server) -> Storage:
    return open_storage(s3.place("centroids"), s3.settings)


@pytest.fixture
def machine(dataset: Dataset, tmp_path: Path) -> Callable[..., Centroids]:
    """Loads on a machine of that name, each with a folder of its own."""

    def load(name: str, shared: Storage | None) -> Centroids:
        return load_or_compute(dataset, tile_pixels=TILE, folder=tmp_path / name, processes=1, shared=shared)

    return load


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Centroids]:
    """Every result of computing, in turn: what is read from a file adds none."""
    results: list[Centroids] = []

    def compute(dataset: Dataset, **options: Any) -> Centroids:
        results.append(compute_centroids(dataset, **options))
        return results[-1]

    monkeypatch.setattr(centroid_cache, "compute_centroids", compute)
    return results


def assert_equal(found: Centroids, wanted: Centroids) -> None:
    for name in ("images", "classes", "x", "y"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_what_one_machine_computed_another_fetches(
    machine: Callable[..., Centroids], shared: Storage, computed: list[Centroids]
) -> None:
    machine("one", shared)
    assert_equal(machine("two", shared), computed[0])
    assert len(computed) == 1


def test_it_lies_there_under_the_name_that_it_has_here(
    machine: Callable[..., Centroids], shared: Storage, dataset: Dataset, tmp_path: Path
) -> None:
    machine("one", shared)
    path = cache_path(dataset, TILE, tmp_path / "one")
    assert [entry.name for entry in shared.list()] == [path.name]
    assert shared.read(path.name)[0] == path.read_bytes()


def test_a_machine_that_fetched_it_asks_no_more(
    machine: Callable[..., Centroids], shared: Storage, computed: list[Centroids]
) -> None:
    machine("one", shared)
    machine("two", shared)
    shared.delete(entry.name for entry in shared.list())
    machine("two", shared)
    assert len(computed) == 1
    assert shared.list() == []


def other_labels(dataset: Dataset, folder: Path) -> bytes:
    """A sound file, made from fewer labels."""
    fewer = dataset.select(limit=3)
    load_or_compute(fewer, tile_pixels=TILE, folder=folder, processes=1)
    return cache_path(fewer, TILE, folder).read_bytes()


def other_content(content: bytes) -> bytes:
    """The same fingerprint, and a place that is off by a pixel: labels of the same names and sizes elsewhere."""
    with np.load(BytesIO(content)) as file:
        arrays = dict(file)
    arrays["x"] = arrays["x"] + (arrays["images"] == 0)
    target = BytesIO()
    np.savez(target, **{**arrays, "x": arrays["x"].astype(np.int32)})
    return target.getvalue()


FAULTS: dict[str, Callable[[bytes, Dataset, Path], bytes]] = {
    "empty": lambda content, *_: b"",
    "cut off": lambda content, *_: content[:-200],
    "garbage": lambda content, *_: b"garbage" * 100,
    "of labels of another content": lambda content, *_: other_content(content),
    "of other labels": lambda content, dataset, folder: other_labels(dataset, folder),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_verified_there_is_noted_and_replaced(
    machine: Callable[..., Centroids],
    shared: Storage,
    dataset: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fault: str,
) -> None:
    wanted = machine("one", shared)
    name = cache_path(dataset, TILE, tmp_path).name
    sound, _ = shared.read(name)
    shared.write(name, FAULTS[fault](sound, dataset, tmp_path / "other"), expect=None)
    capsys.readouterr()
    assert_equal(machine("two", shared), wanted)
    assert f"{shared.place}/{name}: passed over, not usable (" in capsys.readouterr().err
    assert shared.read(name)[0] == sound


def test_a_server_that_does_not_answer_costs_time_alone(
    machine: Callable[..., Centroids], computed: list[Centroids], s3: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = open_storage(S3Uri("models", "centroids"), NOBODY)
    assert_equal(machine("one", silent), computed[0])
    said = capsys.readouterr().err
    assert "could not be fetched (" in said
    assert "could not be stored" not in said, "it was not asked twice"
    machine("one", silent)
    assert len(computed) == 1
    assert "could not" not in capsys.readouterr().err


def test_keys_that_may_only_read_cost_time_alone(
    machine: Callable[..., Centroids],
    computed: list[Centroids],
    s3: S3Server,
    shared: Storage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shared.write("another", b"so that the bucket is there", expect=None)
    for name, value in s3.readonly_env.items():
        monkeypatch.setenv(name, value)
    reading = open_storage(shared.place, s3.settings)
    assert_equal(machine("one", reading), computed[0])
    said = capsys.readouterr().err
    assert "could not be fetched (" not in said
    assert "s3:PutObject" in said


def test_a_folder_that_cannot_be_written_fails_nothing(
    machine: Callable[..., Centroids],
    shared: Storage,
    computed: list[Centroids],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine("one", shared)
    (tmp_path / "two").touch()
    assert_equal(machine("two", shared), computed[0])
    assert len(computed) == 2
    said = capsys.readouterr().err
    assert "could not be fetched (" in said
    assert "could not be written (" in said
