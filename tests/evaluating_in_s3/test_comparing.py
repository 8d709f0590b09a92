"""Runs in S3 are compared, tabulated and reproduced from as those on a disk are."""

import json
from pathlib import Path

from abet.data.index import open_dataset
from abet.detector import Detector
from abet.storage import Storage
from tests.conftest import Cli
from tests.evaluating_in_s3.common import done, put_tree
from tests.evaluations import evaluate


def test_a_run_in_s3_counts_as_one_on_a_disk(cli: Cli, bucket: Storage, learned: Detector, tmp_path: Path) -> None:
    data = open_dataset("road_anomaly", tmp_path / "ra")
    evaluate(learned, data, tmp_path / "run", scores=("abet", "msp"), samples=0, protocols=True)
    put_tree(bucket, tmp_path / "run", "far/abet")
    near, far = tmp_path / "run", f"{bucket.place}/far/abet"

    pair = ("--dataset", "road_anomaly", "--scores", "abet:msp", "--output")
    done(cli("compare", near, near, *pair, tmp_path / "near.json"))
    done(cli("compare", far, near, *pair, f"{bucket.place}/far.json"))
    wanted, found = json.loads((tmp_path / "near.json").read_text()), json.loads(bucket.read("far.json")[0])
    assert found["comparisons"] == wanted["comparisons"]
    assert (found["first"]["run"], found["second"]["run"]) == (far, str(near))

    done(cli("report", far, "--format", "md", "--output", f"{bucket.place}/table.md"))
    assert "| abet |" in bucket.read("table.md")[0].decode()

    # What is finished there is taken as it is; the site has no weights, which is no fault for a part
    done(cli("reproduce", "--output", f"{bucket.place}/far", "--partial", "--device", "cpu"))
    rows = json.loads(bucket.read("far/reproduction.json")[0])["figures"]
    ours = [row for row in rows if (row["dataset"], row["method"]) == ("road_anomaly", "AbeT")]
    assert {row["because"] for row in ours} == {"5 images were evaluated, the paper's set has 60"}
    metrics = json.loads((near / "evaluation/road_anomaly/metrics.json").read_text())
    assert ours[0]["exact"] == metrics["scores"]["abet"]["auroc"]["value"]
