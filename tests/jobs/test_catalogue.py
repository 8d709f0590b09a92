"""The jobs that exist: what each one runs, asks for and waits for, and what is refused before it waits in a queue."""

from pathlib import Path
from typing import Any

import pytest

from abet.errors import UsageError
from abet.places import S3Uri
from abet.promote import Candidate, promote
from abet.site import FROM_NOTHING, TRUNK_FILE, SiteConfig, find_site_file
from jobs import catalogue
from jobs.catalogue import Request
from jobs.spec import JobSpec
from tests.jobs.conftest import HOSTILE, ROOT

PRETRAINED = Path("/weights/pretrained")


def promoted(site: SiteConfig, num_classes: int, name: str = "run") -> Path:
    checkpoint = Path(f"/somewhere/{name}")
    candidate = Candidate(checkpoint=checkpoint, sha256="0" * 64, num_classes=num_classes, head="learned", dataset=None)
    promote(candidate, site.artifacts, site.s3)
    return checkpoint


def option(command: tuple[str, ...], name: str) -> str | None:
    return command[command.index(name) + 1] if name in command else None


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


# --- evaluation


def evaluated(site: SiteConfig, shards: int, missing: range | list[int], **values: Any) -> list[Any]:
    request = Request(checkpoint=Path("/run"), shards=shards, **values)
    return catalogue.evaluation("road_anomaly", request, site, run=Path("/run"), missing=missing)


def test_an_evaluation_is_an_array_and_a_merge_that_waits(site: SiteConfig) -> None:
    array, merge = evaluated(site, 8, range(1, 9))
    assert (array.name, array.shards, array.gpus_per_node) == ("eval-road-anomaly", tuple(range(1, 9)), 1)
    assert array.for_shard(3) == (
        *("evaluate", "--dataset", "road_anomaly", "--checkpoint", "/run", "--output", "/run", "--shard", "3/8"),
    )
    assert (merge.name, merge.after, merge.gpus_per_node) == ("merge-road-anomaly", (array.name,), 0)
    assert merge.command == ("merge", "/run", "--dataset", "road_anomaly", "--checkpoint", "/run")


def test_only_missing_shards_run_again(site: SiteConfig) -> None:
    array, merge = evaluated(site, 8, [3, 7])
    assert array.shards == (3, 7)
    assert merge.after == (array.name,)
    (only,) = evaluated(site, 8, [])
    assert (only.kind, only.after) == ("merge", ())


def test_one_shard_merges_by_itself(site: SiteConfig) -> None:
    (only,) = evaluated(site, 1, [1], gpus=0, data_root=Path("/d"), options=("--workers", "2"))
    assert (only.shards, only.gpus_per_node, only.cpus_per_node) == ((), 0, 2)
    assert only.command[-4:] == ("--data-root", "/d", "--workers", "2")


def test_options_of_an_array_stand_there_once(site: SiteConfig) -> None:
    array, _ = evaluated(site, 2, [1, 2], options=("--workers", "2"))
    assert array.command.count("--workers") == 1


@pytest.mark.parametrize("name", ["road-anomaly", "cityscapes"])
def test_an_unknown_data_set_is_refused(site: SiteConfig, name: str) -> None:
    with pytest.raises(UsageError, match="The choices are: lost_and_found, road_anomaly"):
        catalogue.evaluation(name, Request(checkpoint=Path("/run")), site, run=Path("/run"), missing=[1])


def test_what_is_evaluated_by_default(site: SiteConfig) -> None:
    with pytest.raises(UsageError, match="CHECKPOINT="):
        catalogue.default_checkpoint(site)
    promoted(site, 65, "pretraining")
    newest = promoted(site, 19, "detector")
    assert catalogue.default_checkpoint(site) == newest
    assert catalogue.default_checkpoint(site.model_copy(update={"checkpoint": Path("/mine")})) == Path("/mine")


# --- its second pass


def second_pass(site: SiteConfig, shards: int, **values: Any) -> list[JobSpec]:
    every = range(1, shards + 1)
    request = Request(checkpoint=Path("/run"), shards=shards, components=True, **values)
    missing = {"missing": every, "lacking": every}
    return catalogue.evaluation("road_anomaly", request, site, run=Path("/run"), **missing)


def test_the_second_pass_waits_for_the_thresholds_that_the_merge_finds(site: SiteConfig) -> None:
    first, merge, second = second_pass(site, 8)
    assert first.for_shard(3)[-3:] == ("--protocols", "--shard", "3/8")
    assert (second.name, second.after) == ("components-road-anomaly", (merge.name,))
    assert second.for_shard(3) == (
        *("components", "/run", "--dataset", "road_anomaly", "--checkpoint", "/run", "--shard", "3/8"),
    )
    alike = ("shards", "gpus_per_node", "cpus_per_node", "memory_gib", "time_limit_minutes", "mounts", "artifacts")
    assert {name: getattr(first, name) for name in alike} == {name: getattr(second, name) for name in alike}


def test_the_second_pass_gets_those_options_that_it_has_too(site: SiteConfig) -> None:
    given = ("--samples", "3", "--limit", "4", "--threads=2", "--split", "test", "--device", "cpu", "--images", "@a b")
    first, _, second = second_pass(site, 2, options=given, data_root=Path("/d"), name="mine")
    assert first.command[-len(given) :] == given
    assert (first.name, second.name) == ("mine", "components-road-anomaly")
    kept = ("--limit", "4", "--threads=2", "--device", "cpu", "--images", "@a b")
    assert second.for_shard(2)[-11:] == ("--data-root", "/d", "--shard", "2/2", *kept)


def test_shards_of_the_second_pass_that_are_there_are_kept(site: SiteConfig) -> None:
    request = Request(checkpoint=Path("/run"), shards=4, components=True)
    kinds = {}
    for missing, lacking in (([1], [2, 3]), ([1], []), ([], [2, 3]), ([], [])):
        made = catalogue.evaluation("road_anomaly", request, site, run=Path("/run"), missing=missing, lacking=lacking)
        kinds[tuple(missing), tuple(lacking)] = [(spec.kind, spec.shards) for spec in made]
    assert kinds == {
        ((1,), (2, 3)): [("evaluate", (1,)), ("merge", ()), ("components", (2, 3))],
        ((1,), ()): [("evaluate", (1,)), ("merge", ())],
        ((), (2, 3)): [("merge", ()), ("components", (2, 3))],
        ((), ()): [("merge", ())],
    }


def test_one_shard_makes_both_passes_by_itself(site: SiteConfig) -> None:
    (only,) = second_pass(site, 1)
    assert (only.kind, only.command[-1], only.shards) == ("evaluate", "--components", ())


def test_the_second_pass_alone(site: SiteConfig) -> None:
    request = Request(checkpoint=Path("/c"), shards=4, name="mine", options=("--track", "obstacle-track"))
    (array,) = catalogue.components("road_anomaly", request, site, run=Path("/run"), missing=[2, 4])
    assert (array.name, array.shards, array.after) == ("mine", (2, 4), ())
    assert array.for_shard(4)[-4:] == ("--shard", "4/4", "--track", "obstacle-track")
    (merge,) = catalogue.components("road_anomaly", request, site, run=Path("/run"), missing=[])
    assert merge.command == ("merge", "/run", "--dataset", "road_anomaly", "--checkpoint", "/c")
    with pytest.raises(UsageError, match="The choices are: lost_and_found, road_anomaly"):
        catalogue.components("cityscapes", request, site, run=Path("/run"), missing=[1])


# --- what is kept with a checkpoint


def test_a_fit_and_a_calibration_are_jobs_of_one_gpu(site: SiteConfig) -> None:
    request = Request(checkpoint=Path("/run"), shards=8, data_root=Path("/d"), options=("--limit", "2"))
    fit, calibrate = catalogue.fit("cityscapes", request, site), catalogue.calibration("road_anomaly", request, site)
    tail = ("--checkpoint", "/run", "--data-root", "/d", "--limit", "2")
    assert (fit.name, fit.command) == ("fit-cityscapes", ("fit", "--dataset", "cityscapes", *tail))
    assert (calibrate.name, calibrate.command) == (
        *("calibrate-road-anomaly", ("calibrate", "--dataset", "road_anomaly", *tail)),
    )
    (evaluate,) = evaluated(site, 1, [1])
    alike = ("shards", "nodes", "gpus_per_node", "cpus_per_node", "memory_gib", "time_limit_minutes", "retries")
    for spec in (fit, calibrate):
        assert {name: getattr(spec, name) for name in alike} == {name: getattr(evaluate, name) for name in alike}
        assert spec.artifacts == "/run"


def test_what_is_fitted_by_default(site: SiteConfig) -> None:
    detector, pretraining = promoted(site, 19, "detector"), promoted(site, 65, "pretraining")
    assert option(catalogue.fit("cityscapes", Request(), site).command, "--checkpoint") == str(detector)
    assert option(catalogue.fit("mapillary", Request(), site).command, "--checkpoint") == str(pretraining)
    assert option(catalogue.calibration("road_anomaly", Request(), site).command, "--checkpoint") == str(detector)


def test_a_fit_is_of_a_training_set_and_a_calibration_of_an_ood_set(site: SiteConfig) -> None:
    request = Request(checkpoint=Path("/run"))
    with pytest.raises(UsageError, match="The choices are: cityscapes, mapillary"):
        catalogue.fit("road_anomaly", request, site)
    with pytest.raises(UsageError, match="The choices are: lost_and_found, road_anomaly"):
        catalogue.calibration("cityscapes", request, site)


# --- the pipeline


def test_the_report_of_a_pipeline_waits_for_the_second_pass(site: SiteConfig) -> None:
    request = Request(shards=2, components=True, snapshot=PRETRAINED)
    *_, report = catalogue.pipeline("mapillary_pretrain", "cityscapes_finetune", request, site)
    assert report.after == ("components-lost-and-found", "components-road-anomaly")


def test_the_pipeline_waits_at_every_turn(site: SiteConfig) -> None:
    request = Request(run="night", snapshot=PRETRAINED, shards=4, secrets=("WANDB_API_KEY",))
    jobs = {spec.name: spec for spec in catalogue.pipeline("mapillary_pretrain", "cityscapes_finetune", request, site)}
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
    *_, report = catalogue.pipeline("mapillary_pretrain", "cityscapes_finetune", Request(shards=1), site)
    assert report.after == ("eval-lost-and-found", "eval-road-anomaly")


def test_a_pipeline_of_demos_needs_no_gpu(site: SiteConfig) -> None:
    request = Request(nodes=2, processes=2, changes=("batch.batch_per_gpu=1",))
    jobs = catalogue.pipeline("demo_pretrain", "demo_finetune", request, site)
    assert [spec.gpus_per_node for spec in jobs] == [0] * len(jobs)
    assert [(spec.nodes, spec.processes_per_node) for spec in jobs[:2]] == [(2, 2)] * 2
    assert {(spec.nodes, spec.processes_per_node) for spec in jobs[2:]} == {(1, 1)}


def test_two_recipes_of_one_name_are_refused(site: SiteConfig) -> None:
    with pytest.raises(UsageError, match="two different ones"):
        catalogue.pipeline("demo_pretrain", "demo_pretrain", Request(), site)


def test_a_target_that_may_be_missed_is_said_to_both_trainings(site: SiteConfig) -> None:
    jobs = catalogue.pipeline("demo_pretrain", "demo_finetune", Request(allow_below_target=True), site)
    assert ["--allow-below-target" in spec.command for spec in jobs[:3]] == [True, True, False]


def test_memory_cpus_and_time_of_a_pipeline_are_the_trainings(site: SiteConfig) -> None:
    request = Request(cpus=96, memory_gib=700, time_limit_minutes=2000)
    jobs = catalogue.pipeline("mapillary_pretrain", "cityscapes_finetune", request, site)
    size = [(spec.cpus_per_node, spec.memory_gib, spec.time_limit_minutes) for spec in jobs]
    assert size[:2] == [(96, 700, 2000)] * 2
    plain = catalogue.pipeline("mapillary_pretrain", "cityscapes_finetune", Request(), site)
    assert size[2:] == [(spec.cpus_per_node, spec.memory_gib, spec.time_limit_minutes) for spec in plain[2:]]


def test_demos_are_known_by_their_files_too(site: SiteConfig, tmp_path: Path) -> None:
    paths = []
    for name in ("demo_pretrain", "demo_finetune"):
        path = tmp_path / f"{name}_mine.yaml"
        path.write_text((ROOT / "abet" / "recipes" / f"{name}.yaml").read_text())
        paths.append(str(path))
    jobs = catalogue.pipeline(paths[0], paths[1], Request(), site)
    assert [spec.gpus_per_node for spec in jobs] == [0] * len(jobs)


def test_a_short_training_has_a_grace_that_fits(site: SiteConfig) -> None:
    assert catalogue.training("mapillary_pretrain", Request(time_limit_minutes=5), site).grace_seconds == 150
    assert catalogue.training("mapillary_pretrain", Request(), site).grace_seconds == 300
    with pytest.raises(UsageError, match="lower --grace-seconds"):
        catalogue.training("mapillary_pretrain", Request(time_limit_minutes=5, grace_seconds=300), site)


# --- what a container must see


def seen(spec: JobSpec) -> dict[str, str]:
    """Folder -> how a job sees it."""
    return {mount.source: "reads" if mount.read_only else "makes" if mount.made else "writes" for mount in spec.mounts}


@pytest.fixture
def common(site: SiteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What every job of the site sees."""
    monkeypatch.setenv("ABET_SCRATCH", str(tmp_path / "scratch"))
    here = find_site_file()
    assert here is not None
    made = dict.fromkeys([str(site.artifacts), str(site.jobs), str(tmp_path / "scratch")], "makes")
    return {**made, str(here.parent): "writes"}


def test_a_training_sees_its_data_and_what_it_writes(site: SiteConfig, common: dict[str, str]) -> None:
    spec = catalogue.training("mapillary_pretrain", Request(), site)
    assert seen(spec) == {**common, "/data/mapillary": "reads", str(site.weights): "reads"}


def test_the_scratch_folder_of_the_site_counts(site: SiteConfig, common: dict[str, str]) -> None:
    fast = site.model_copy(update={"scratch": Path("/fast")})
    assert seen(catalogue.training("mapillary_pretrain", Request(), fast))["/fast"] == "makes"


def test_what_lies_in_s3_is_not_mounted(site: SiteConfig, common: dict[str, str]) -> None:
    remote = site.model_copy(
        update={"artifacts": S3Uri("bucket"), "data": {"mapillary": S3Uri("data", "m"), "cityscapes": Path("/c")}}
    )
    spec = catalogue.training("mapillary_pretrain", Request(snapshot=S3Uri("bucket", "x")), remote)
    assert seen(spec) == {path: how for path, how in common.items() if path != str(site.artifacts)}


def test_folders_that_the_command_line_names(site: SiteConfig, common: dict[str, str], tmp_path: Path) -> None:
    recipe = tmp_path / "own" / "mine.yaml"
    recipe.parent.mkdir()
    recipe.write_text((ROOT / "abet" / "recipes" / "demo_pretrain.yaml").read_text())
    request = Request(gpus=1, data_root=Path("/my/data"), snapshot=Path("/w/trunk.pth"), output=Path("/nowhere/run"))
    spec = catalogue.training(str(recipe), request, site)
    assert seen(spec) == {
        **common, "/my/data": "reads", "/w": "reads", str(recipe.parent): "reads", "/nowhere": "makes",
    }  # fmt: skip


def test_an_evaluation_writes_into_the_run_of_its_checkpoint(
    site: SiteConfig, common: dict[str, str], tmp_path: Path
) -> None:
    run = tmp_path / "elsewhere" / "run"
    for step in (run, run / "checkpoints" / "step-1"):
        request = Request(checkpoint=step, shards=2)
        # Both as long as the pipeline has not made it, and afterwards
        for _ in range(2):
            array, merge = catalogue.evaluation("road_anomaly", request, site, run=run, missing=[1, 2])
            views = seen(array)
            assert views["/data/road_anomaly"] == "reads"
            assert "/data/lost_and_found" not in views
            assert {"makes", "writes"} & {views.get(str(run)), views.get(str(run.parent))}
            assert views.get(str(run)) != "reads"
            assert merge.mounts == array.mounts
            step.mkdir(parents=True, exist_ok=True)


def test_a_checkpoint_within_a_run_to_come_does_not_lock_it(site: SiteConfig, common: dict[str, str]) -> None:
    request = Request(checkpoint=Path("/later/run/x.pth"))
    (only,) = catalogue.evaluation("road_anomaly", request, site, run=Path("/later/run"), missing=[1])
    assert (seen(only)["/later"], seen(only)["/later/run"]) == ("makes", "writes")


def test_what_is_kept_with_a_checkpoint_can_be_written_there(
    site: SiteConfig, common: dict[str, str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for checkpoint in (run, run / "published.pth"):
        spec = catalogue.fit("cityscapes", Request(checkpoint=checkpoint), site)
        assert seen(spec) == {**common, "/data/cityscapes": "reads", str(run): "makes"}
        assert spec.artifacts == str(run)
    remote = S3Uri("bucket", "weights/x.pth")
    assert catalogue.calibration("road_anomaly", Request(checkpoint=remote), site).artifacts == "s3://bucket/weights"


def test_folders_come_before_what_lies_in_them(site: SiteConfig) -> None:
    nested = site.model_copy(update={"data": {"mapillary": site.artifacts / "data"}})
    targets = [mount.target for mount in catalogue.training("mapillary_pretrain", Request(), nested).mounts]
    assert targets.index(str(site.artifacts)) < targets.index(str(site.artifacts / "data"))
