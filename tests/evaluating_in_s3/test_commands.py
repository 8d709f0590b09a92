"""Commands of an evaluation with everything in S3 end in the same bytes as on a disk."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from abet import component_shards, merge
from abet.merge import merge_in
from abet.shard_set import missing_shards
from abet.site import load_site
from abet.storage import Storage
from tests.conftest import Cli
from tests.evaluating_in_s3.common import SET, done, figures, in_run, on_disk, put_tree, uri_of
from tests.s3_server import S3Server

EVALUATE = ("evaluate", "--dataset", "road_anomaly", "--device", "cpu", "--scores", "abet,msp")


@pytest.mark.faults
def test_shards_in_s3_in_any_order_give_the_bytes_of_one_local_pass(cli: Cli, bucket: Storage, tmp_path: Path) -> None:
    source = ("--checkpoint", f"{bucket.place}/weights/learned")
    local = ("--data-root", tmp_path / "ra", "--output", tmp_path / "local")
    done(cli(*EVALUATE, *source, *local))
    wanted = figures(on_disk(tmp_path / "local"))
    assert json.loads(on_disk(tmp_path / "local")(f"{SET}/metrics.json"))["checkpoint"]["uri"] == source[1]

    for shard in (3, 1, 4, 2):
        finished = done(cli(*EVALUATE, *source, "--shard", f"{shard}/4"))
        assert f"wrote {bucket.place}/artifacts/learned/{SET}/shard-{shard:03d}-of-004.npz" in finished.err
    done(cli("merge", f"{bucket.place}/artifacts/learned", "--dataset", "road_anomaly"))
    assert figures(in_run(bucket, "artifacts/learned")) == wanted

    done(cli(*EVALUATE, *source, "--output", f"{bucket.place}/elsewhere"))
    assert figures(in_run(bucket, "elsewhere")) == wanted
    names = {entry.name for entry in bucket.list("elsewhere/")}
    assert {name for name in names if "/samples/" not in name} == {
        "elsewhere/config.yaml",
        "elsewhere/run.json",
        *(f"elsewhere/{SET}/{name}" for name in ("evaluation.json", "metrics.json", "curves.json")),
        f"elsewhere/{SET}/shard-001-of-001.npz",
    }
    assert len(names) == 6 + 5
    assert [path.name for path in (tmp_path / "scratch").iterdir() if path.name.startswith("run-")] == []


def test_a_run_that_was_trained_in_s3_is_evaluated_into_itself_by_its_best_step(
    cli: Cli, bucket: Storage, tmp_path: Path
) -> None:
    run = f"{bucket.place}/artifacts/run"
    local = ("--data-root", tmp_path / "ra", "--samples", 0)
    done(cli(*EVALUATE, "--checkpoint", run, *local, "--shard", "1/2"))
    done(cli(*EVALUATE, "--checkpoint", f"{run}/checkpoints/step-00000010-g0001", *local, "--shard", "2/2"))
    site = load_site()
    assert missing_shards(uri_of(bucket) / "artifacts/run", "road_anomaly", 2, site) == []
    metrics = merge_in(uri_of(bucket) / "artifacts/run", "road_anomaly", site)
    assert metrics["checkpoint"]["uri"] == f"{run}/checkpoints/step-00000010-g0001"
    # Named, the checkpoint is compared with that of the shards
    done(cli("merge", run, "--dataset", "road_anomaly", "--checkpoint", run))
    other = cli("merge", run, "--dataset", "road_anomaly", "--checkpoint", f"{bucket.place}/weights/none")
    assert other.code == 2
    assert "and not the checkpoint that was asked for" in other.err
    assert bucket.read("artifacts/run/config.yaml")[0] == b"data: {dataset: cityscapes}"
    assert yaml.safe_load(bucket.read("artifacts/run/evaluation/config.yaml")[0])["checkpoint"] == metrics["checkpoint"]


@pytest.mark.faults
def test_a_report_of_runs_in_s3_can_lie_there_too(cli: Cli, bucket: Storage, tmp_path: Path) -> None:
    for name in ("learned", "none"):
        done(cli(*EVALUATE, "--checkpoint", f"{bucket.place}/weights/{name}", "--samples", 1))
    runs = [f"{bucket.place}/artifacts/{name}" for name in ("learned", "none")]
    done(cli("report", *runs, "--output", f"{bucket.place}/pages/report.html"))
    page = bucket.read("pages/report.html")[0].decode()
    assert "learned" in page
    assert "run-" not in page  # the name of a folder of this machine
    done(cli("report", *runs, "--matrix", tmp_path / "matrix.png", "--device", "cpu"))
    assert (tmp_path / "matrix.png").stat().st_size > 10_000


def test_the_promoted_checkpoint_in_s3_is_used_and_other_weights_there_are_refused(
    cli: Cli, bucket: Storage, tmp_path: Path
) -> None:
    done(cli("checkpoint", "promote", f"{bucket.place}/weights/learned"))
    arguments = (*EVALUATE, "--samples", 0, "--limit", 1)
    assert f"checkpoint: {bucket.place}/weights/learned (promotion 1" in done(cli(*arguments)).err
    put_tree(bucket, tmp_path / "step-2", "weights/learned")
    finished = cli(*arguments, "--output", tmp_path / "other")
    assert finished.code == 3
    assert f"abet checkpoint promote {bucket.place}/weights/learned" in finished.err


def test_controls_are_scored_into_s3_as_onto_a_disk(cli: Cli, bucket: Storage, tmp_path: Path) -> None:
    from tests.trees import make_cityscapes

    make_cityscapes(tmp_path / "c", count=2)
    known = ("--dataset", "road_anomaly", "--train-root", tmp_path / "c")
    done(cli("controls", *known, "--data-root", tmp_path / "ra", "--output", tmp_path / "local"))
    done(cli("controls", *known))
    assert figures(in_run(bucket, "artifacts/controls")) == figures(on_disk(tmp_path / "local"))
    refused = cli("controls", *known, "--output", f"{bucket.place}/artifacts/run")
    assert refused.code == 2
    assert f"{bucket.place}/artifacts/run is the run of a network" in refused.err


def test_a_run_in_s3_is_validated_by_its_best_step_and_without_a_name_the_promoted_one_is(
    cli: Cli, bucket: Storage, tmp_path: Path
) -> None:
    from tests.trees import make_cityscapes

    make_cityscapes(tmp_path / "c", count=2, split="val")
    put_tree(bucket, tmp_path / "c", "sets/cityscapes")
    data = ("--dataset", "cityscapes", "--data-root", f"{bucket.place}/sets/cityscapes", "--device", "cpu")
    output, step = tmp_path / "figures.json", f"{bucket.place}/artifacts/run/checkpoints/step-00000010-g0001"
    for given in (f"{bucket.place}/artifacts/run", step):
        done(cli("validate", given, *data, "--output", output))
        assert json.loads(output.read_text())["checkpoint"]["uri"] == step
    done(cli("checkpoint", "promote", f"{bucket.place}/weights/learned"))
    assert f"checkpoint: {bucket.place}/weights/learned (promotion 1" in done(cli("validate", *data)).err
    put_tree(bucket, tmp_path / "step-2", "weights/learned")
    refused = cli("validate", *data)
    assert refused.code == 3
    assert f"abet checkpoint promote {bucket.place}/weights/learned" in refused.err


def test_what_cannot_be_written_is_refused_before_any_work(
    cli: Cli, s3: S3Server, bucket: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = ("--checkpoint", f"{bucket.place}/weights/learned")
    finished = cli(*EVALUATE, *source, "--output", "s3://no-such-bucket/run")
    assert finished.code == 2
    assert "there is no bucket 'no-such-bucket'" in finished.err
    for name, value in s3.readonly_env.items():
        monkeypatch.setenv(name, value)
    for arguments in ((*EVALUATE, *source), ("merge", f"{bucket.place}/artifacts/run", "--dataset", "road_anomaly")):
        finished = cli(*arguments)
        assert finished.code == 2
        assert "s3:PutObject" in finished.err
        assert "loaded" not in finished.err
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("predict", "--input", "s3://models/a", "--output", "out"), "--input"),
        (("predict", "--input", "a.png", "--output", "s3://models/out"), "--output"),
        (
            ("predict", "--input", "a.png", "--output", "out", "--threshold-from", "s3://models/m.json"),
            "--threshold-from",
        ),
        (("report", "run", "--matrix", "s3://models/m.png"), "--matrix"),
    ],
)
def test_where_s3_makes_no_sense_it_is_refused_with_a_way_out(
    cli: Cli, arguments: tuple[str, ...], option: str
) -> None:
    finished = cli(*arguments)
    assert finished.code == 2
    assert f"{option} s3://models/" in finished.err
    assert "abet sync" in finished.err


def test_an_evaluation_without_protocols_leaves_no_table_of_images_of_the_one_before(
    cli: Cli, bucket: Storage, tmp_path: Path
) -> None:
    few = ("--data-root", tmp_path / "ra", "--samples", 0)
    usual = (*EVALUATE[:-1], "msp", "--checkpoint", f"{bucket.place}/weights/learned", *few)
    done(cli(*usual, "--protocols", "--limit", 2))
    below = f"artifacts/learned/{SET}/"
    assert f"{below}images.json" in {entry.name for entry in bucket.list(below)}
    bucket.delete([f"{below}shard-001-of-001.npz", f"{below}evaluation.json"])
    done(cli(*usual, "--limit", 1))
    names = {entry.name.removeprefix(below) for entry in bucket.list(below)}
    assert names == {"curves.json", "evaluation.json", "metrics.json", "shard-001-of-001.npz"}


@pytest.mark.parametrize("last", ["the merge", "the second pass"])
def test_a_merge_and_the_last_shard_of_components_lose_nothing_of_each_other(
    cli: Cli, bucket: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """Each has looked at the run when the other publishes."""
    few = ("--data-root", tmp_path / "ra", "--limit", 2)
    usual = (*EVALUATE[:-1], "msp", "--checkpoint", f"{bucket.place}/weights/learned", *few, "--samples", 0)
    done(cli(*usual, "--output", tmp_path / "local", "--components"))
    done(cli(*usual, "--protocols"))
    run, name = f"{bucket.place}/artifacts/learned", f"artifacts/learned/{SET}/metrics.json"
    first, second = (
        ("components", run, "--dataset", "road_anomaly", *few, "--shard", f"{shard}/2") for shard in (1, 2)
    )
    done(cli(*first))
    add = ("merge", run, "--dataset", "road_anomaly")
    if last == "the second pass":  # and what it has looked at is old
        bucket.write(name, bucket.read(name)[0].replace(b'"void": ', b'"void": 1'), expect=None)
    module, function, late, early = (
        (merge, "merge", add, second) if last == "the merge" else (component_shards, "add_components", second, add)
    )
    compute = getattr(module, function)

    def meanwhile(*arguments: Any, **more: Any) -> Any:
        found = compute(*arguments, **more)
        monkeypatch.setattr(module, function, compute)
        done(cli(*early))
        return found

    monkeypatch.setattr(module, function, meanwhile)
    done(cli(*late))
    assert getattr(module, function) is compute
    assert figures(in_run(bucket, "artifacts/learned")) == figures(on_disk(tmp_path / "local"))


def test_components_are_counted_in_s3_as_on_a_disk(cli: Cli, bucket: Storage, tmp_path: Path) -> None:
    few = ("--data-root", tmp_path / "ra", "--limit", 2)
    usual = (*EVALUATE[:-1], "msp", "--checkpoint", f"{bucket.place}/weights/learned", *few, "--samples", 0)
    done(cli(*usual, "--output", tmp_path / "local", "--components"))
    done(cli(*usual, "--protocols"))
    run = f"{bucket.place}/artifacts/learned"
    for shard in (2, 1):
        finished = done(cli("components", run, "--dataset", "road_anomaly", *few, "--shard", f"{shard}/2"))
        assert f"wrote {run}/{SET}/components-{shard:03d}-of-002.npz" in finished.err
    wanted = figures(on_disk(tmp_path / "local"))
    assert figures(in_run(bucket, "artifacts/learned")) == wanted
    done(cli("merge", run, "--dataset", "road_anomaly"))
    assert figures(in_run(bucket, "artifacts/learned")) == wanted
