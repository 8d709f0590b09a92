"""From submission to merged metrics: the pipeline on SLURM, all of it in S3, against one process on this machine."""

import json
import os
import signal

import pytest

from abet.metrics.components import PROTOCOL
from jobs.records import Record
from tests.cluster.job_site import JobSite, processes
from tests.slurm_cluster import until

pytestmark = pytest.mark.cluster

TRAINING = ("--nodes", 2, "--processes", 2, "--gpus", 0)
FEW = {
    "training.steps": 6,
    "training.validate_every_steps": 6,
    "training.checkpoint_every_steps": 3,
    "batch.batch_per_gpu": 1,
    "batch.global_batch": 4,
    "data.workers_per_process": 0,
}
"""What makes minutes of the demo recipes."""
CHANGES = tuple(word for key, value in FEW.items() for word in ("--set", f"{key}={value}"))
ONE_PROCESS = ("--set", "batch.batch_per_gpu=4")
SHARDS = 4


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Small synthetic scenes in the trees of all four data sets."""
    from abet.data.synthetic.synthesize import Plan, parse_scenes, synthesize

    root = tmp_path_factory.mktemp("scenes")
    plan = Plan(scenes=parse_scenes(["8", "cityscapes/train=40"]), seed=0, height=64, width=128, variety="calm")
    synthesize(root, plan, workers=1)
    return {name: str(root / name) for name in ("mapillary", "cityscapes", "road_anomaly", "lost_and_found")}


def names(records: list[Record]) -> dict[str, Record]:
    return {record.job.spec.name: record for record in records}


def test_the_pipeline_ends_in_the_metrics_of_an_unsharded_local_evaluation(
    job_site: JobSite, scenes: dict[str, str]
) -> None:
    site = job_site.write(scenes)
    submitted = names(
        site.submit(
            "pipeline", "--pretrain", "demo_pretrain", "--finetune", "demo_finetune", "--snapshot", "none",
            "--shards", SHARDS, "--run", "story", *TRAINING, *CHANGES,
        )
    )  # fmt: skip
    assert list(submitted) == [
        *("demo-pretrain", "demo-finetune", "eval-lost-and-found", "merge-lost-and-found"),
        *("eval-road-anomaly", "merge-road-anomaly", "report"),
    ]
    for record in submitted.values():
        status = site.wait_end(record, seconds=400)
        assert status.state == "done", f"{status}\n{site.log(record)}"
    for dataset in ("road_anomaly", "lost_and_found"):
        merged = site.read(f"story/finetune/evaluation/{dataset}/metrics.json")
        site.run(
            "-m", "abet", "evaluate", "--dataset", dataset, "--checkpoint", f"{site.artifacts}/story/finetune",
            "--output", site.folder / "alone", "--device", "cpu", "--threads", 2,
        )  # fmt: skip
        assert merged == (site.folder / "alone" / "evaluation" / dataset / "metrics.json").read_bytes()
    page = site.read("story/finetune/report.html")
    assert page is not None
    assert b"road_anomaly" in page


def test_a_run_below_its_target_stops_the_pipeline_there(job_site: JobSite, scenes: dict[str, str]) -> None:
    site = job_site.write(scenes)
    submitted = names(
        site.submit(
            "pipeline", "--pretrain", "demo_pretrain", "--finetune", "demo_finetune", "--snapshot", "none",
            "--shards", 1, "--gpus", 0, *CHANGES, *ONE_PROCESS, "--set", "training.target_miou=0.99",
        )
    )  # fmt: skip
    first = submitted.pop("demo-pretrain")
    status = site.wait_end(first)
    assert status.state == "below target", site.log(first)
    assert "0.99" in status.detail
    assert "--allow-below-target" in status.detail
    for record in submitted.values():
        assert site.wait_end(record, seconds=60).state == "cancelled"
    # Allowed, the same run is accepted as it is
    (again,) = site.submit(
        "demo_pretrain", "--output", f"{site.artifacts}/pipeline/pretrain", "--snapshot", "none", "--gpus", 0,
        *CHANGES, *ONE_PROCESS, "--set", "training.target_miou=0.99", "--allow-below-target",
    )  # fmt: skip
    assert site.wait_end(again).state == "done", site.log(again)


def test_a_killed_shard_is_evaluated_again_and_missing_ones_alone(job_site: JobSite, scenes: dict[str, str]) -> None:
    from abet.checkpoint import save
    from tests.conftest import random_weights

    save(random_weights("learned"), job_site.folder / "weights")
    site = job_site.write(scenes)
    run = f"{site.artifacts}/eval"
    words = (
        "evaluate", "--dataset", "road_anomaly", "--checkpoint", site.folder / "weights", "--output", run,
        "--shards", SHARDS, "--gpus", 0, "--option=--device", "--option=cpu", "--option=--threads", "--option=1",
    )  # fmt: skip
    array, merge = site.submit(*words)
    number = str(array.job.number)
    victim: dict[str, int] = {}

    def evaluating() -> bool:
        for pid, environment, arguments in processes(number):
            if environment.get("SLURM_ARRAY_TASK_ID") == "2" and "evaluate" in arguments and "-m" in arguments:
                victim["pid"] = pid
        return bool(victim)

    until(evaluating, "shard 3 is evaluated", seconds=120)
    os.kill(victim["pid"], signal.SIGKILL)
    assert site.wait_end(array).state == "done", site.log(array)
    assert [start.cause for start in site.attempts(array, shard=3)] == ["failed", "done"]
    assert site.wait_end(merge).state == "done", site.log(merge)
    metrics = site.read("eval/evaluation/road_anomaly/metrics.json")
    assert metrics is not None
    assert json.loads(metrics)["images"] == 8
    # Submitted again with two shards gone: those alone, and the same bytes
    storage = site.storage("eval")
    storage.delete([f"evaluation/road_anomaly/shard-{shard:03d}-of-{SHARDS:03d}.npz" for shard in (2, 4)])
    array, merge = site.submit(*words)
    assert array.job.spec.shards == (2, 4)
    assert site.wait_end(merge).state == "done", site.log(merge)
    assert site.read("eval/evaluation/road_anomaly/metrics.json") == metrics


def test_a_fit_lies_with_a_checkpoint_in_s3_and_both_passes_of_an_evaluation_use_it(
    job_site: JobSite, scenes: dict[str, str]
) -> None:
    from abet.checkpoint import save
    from tests.conftest import random_weights

    save(random_weights("learned"), job_site.folder / "weights")
    site = job_site.write(scenes)
    checkpoint = f"{site.artifacts}/weights"
    site.run("-m", "abet", "sync", site.folder / "weights", checkpoint)
    cpu = ("--gpus", 0, "--option=--device", "--option=cpu", "--option=--threads", "--option=1")
    (fit,) = site.submit("fit", "--checkpoint", checkpoint, *cpu, "--option=--limit", "--option=4")
    assert site.wait_end(fit).state == "done", site.log(fit)
    passes = site.submit(
        "evaluate", "--dataset", "road_anomaly", "--checkpoint", checkpoint, "--output", f"{site.artifacts}/eval",
        "--shards", 2, "--components", *cpu, "--option=--scores", "--option=abet,mahalanobis",
    )  # fmt: skip
    assert list(names(passes)) == ["eval-road-anomaly", "merge-road-anomaly", "components-road-anomaly"]
    for record in passes:
        assert site.wait_end(record).state == "done", site.log(record)
    metrics = json.loads(site.read("eval/evaluation/road_anomaly/metrics.json") or b"{}")
    counted = {key for key, entry in metrics["scores"].items() if PROTOCOL in entry["protocols"]}
    assert counted == {"abet", "mahalanobis"}
