"""What is fitted for a checkpoint in S3 is kept there with it."""

import json
from pathlib import Path

from abet import companions
from abet.detector import load_detector
from abet.scores.fitted import NAME
from abet.storage import Storage
from tests.conftest import Cli
from tests.evaluating_in_s3.common import SET, done, on_disk, uri_of
from tests.fits import fitted_content, training_images
from tests.s3_server import S3Server


def test_a_fit_is_kept_with_a_checkpoint_in_s3(cli: Cli, s3: S3Server, bucket: Storage, tmp_path: Path) -> None:
    training = training_images(tmp_path / "cityscapes", count=2)
    weights = uri_of(bucket) / "weights/learned"
    source = ("--checkpoint", weights, "--device", "cpu")
    data = ("--dataset", "cityscapes", "--data-root", training.root)
    finished = done(cli("fit", *source, *data, "--bank", 190, "--neighbours", 3))
    assert f"wrote {weights}/{NAME}" in finished.err
    content = companions.read(weights, NAME, s3.settings)
    assert content == fitted_content(load_detector(tmp_path / "step-1", device="cpu"), training)
    place = ("--data-root", tmp_path / "ra", "--output", tmp_path / "run", "--limit", 2)
    done(cli("evaluate", *source, "--dataset", "road_anomaly", *place, "--scores", "knn"))
    figures = json.loads(on_disk(tmp_path / "run")(f"{SET}/metrics.json"))
    assert figures["scores"]["knn"]["auroc"]["value"] is not None
