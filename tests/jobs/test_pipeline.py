"""All jobs one after the other: what waits for what, and what each of them gets."""

from pathlib import Path

import pytest

from abet.errors import UsageError
from abet.site import SiteConfig
from jobs.catalogue import Request
from jobs.pipeline import pipeline
from tests.jobs.conftest import ROOT, option

PRETRAINED = Path("/weights/pretrained")


def test_the_report_of_a_pipeline_waits_for_the_second_pass(site: SiteConfig) -> None:
    request = Request(shards=2, components=True, snapshot=PRETRAINED)
    *_, report = pipeline("mapillary_pretrain", "cityscapes_finetune", request, site)
    assert report.after == ("components-lost-and-found", "components-road-anomaly")


def test_the_pipeline_waits_at_every_turn(site: SiteConfig) -> None:
    request = Request(run="night", snapshot=PRETRAINED, shards=4, secrets=("WANDB_API_KEY",))
    jobs = {spec.name: spec for spec in pipeline("mapillary_pretrain", "cityscapes_finetune", request, site)}
    assert {name: spec.after for name, spec in jobs.items()} == {
        "mapillary-pretrain": (),
        "cityscapes-finetune": ("mapillary-pretrain",),
        "eval-lost-and-found": ("cityscapes-finetune",),
        "merge-lost-and-found": ("eval-lost-and-found",),
        "eval-road-anomaly": ("cityscapes-finetune",),
        "merge-road-anomaly": ("eval-road-anomaly",),
        "report": ("merge-lost-and-found", "merge-road-anomaly"),
    }
    base = site.artifacts / "night"
    assert option(jobs["mapillary-pretrain"].command, "--snapshot") == str(PRETRAINED)
    # The fine-tuning starts from this pre-training, whatever is promoted
    assert option(jobs["cityscapes-finetune"].command, "--snapshot") == str(base / "pretrain")
    assert option(jobs["eval-road-anomaly"].command, "--checkpoint") == str(base / "finetune")
    assert jobs["report"].command[:2] == ("report", str(base / "finetune"))
    assert all(spec.secrets == ("WANDB_API_KEY",) for spec in jobs.values())
    assert all(len(spec.shards) == 4 for name, spec in jobs.items() if name.startswith("eval-"))


def test_a_pipeline_of_one_shard_waits_for_the_evaluations_themselves(site: SiteConfig) -> None:
    *_, report = pipeline("mapillary_pretrain", "cityscapes_finetune", Request(shards=1), site)
    assert report.after == ("eval-lost-and-found", "eval-road-anomaly")


def test_a_pipeline_of_demos_needs_no_gpu(site: SiteConfig) -> None:
    request = Request(nodes=2, processes=2, changes=("batch.batch_per_gpu=1",))
    jobs = pipeline("demo_pretrain", "demo_finetune", request, site)
    assert [spec.gpus_per_node for spec in jobs] == [0] * len(jobs)
    assert [(spec.nodes, spec.processes_per_node) for spec in jobs[:2]] == [(2, 2)] * 2
    assert {(spec.nodes, spec.processes_per_node) for spec in jobs[2:]} == {(1, 1)}


def test_two_recipes_of_one_name_are_refused(site: SiteConfig) -> None:
    with pytest.raises(UsageError, match="two different ones"):
        pipeline("demo_pretrain", "demo_pretrain", Request(), site)


def test_a_target_that_may_be_missed_is_said_to_both_trainings(site: SiteConfig) -> None:
    jobs = pipeline("demo_pretrain", "demo_finetune", Request(allow_below_target=True), site)
    assert ["--allow-below-target" in spec.command for spec in jobs[:3]] == [True, True, False]


def test_memory_cpus_and_time_of_a_pipeline_are_the_trainings(site: SiteConfig) -> None:
    request = Request(cpus=96, memory_gib=700, time_limit_minutes=2000)
    jobs = pipeline("mapillary_pretrain", "cityscapes_finetune", request, site)
    size = [(spec.cpus_per_node, spec.memory_gib, spec.time_limit_minutes) for spec in jobs]
    assert size[:2] == [(96, 700, 2000)] * 2
    plain = pipeline("mapillary_pretrain", "cityscapes_finetune", Request(), site)
    assert size[2:] == [(spec.cpus_per_node, spec.memory_gib, spec.time_limit_minutes) for spec in plain[2:]]


def test_demos_are_known_by_their_files_too(site: SiteConfig, tmp_path: Path) -> None:
    paths = []
    for name in ("demo_pretrain", "demo_finetune"):
        path = tmp_path / f"{name}_mine.yaml"
        path.write_text((ROOT / "abet" / "recipes" / f"{name}.yaml").read_text())
        paths.append(str(path))
    jobs = pipeline(paths[0], paths[1], Request(), site)
    assert [spec.gpus_per_node for spec in jobs] == [0] * len(jobs)
