"""What tests of evaluations in S3 share."""

from collections.abc import Callable
from pathlib import Path

from abet.detector import Detector
from abet.evaluate import Evaluation
from abet.places import S3Uri
from abet.storage import Storage
from tests.conftest import Finished

SET = "evaluation/road_anomaly"
RUN = "the doctor's $(run) #1"
"""A prefix that is wrong wherever it is not quoted."""


def uri_of(storage: Storage) -> S3Uri:
    assert isinstance(storage.place, S3Uri)
    return storage.place


def put_tree(storage: Storage, folder: Path, name: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            storage.upload(path, f"{name}/{path.relative_to(folder).as_posix()}")


def done(finished: Finished) -> Finished:
    assert finished.code == 0, finished.err
    return finished


def figures(read: Callable[[str], bytes]) -> bytes:
    return read(f"{SET}/metrics.json") + read(f"{SET}/curves.json")


def in_run(storage: Storage, run: str) -> Callable[[str], bytes]:
    return lambda name: storage.read(f"{run}/{name}")[0]


def on_disk(folder: Path) -> Callable[[str], bytes]:
    return lambda name: (folder / name).read_bytes()


def evaluation(detector: Detector, root: Path, **more: object) -> Evaluation:
    from abet.data.index import open_dataset

    settings = {"scores": ("msp",), "shards": 2, "samples": 0, **more}
    return Evaluation(detector=detector, dataset=open_dataset("road_anomaly", root), **settings)
