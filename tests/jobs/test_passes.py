"""What a run holds decides what is submitted: what is there is kept, and what a node would refuse is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abet.scores import SCORES
from abet.site import SiteConfig
from tests.conftest import Finished
from tests.jobs.conftest import ROOT, Jobs

SET = "road_anomaly"
SAME = {"dataset": SET, "split": "test", "images": 9, "list_sha256": "l", "num_classes": 19, "abet": "1"}
REMOVE = "remove it with the components-*.npz beside it"


class Run:
    """A run by its files alone, evaluated into ``shards``."""

    def __init__(self, place: Path, shards: int = 3) -> None:
        self.place, self.shards = place, shards
        self.folder = place / "evaluation" / SET
        self.folder.mkdir(parents=True)
        self.write("evaluation.json", {"shards": shards, "protocols": True})
        self.touch("shard", range(1, shards + 1))

    def write(self, name: str, values: dict[str, Any]) -> None:
        (self.folder / name).write_text(json.dumps(values))

    def touch(self, kind: str, numbers: Any) -> None:
        for number in numbers:
            (self.folder / f"{kind}-{number:03d}-of-{self.shards:03d}.npz").touch()

    def merge(self, threshold: float = 0.5, *, protocols: bool = True) -> None:
        entry = {"protocols": {"smiyc-quantile-bins": {"best_f1_threshold": threshold}}} if protocols else {}
        scores = dict.fromkeys(("abet", "msp"), entry)
        self.write("metrics.json", {**SAME, "checkpoint": {"sha256": "c"}, "scores": scores})

    def count(self, numbers: Any, threshold: float = 0.5, **changes: Any) -> None:
        told = {"shards": self.shards, "track": "anomaly-track", "scores": ["abet", "msp"], "checkpoint_sha256": "c"}
        told["thresholds"] = dict.fromkeys(("abet", "msp"), threshold)
        self.write("components.json", {**SAME, "ood_definition": None, **told, **changes})
        self.touch("components", numbers)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


Submit = Callable[..., Finished]


@pytest.fixture
def submit(jobs: Jobs, site: SiteConfig, run: Run) -> Submit:
    """Shows what would be submitted on this machine."""

    def show(job: str, *more: object, shards: int | None = 3) -> Finished:
        words = ("--dataset", SET, "--checkpoint", "/x.pth", "--output", run.place, "--on", "local", "--dry-run")
        return jobs("submit", job, *words, *([] if shards is None else ["--shards", shards]), *more)

    return show


def kinds(shown: Finished) -> list[str]:
    assert shown.code == 0, shown.err
    return [line.removeprefix("# --- ").partition("-")[0] for line in shown.out.splitlines() if line[0] == "#"]


def refused(shown: Finished, *words: str) -> None:
    assert (shown.code, shown.out) == (2, ""), shown.out
    assert [word for word in words if word not in shown.err] == []


def test_shards_of_the_second_pass_are_known_by_their_names(submit: Submit, run: Run) -> None:
    run.merge()
    run.count([2])
    (run.folder / "components-001-of-002.npz").touch()  # of another number of shards
    shown = submit("components")
    assert [line.split()[-2:] for line in shown.out.splitlines()[1:]] == [["--shard", "1/3"], ["--shard", "3/3"]]
    assert f"1 of 3 shards of components are there and kept: {run.place}" in shown.err
    both = submit("evaluate", "--components")
    assert kinds(both) == ["merge", "components"]
    assert both.err.splitlines() == [
        f"3 of 3 shards are there and kept: {run.place}",
        f"1 of 3 shards of components are there and kept: {run.place}",
    ]


def test_one_shard_is_one_piece(submit: Submit, run: Run) -> None:
    run.merge()
    alone = submit("components", shards=None).out.splitlines()
    assert alone[1].endswith(f"components {run.place} --dataset {SET} --checkpoint /x.pth")


@pytest.mark.parametrize("shards", [1, 3])
def test_a_second_pass_of_an_evaluation_without_protocols_is_refused(submit: Submit, run: Run, shards: int) -> None:
    run.write("evaluation.json", {"shards": shards})  # as files say it that have none
    shown = submit("evaluate", "--components", shards=shards)
    refused(shown, "protocols False there, True here", "choose a new OUTPUT= (--output)", "leave out: COMPONENTS=1")
    assert submit("evaluate", shards=shards).code == 0


def begun(run: Run, **values: Any) -> None:
    run.write("evaluation.json", {"shards": 3, "scores": ["abet", "msp"], "images": 9, **values})


AGREES = ("--option=--scores=msp,abet",)


@pytest.mark.parametrize(
    ("there", "shards", "more", "told"),
    [
        ({}, 8, AGREES, ("shards 3 there, 8 here", "give: SHARDS=3 (--shards 3)")),
        ({}, None, AGREES, ("shards 3 there, 1 here", "give: SHARDS=3")),
        ({"shards": 1}, 3, AGREES, ("shards 1 there, 3 here", "give: SHARDS=1")),
        ({}, None, (*AGREES, "--option=--shard=1/2"), ("shards 3 there, 2 here",)),
        ({}, 3, ("--option=--scores", "--option=abet"), ("scores abet,msp there, abet here", "--scores abet,msp")),
        ({}, 3, ("--option=--scores=all",), ("scores abet,msp there, all here",)),
        ({}, 3, (), ("scores abet,msp there, all here", "in EVAL_ARGS= (--option): --scores abet,msp")),
        ({"scores": list(SCORES)}, 3, AGREES, ("scores all there, msp,abet here", "--scores all")),
        ({"protocols": True}, 3, AGREES, ("protocols True there, False here", "in EVAL_ARGS= (--option): --protocols")),
        ({}, 3, (*AGREES, "--option=--protocols"), ("protocols False there, True here", "leave out: ", "--protocols")),
        ({}, 3, (*AGREES, "--option=--limit=8"), ("images 9 there, at most 8 here", "leave out: --limit 8")),
    ],
)
def test_an_evaluation_that_was_begun_otherwise_is_refused_before_anything_waits(
    submit: Submit, run: Run, there: dict[str, Any], shards: int | None, more: tuple[str, ...], told: tuple[str, ...]
) -> None:
    begun(run, **there)
    refused(submit("evaluate", *more, shards=shards), str(run.folder), "choose a new OUTPUT= (--output)", *told)


def test_all_that_differs_is_told_at_once(submit: Submit, run: Run) -> None:
    begun(run, protocols=True)
    shown = submit("evaluate", shards=8)
    refused(shown, "shards 3 there", "scores abet,msp there", "protocols True there", "--scores abet,msp --protocols\n")


@pytest.mark.parametrize(
    ("there", "shards", "more"),
    [
        ({}, 3, (*AGREES, "--option=--limit=9")),
        ({}, None, (*AGREES, "--option=--only-missing")),  # takes the number of shards that is there
        ({}, None, (*AGREES, "--option=--shard", "--option=2/3")),
        ({"protocols": True}, 3, (*AGREES, "--option=--protocols")),
        ({"protocols": True}, 3, (*AGREES, "--components")),
        ({"scores": list(SCORES)}, 3, ()),
        ({"scores": [*SCORES, "of_a_plugin"]}, 3, ()),  # which may be installed on the nodes alone
    ],
)
def test_the_same_evaluation_goes_on_and_keeps_its_shards(
    submit: Submit, run: Run, there: dict[str, Any], shards: int | None, more: tuple[str, ...]
) -> None:
    begun(run, **there)
    shown = submit("evaluate", *more, shards=shards)
    assert shown.code == 0, shown.err
    assert ("3 of 3 shards are there and kept" in shown.err) == (shards == 3)


@pytest.mark.usefixtures("site")
def test_one_job_needs_no_keys_of_s3_where_it_is_submitted(jobs: Jobs) -> None:
    words = ("--dataset", SET, "--checkpoint", "/x.pth", "--output", "s3://models/run", "--on", "local", "--dry-run")
    assert kinds(jobs("submit", "evaluate", *words)) == ["eval"]


def test_an_evaluation_that_was_not_begun_is_refused_nothing(submit: Submit, run: Run) -> None:
    for path in run.folder.iterdir():
        path.unlink()
    assert kinds(submit("evaluate", "--components")) == ["eval", "merge", "components"]


def test_a_second_pass_alone_needs_the_figures_of_its_thresholds(submit: Submit, run: Run) -> None:
    refused(submit("components"), "no metrics.json", "wait for the merge")
    run.merge(protocols=False)
    refused(submit("components"), "metrics.json: no smiyc-quantile-bins of any score", "OUTPUT=")
    run.write("metrics.json", {"scores": [1]})
    shown = submit("components")
    assert (shown.code, "metrics.json: damaged; merge the shards again" in shown.err) == (3, True)


@pytest.mark.parametrize("job", [("components",), ("evaluate", "--components")])
def test_components_of_another_number_of_shards_or_of_other_figures_are_refused(
    submit: Submit, run: Run, job: tuple[str, ...]
) -> None:
    run.merge()
    run.count([1, 2, 3], shards=4)
    refused(submit(*job), "--shards 3: ", "components.json is of 4 shards", "make: SHARDS=4", REMOVE)
    run.count([1, 2, 3], threshold=0.25)
    refused(submit(*job), "threshold of abet: 0.25 counted, 0.5 now", REMOVE)
    run.write("components.json", {})
    shown = submit(*job)
    assert (shown.code, "components.json: damaged" in shown.err) == (3, True)


def test_another_track_or_other_scores_than_are_there_are_refused(submit: Submit, run: Run) -> None:
    run.merge()
    run.count([1])
    track, scores = ("--option=--track", "--option=obstacle-track"), ("--option=--scores=abet",)
    refused(submit("components", *track), "--track obstacle-track", "is of anomaly-track", REMOVE)
    refused(submit("components", *scores), "--scores abet", "is of abet,msp: name these", REMOVE)
    assert kinds(submit("components", "--option=--track=anomaly-track", "--option=--scores=msp,abet")) == ["components"]


def test_options_are_not_dropped_where_a_merge_is_all_that_is_left_to_do(submit: Submit, run: Run) -> None:
    run.merge()
    run.count([1, 2, 3])
    assert kinds(submit("components")) == ["merge"]
    same = ("--option=--track", "--option=anomaly-track", "--option=--scores=all")
    assert kinds(submit("components", *same)) == ["merge"]
    shown = submit("components", *same, "--option=--limit", "--option=2")
    refused(shown, "--option --limit 2: all shards of components are there", "COMPONENTS_ARGS=", "components.json")
    refused(submit("components", "--option=--track=obstacle-track"), "is of anomaly-track")


def test_a_merge_that_may_find_other_thresholds_must_keep_components(submit: Submit, run: Run) -> None:
    run.merge()
    run.count([1, 2, 3])
    (run.folder / "shard-002-of-003.npz").unlink()
    shown = submit("evaluate", "--components")
    assert kinds(shown) == ["eval", "merge"]
    assert shown.out.splitlines()[-1].endswith(" --components")


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("job", ["evaluate", "components"])
def test_all_of_this_needs_nothing_that_computes(run: Run, job: str) -> None:
    run.merge()
    run.count([1])
    words = ["jobs", "submit", job, "--dataset", SET, "--checkpoint", "/x.pth", "--output", str(run.place)]
    code = f"""
import sys
from jobs.cli import main
sys.argv = {[*words, "--shards", "3", "--on", "local", "--dry-run", *(["--components"] if job == "evaluate" else [])]}
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print([name for name in ("torch", "numpy", "PIL", "scipy", "safetensors") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
