"""What a container must see of its machine: what it reads, what it writes."""

from pathlib import Path

import pytest

from abet.places import S3Uri
from abet.site import SiteConfig, find_site_file
from jobs import catalogue
from jobs.catalogue import Request
from jobs.spec import JobSpec
from tests.jobs.conftest import ROOT


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
