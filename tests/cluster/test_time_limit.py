"""A run that is longer than its time limit goes on after it, as often as it takes, to the same bits."""

import pytest

from tests.cluster.job_site import JobSite, note
from tests.training.conftest import Tiny, final_state
from tests.training.tiny import tiny_recipe
from tests.trees import make_cityscapes

pytestmark = pytest.mark.cluster

# Steps of about a tenth of a second: enough of them to be interrupted after 15 to 45 s of a minute's limit
STEPS, CROP = 120, {"crop_height": 128, "crop_width": 256}


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("long")
    for split, count, seed in (("train", 6, 0), ("val", 2, 100)):
        make_cityscapes(folder / "data", split=split, count=count, size=(128, 256), seed=seed)
    training = {"steps": STEPS, "validate_every_steps": STEPS, "checkpoint_every_steps": 40, "log_every_steps": 20}
    recipe = tiny_recipe(folder / "long.yaml", {"training": training, "augmentation": CROP})
    return Tiny(recipe, folder / "data", folder / "runs")


def test_a_run_goes_on_after_its_time_limit(job_site: JobSite, long_run: Tiny, table: list[str]) -> None:
    site = job_site.write({"cityscapes": str(long_run.data)})
    limits = ("--time-limit-minutes", 1, "--grace-seconds", 15)
    options = ("--option=--device", "--option=cpu", "--option=--threads", "--option=1")
    (record,) = site.submit(long_run.recipe, "--run", "long", "--gpus", 0, "--snapshot", "none", *limits, *options)
    assert site.wait_end(record, seconds=600).state == "done", site.log(record)
    starts = site.attempts(record)
    assert [start.cause for start in starts[:-1]] == ["timeout"] * (len(starts) - 1)
    assert len(starts) > 1, "too short to be interrupted"
    assert [start.first_step for start in starts[1:]] == [start.last_step for start in starts[:-1]], "nothing repeated"
    site.run("-m", "abet", "train", *long_run.arguments("alone", "--device", "cpu"))
    here, there = final_state(long_run.runs / "alone"), site.final("long")
    assert {name: here[name] for name in there["files"]} == there["files"]
    fault = "time limit, one node of one process"
    note(table, site, record, fault, "identical", repeated=0)
