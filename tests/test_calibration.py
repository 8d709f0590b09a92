"""Calibrations are kept with the weights that they are of; each thing that is missing says what to run."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from abet import companions
from abet.calibrate import Calibration, calibrate
from abet.calibration import FILE, definition_words, store, threshold_of
from abet.data.index import Dataset
from abet.detector import Detector
from abet.errors import DataError, UsageError
from abet.places import parse_place
from abet.site import S3Settings
from abet.storage import Conflict, LocalStorage
from abet.storage.s3 import S3Storage
from tests.s3_server import S3Server

TWO = ("abet", "energy")
LOCAL = S3Settings()


@pytest.fixture(scope="module")
def found(learned: Detector, mixed_sizes: Dataset) -> dict[str, Any]:
    return calibrate(Calibration(detector=learned, dataset=mixed_sizes, scores=TWO, track="obstacle-track"))


def named(found: dict[str, Any], dataset: str, split: str = "test") -> dict[str, Any]:
    return {**found, "dataset": dataset, "split": split}


def test_sets_stand_side_by_side_and_the_same_set_is_replaced(found: dict[str, Any], tmp_path: Path) -> None:
    uri = str(tmp_path)
    path, notes = store(uri, "a" * 64, found, LOCAL)
    assert (path, notes) == (tmp_path / FILE, [])
    assert threshold_of(uri, "a" * 64, "tpr95", "abet", LOCAL).dataset == "road_anomaly"
    _, notes = store(uri, "a" * 64, named(found, "lost_and_found", "train"), LOCAL)
    assert notes == []
    with pytest.raises(UsageError, match=r"calibrated on road_anomaly, lost_and_found: choose one with --calibration"):
        threshold_of(uri, "a" * 64, "tpr95", "abet", LOCAL)
    chosen = threshold_of(uri, "a" * 64, "fpr1", "energy", LOCAL, dataset="lost_and_found")
    assert chosen.value == found["scores"]["energy"]["fpr1"]["threshold"]["value"]
    assert (chosen.split, chosen.minimum_pixels) == ("train", 50)
    assert chosen.note is None
    _, notes = store(uri, "a" * 64, found, LOCAL)
    assert notes == ["replaced what was calibrated on road_anomaly (test: abet, energy)"]
    assert list(json.loads(path.read_bytes())["sets"]) == ["lost_and_found", "road_anomaly"]
    _, notes = store(uri, "b" * 64, found, LOCAL)
    assert notes == [f"the calibration of other weights (sha256 {'a' * 12}) was replaced"]
    assert list(json.loads(path.read_bytes())["sets"]) == ["road_anomaly"]


def test_a_set_by_another_definition_is_replaced_and_the_note_says_so(found: dict[str, Any], tmp_path: Path) -> None:
    uri, sha256, of_before = str(tmp_path), "a" * 64, named(found, "lost_and_found", "train")
    entries = {name: {**of_before, "ood_definition": name} for name in ("road", "image")}
    assert store(uri, sha256, entries["road"], LOCAL)[1] == []
    assert threshold_of(uri, sha256, "tpr95", "abet", LOCAL).ood_definition == "road"
    shown = "replaced what was calibrated on lost_and_found (train, definition"
    assert store(uri, sha256, entries["road"], LOCAL)[1] == [f"{shown} road: abet, energy)"]
    other = "which was of another definition than image"
    assert store(uri, sha256, entries["image"], LOCAL)[1] == [f"{shown} road: abet, energy), {other}"]
    assert threshold_of(uri, sha256, "tpr95", "abet", LOCAL).ood_definition == "image"
    with pytest.raises(UsageError, match=r"--split train --ood-definition image --scores abet,energy,msp` does it"):
        threshold_of(uri, sha256, "tpr95", "msp", LOCAL)
    with pytest.raises(UsageError, match=r"--dataset lost_and_found --split train --ood-definition image`"):
        threshold_of(uri, sha256, "tpr95", "abet", LOCAL, fitted_sha256="c" * 64)


def test_a_file_that_names_no_definition_is_by_the_usual_one(found: dict[str, Any], tmp_path: Path) -> None:
    of_before = named(found, "lost_and_found", "train")
    store(str(tmp_path), "a" * 64, of_before, LOCAL)
    assert threshold_of(str(tmp_path), "a" * 64, "tpr95", "abet", LOCAL).ood_definition is None
    _, notes = store(str(tmp_path), "a" * 64, {**of_before, "ood_definition": "road"}, LOCAL)
    replaced = "replaced what was calibrated on lost_and_found (train, definition road: abet, energy)"
    assert notes == [replaced]
    store(str(tmp_path), "a" * 64, of_before, LOCAL)
    _, notes = store(str(tmp_path), "a" * 64, {**of_before, "ood_definition": "image"}, LOCAL)
    assert notes == [f"{replaced}, which was of another definition than image"]
    assert definition_words("lost_and_found", None) == definition_words("lost_and_found", "road") == ", definition road"
    assert definition_words("road_anomaly", None) == "", "there is one"


@pytest.mark.parametrize("where", ["local", "s3"])
def test_sets_that_are_calibrated_at_the_same_time_are_all_kept(
    where: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, settings = str(tmp_path), LOCAL
    if where == "s3":
        server: S3Server = request.getfixturevalue("s3")
        place, settings = str(server.place("weights")), server.settings
    bare = {"split": "test", "images": 1, "tested_on": False, "minimum_pixels": {"prediction": 1, "object": 1}}
    names = ("one", "two", "three")
    together, met = threading.Barrier(len(names)), threading.local()
    storage = LocalStorage if where == "local" else S3Storage
    read = storage.read

    def read_together(self: Any, name: str) -> tuple[bytes, str]:
        try:
            return read(self, name)
        finally:
            if not getattr(met, "once", False):  # nobody writes before all have seen that there is nothing
                met.once = True
                together.wait(timeout=20)

    entries = [{**bare, "dataset": name, "scores": {"abet": {}}} for name in names]
    with monkeypatch.context() as patched, ThreadPoolExecutor(len(names)) as pool:
        patched.setattr(storage, "read", read_together)
        list(pool.map(lambda entry: store(place, "a" * 64, entry, settings), entries))
    kept = companions.read(parse_place(place), FILE, settings)
    assert kept is not None
    assert set(json.loads(kept)["sets"]) == set(names)


def test_who_never_gets_to_write_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = {"split": "test", "images": 1, "tested_on": False, "minimum_pixels": {"prediction": 1, "object": 1}}
    entry = {**bare, "dataset": "one", "scores": {"abet": {}}}
    monkeypatch.setattr(companions, "read_versioned", lambda *_: (None, "of long ago"))
    with pytest.raises(Conflict, match=rf"{FILE}: others write it all the time"):
        store(str(tmp_path), "a" * 64, entry, LOCAL)
    assert not (tmp_path / FILE).exists()


def test_each_thing_that_is_missing_says_what_to_run(found: dict[str, Any], tmp_path: Path) -> None:
    uri, sha256 = str(tmp_path), "a" * 64
    with pytest.raises(UsageError, match=r"has no calibration; `abet calibrate --checkpoint \S+ --dataset NAME`"):
        threshold_of(uri, sha256, "tpr95", "abet", LOCAL)
    absent = {**found["scores"]["abet"], "fpr1": {"threshold": None, "reason": "the score is inf"}}
    store(uri, sha256, {**found, "scores": {"abet": absent}}, LOCAL)
    with pytest.raises(
        UsageError, match=r"of other weights \(sha256 aaaaaaaaaaaa, not bbbbbbbbbbbb\); `abet calibrate"
    ):
        threshold_of(uri, "b" * 64, "tpr95", "abet", LOCAL)
    with pytest.raises(UsageError, match=r"'msp' is not calibrated on road_anomaly \(there: abet\); `abet calibrate"):
        threshold_of(uri, sha256, "tpr95", "msp", LOCAL)
    with pytest.raises(UsageError, match=r"road_anomaly defines none for score 'abet': the score is inf"):
        threshold_of(uri, sha256, "fpr1", "abet", LOCAL)
    with pytest.raises(
        UsageError, match=r"choices are: road_anomaly; `abet calibrate .* --dataset fishyscapes_static`"
    ):
        threshold_of(uri, sha256, "fpr1", "abet", LOCAL, dataset="fishyscapes_static")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "damaged JSON"),
        (b"{}", "not a calibration: schema"),
        (b'{"schema": 1, "checkpoint": {"uri": "x", "sha256": "y"}, "sets": {}}', "holds no set"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    companions.write(tmp_path, FILE, content, LOCAL)
    with pytest.raises(DataError, match=rf"{FILE}: .*{said}"):
        threshold_of(str(tmp_path), "y", "tpr95", "abet", LOCAL)
