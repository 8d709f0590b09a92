"""The jobs of one network over one data set: evaluation, its second pass, and what is kept with a checkpoint."""

from pathlib import Path
from typing import Any

import pytest

from abet.errors import UsageError
from abet.site import SiteConfig
from jobs import catalogue
from jobs.catalogue import Request
from jobs.spec import JobSpec
from tests.jobs.conftest import option, promoted

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
        (merge,) = (spec for spec in made if spec.kind == "merge")
        # Where no pass follows that would say so, a merge that has to leave components out must not look done
        assert ("--components" in merge.command) == (not lacking)
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
    assert merge.command == ("merge", "/run", "--dataset", "road_anomaly", "--checkpoint", "/c", "--components")
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


def test_the_site_s_detector_is_not_fitted_on_the_classes_of_the_pretraining(site: SiteConfig) -> None:
    pretraining = promoted(site, 65, "pretraining")
    own = site.model_copy(update={"checkpoint": Path("/mine")})
    assert option(catalogue.fit("cityscapes", Request(), own).command, "--checkpoint") == "/mine"
    with pytest.raises(UsageError, match=r"checkpoint: /mine of the site file .*19 classes.* of 65: .*CHECKPOINT="):
        catalogue.fit("mapillary", Request(), own)
    named = catalogue.fit("mapillary", Request(checkpoint=pretraining), own)
    assert option(named.command, "--checkpoint") == str(pretraining)


def test_a_fit_is_of_a_training_set_and_a_calibration_of_an_ood_set(site: SiteConfig) -> None:
    request = Request(checkpoint=Path("/run"))
    with pytest.raises(UsageError, match="The choices are: cityscapes, mapillary"):
        catalogue.fit("road_anomaly", request, site)
    with pytest.raises(UsageError, match="The choices are: lost_and_found, road_anomaly"):
        catalogue.calibration("cityscapes", request, site)
