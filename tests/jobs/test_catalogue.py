"""The jobs that train: what each one runs and asks for, and what is refused before it waits in a queue."""

from pathlib import Path

import pytest

from abet.errors import UsageError
from abet.places import S3Uri
from abet.site import FROM_NOTHING, TRUNK_FILE, SiteConfig
from jobs import catalogue
from jobs.catalogue import Request
from tests.jobs.conftest import HOSTILE, option, promoted

PRETRAINED = Path("/weights/pretrained")


def test_pretraining_takes_a_node_of_eight_gpus(site: SiteConfig) -> None:
    spec = catalogue.training("mapillary_pretrain", Request(), site)
    assert spec.name == "mapillary-pretrain"
    output, trunk = str(site.artifacts / "mapillary_pretrain"), str(site.weights / TRUNK_FILE)
    assert spec.command == ("train", "mapillary_pretrain", "--output", output, "--snapshot", trunk)
    assert (spec.nodes, spec.gpus_per_node, spec.processes_per_node) == (1, 8, 8)
    assert (spec.cpus_per_node, spec.memory_gib, spec.time_limit_minutes) == (64, 480, 24 * 60)
    assert spec.artifacts == str(site.artifacts / "mapillary_pretrain")


@pytest.mark.parametrize("recipe", ["mapillary_pretrain_one_gpu", "cityscapes_finetune_one_gpu"])
def test_a_recipe_for_one_gpu_asks_for_one(site: SiteConfig, recipe: str) -> None:
    spec = catalogue.training(recipe, Request(snapshot=FROM_NOTHING), site)
    assert (spec.gpus_per_node, spec.processes_per_node, spec.memory_gib) == (1, 1, 60)


def test_a_demo_takes_a_process_on_the_cpu(site: SiteConfig) -> None:
    spec = catalogue.training("demo_pretrain", Request(), site)
    assert (spec.gpus_per_node, spec.processes_per_node, spec.cpus_per_node) == (0, 1, 2)


def test_what_was_asked_for_counts(site: SiteConfig) -> None:
    request = Request(
        name="mine", nodes=2, gpus=4, cpus=12, memory_gib=100, time_limit_minutes=30, retries=0, grace_seconds=45,
        run="first/try", data_root=Path("/other data"), snapshot=S3Uri("weights", "trunk"),
        changes=("training.steps=10",), allow_below_target=True, secrets=("WANDB_API_KEY",), options=("--verbose",),
    )  # fmt: skip
    spec = catalogue.training("mapillary_pretrain", request, site)
    assert spec.command == (
        *("train", "mapillary_pretrain", "--output", str(site.artifacts / "first/try")),
        *("--data-root", "/other data", "--snapshot", "s3://weights/trunk", "--set", "training.steps=10"),
        *("--allow-below-target", "--verbose"),
    )
    assert (spec.name, spec.nodes, spec.gpus_per_node, spec.cpus_per_node, spec.memory_gib) == ("mine", 2, 4, 12, 100)
    assert (spec.time_limit_minutes, spec.retries, spec.grace_seconds) == (30, 0, 45)
    assert spec.secrets == ("WANDB_API_KEY",)


def test_paths_stand_in_the_command_as_they_are(site: SiteConfig) -> None:
    request = Request(run=HOSTILE, data_root=Path("/") / HOSTILE, snapshot=Path("/") / HOSTILE)
    command = catalogue.training("mapillary_pretrain", request, site).command
    assert option(command, "--output") == str(site.artifacts / HOSTILE)
    assert option(command, "--data-root") == option(command, "--snapshot") == f"/{HOSTILE}"


@pytest.mark.parametrize("run", ["/etc", "..", "a/../b", "a//b", "a/", "./a", "a\nb"])
def test_a_run_lies_below_the_artifacts(site: SiteConfig, run: str) -> None:
    for artifacts in (site.artifacts, S3Uri("bucket", "abet")):
        with pytest.raises(UsageError, match="--output takes any place") as error:
            catalogue.training("mapillary_pretrain", Request(run=run), site.model_copy(update={"artifacts": artifacts}))
        assert repr(run) in str(error.value)


@pytest.mark.parametrize(("size", "processes"), [({"gpus": 3}, 3), ({"nodes": 3}, 24), ({"gpus": 5, "nodes": 2}, 10)])
def test_gpus_that_do_not_divide_the_batch_are_refused_with_what_works(
    site: SiteConfig, size: dict[str, int], processes: int
) -> None:
    with pytest.raises(UsageError) as error:
        catalogue.training("mapillary_pretrain", Request(**size), site)
    assert f"x {processes} processes" in str(error.value)
    assert "works on 1, 2, 4, 8" in str(error.value)


def test_a_data_set_that_nobody_placed_is_refused_with_the_remedy(site: SiteConfig) -> None:
    with pytest.raises(UsageError, match="give --data-root DIR"):
        catalogue.training("mapillary_pretrain", Request(), site.model_copy(update={"data": {}}))


@pytest.mark.parametrize(("recipe", "nearest"), [("mapillary", "mapillary_pretrain"), ("nowhere.yaml", "no such file")])
def test_an_unknown_recipe_names_the_nearest(site: SiteConfig, recipe: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=nearest):
        catalogue.training(recipe, Request(), site)


# --- fine-tuning starts from a pre-training


def test_finetuning_starts_from_the_newest_promoted_pretraining(site: SiteConfig) -> None:
    promoted(site, 65, "old")
    newest = promoted(site, 65, "new")
    promoted(site, 19, "a detector")
    assert option(catalogue.training("cityscapes_finetune", Request(), site).command, "--snapshot") == str(newest)


def test_finetuning_from_nothing_must_be_meant(site: SiteConfig) -> None:
    promoted(site, 19)
    with pytest.raises(UsageError) as error:
        catalogue.training("cityscapes_finetune", Request(), site)
    assert "no pre-trained checkpoint" in str(error.value)
    assert "SNAPSHOT=" in str(error.value)
    assert "abet checkpoint promote" in str(error.value)
    drawn = catalogue.training("cityscapes_finetune", Request(snapshot=FROM_NOTHING), site).command
    assert drawn[-2:] == ("--snapshot", "none")
    named = catalogue.training("cityscapes_finetune", Request(snapshot=PRETRAINED), site)
    assert option(named.command, "--snapshot") == str(PRETRAINED)


def test_pretraining_starts_from_the_trunk_and_a_missing_one_is_missed_at_submission(site: SiteConfig) -> None:
    promoted(site, 65)
    (site.weights / TRUNK_FILE).unlink()
    with pytest.raises(
        UsageError, match=rf"{TRUNK_FILE} is not there: download it .docs/weights\.md.*--snapshot PLACE"
    ):
        catalogue.training("mapillary_pretrain", Request(), site)
    with pytest.raises(UsageError, match=r"resnet50 trunk .* no file of it is known by name"):
        catalogue.training("mapillary_pretrain", Request(changes=("model.trunk.kind=resnet50",)), site)
    drawn = catalogue.training("mapillary_pretrain", Request(snapshot=FROM_NOTHING), site)
    assert drawn.command[-2:] == ("--snapshot", "none")


def test_the_demo_s_pretraining_starts_from_nothing(site: SiteConfig) -> None:
    promoted(site, 65)
    assert "--snapshot" not in catalogue.training("demo_pretrain", Request(), site).command


def test_a_short_training_has_a_grace_that_fits(site: SiteConfig) -> None:
    assert catalogue.training("mapillary_pretrain", Request(time_limit_minutes=5), site).grace_seconds == 150
    assert catalogue.training("mapillary_pretrain", Request(), site).grace_seconds == 300
    with pytest.raises(UsageError, match="lower --grace-seconds"):
        catalogue.training("mapillary_pretrain", Request(time_limit_minutes=5, grace_seconds=300), site)
