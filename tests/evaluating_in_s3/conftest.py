"""A site whose artifacts, weights and data lie in S3."""

from pathlib import Path

import pytest
import yaml

from abet import checkpoint
from abet.detector import Detector, load_detector
from abet.places import S3Uri
from abet.storage import Storage, open_storage
from tests.conftest import random_weights
from tests.evaluating_in_s3.common import RUN, put_tree, uri_of
from tests.s3_server import S3Server
from tests.trees import make_road_anomaly


@pytest.fixture
def bucket(s3: S3Server, tmp_path: Path) -> Storage:
    """A place that holds a checkpoint, a training run and a data set, and a site file that knows the server."""
    uri = s3.place("site")
    site = {
        "artifacts": f"{uri}/artifacts",
        "scratch": str(tmp_path / "scratch"),
        "data": {"road_anomaly": f"{uri}/sets/road_anomaly"},
        "s3": {"endpoint": s3.endpoint, "region": "us-east-1", "patience_seconds": 5},
    }
    Path("abet.site.yaml").write_text(yaml.safe_dump(site))
    storage = open_storage(uri, s3.settings)
    make_road_anomaly(tmp_path / "ra", count=5)
    put_tree(storage, tmp_path / "ra", "sets/road_anomaly")
    for number, head in enumerate(("learned", "none"), 1):
        checkpoint.save(random_weights(head), tmp_path / f"step-{number}")
        put_tree(storage, tmp_path / f"step-{number}", f"weights/{head}")
    put_tree(storage, tmp_path / "step-1", "artifacts/run/checkpoints/step-00000010-g0001")
    storage.write("artifacts/run/checkpoints/best.json", b'{"step": 10, "miou": 0.5}', expect=None)
    storage.write("artifacts/run/config.yaml", b"data: {dataset: cityscapes}", expect=None)
    storage.write("artifacts/run/owner.json", b"{}", expect=None)
    return storage


@pytest.fixture(scope="module")
def learned(learned_checkpoint: Path) -> Detector:
    return load_detector(learned_checkpoint, device="cpu")


@pytest.fixture
def run(bucket: Storage) -> S3Uri:
    return uri_of(bucket) / RUN
