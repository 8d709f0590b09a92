"""Whole trees: the four layouts as their readers see them, workers, resuming, bad values."""

import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from abet.cli.data import app
from abet.data.check import check
from abet.data.index import open_dataset
from abet.data.synthetic.synthesize import (
    MARKER,
    UNFINISHED,
    Job,
    Plan,
    default_scenes,
    parse_scenes,
    synthesize,
)
from abet.data.synthetic.trees import PARTS
from abet.errors import AbetError, UsageError
from abet.files import read_json
from abet.labels import IGNORE, OOD

SCENES = {
    "mapillary/training": 6,
    "mapillary/validation": 1,
    "cityscapes/train": 6,
    "cityscapes/val": 1,
    "lost_and_found/test": 5,
    "road_anomaly/test": 5,
}
PLAN = Plan(scenes=SCENES, seed=3, height=64, width=128)


def digests(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes") / "all"
    assert synthesize(root, PLAN, workers=1) == sum(SCENES.values())
    return root


@pytest.mark.faults
def test_any_number_of_workers_writes_the_same_bytes(tree, tmp_path):
    synthesize(tmp_path / "two", PLAN, workers=2)
    assert digests(tmp_path / "two") == digests(tree)


def test_a_scene_does_not_depend_on_how_many_there_are(tree, tmp_path):
    synthesize(tmp_path / "few", replace(PLAN, scenes={"road_anomaly/test": 2}), workers=1)
    few = digests(tmp_path / "few/road_anomaly")
    assert len(few) == 4
    assert few.items() <= digests(tree / "road_anomaly").items()


def test_a_worker_that_dies_ends_in_one_message_and_the_next_call_goes_on(tmp_path, monkeypatch):
    plan, root = Plan(scenes={"road_anomaly/test": 9}, height=64, width=64), tmp_path / "root"
    jobs = list(plan.jobs())
    monkeypatch.setattr(Plan, "jobs", lambda _plan: iter([*jobs[:8], replace(jobs[8], part=Deadly("x"))]))
    monkeypatch.setattr(Job, "done", lambda _job, _root: False)
    with pytest.raises(AbetError, match=r"a worker process died.*run the same command again"):
        synthesize(root, plan, workers=2)
    monkeypatch.undo()
    assert (root / UNFINISHED).is_file()
    assert synthesize(root, plan, workers=1) >= 1
    assert (root / MARKER).is_file()


class Deadly(str):
    """Ends the process that receives it, as the kernel does when memory runs out."""

    def __reduce__(self):
        return os._exit, (9,)


@pytest.mark.parametrize("part", PARTS)
def test_each_tree_opens_and_checks_without_fault(tree, part):
    name, split = part.split("/")
    dataset = open_dataset(name, tree / name, split)
    assert len(dataset.pairs) == SCENES[part]
    report = check(name, tree / name, split, workers=1)
    assert report.ok, report.faults
    assert report.sizes == (((128, 64), SCENES[part]),)


@pytest.mark.parametrize("name", ["lost_and_found", "road_anomaly"])
def test_every_ood_image_has_ood_pixels_of_varied_number(tree, name):
    dataset = open_dataset(name, tree / name)
    counts = [int((dataset.read(pair)[1] == OOD).sum()) for pair in dataset.pairs]
    assert min(counts) > 0
    assert max(counts) > 2 * min(counts)


@pytest.mark.parametrize(("part", "rare"), [("mapillary/training", {0, 1, 51}), ("cityscapes/train", {3, 16, 17})])
def test_training_labels_have_many_classes_and_none_that_is_left_out(tree, part, rare):
    name, split = part.split("/")
    dataset = open_dataset(name, tree / name, split)
    values = set().union(*(np.unique(dataset.read(pair)[1]).tolist() for pair in dataset.pairs))
    assert len(values - {IGNORE}) >= 12
    assert not values & rare


def test_mapillary_labels_are_palette_images_in_published_colours(tree):
    config = read_json(tree / "mapillary" / "config.json")["labels"]
    assert len(config) == 66
    with Image.open(sorted((tree / "mapillary/training/labels").glob("*.png"))[0]) as label:
        assert label.mode == "P"
        palette = label.getpalette()
    assert [palette[3 * row : 3 * row + 3] for row in range(66)] == [entry["color"] for entry in config]


def test_both_label_files_of_lost_and_found_agree(tree):
    for ids in sorted((tree / "lost_and_found/gtCoarse").rglob("*_labelIds.png")):
        first, second = (
            np.asarray(Image.open(path)) for path in (ids, ids.with_name(ids.name.replace("labelIds", "labelTrainIds")))
        )
        assert np.array_equal(np.where(first == 0, 255, first), second)
        assert set(np.unique(first).tolist()) == {0, 1, 2}


def test_a_finished_root_is_kept_and_a_lost_file_is_made_again(tree, tmp_path):
    root = tmp_path / "copy"
    synthesize(root, Plan(scenes={"road_anomaly/test": 3}, height=64, width=64), workers=1)
    before = digests(root)
    assert synthesize(root, Plan(scenes={"road_anomaly/test": 3}, height=64, width=64), workers=1) == 0
    (root / "road_anomaly/labels/street_000001.png").unlink()
    assert synthesize(root, Plan(scenes={"road_anomaly/test": 3}, height=64, width=64), workers=1) == 1
    assert digests(root) == before


def test_an_interrupted_call_goes_on_where_it_stopped(tmp_path, monkeypatch):
    plan, root = Plan(scenes={"cityscapes/val": 3}, height=64, width=64), tmp_path / "root"
    run, done = Job.run, []

    def stop_at_the_third(job, root):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job.index)
        run(job, root)

    monkeypatch.setattr(Job, "run", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        synthesize(root, plan, workers=1)
    assert (root / UNFINISHED).is_file()
    assert not (root / MARKER).exists()
    monkeypatch.setattr(Job, "run", run)
    with pytest.raises(UsageError, match="seed"):
        synthesize(root, Plan(scenes=plan.scenes, height=64, width=64, seed=1), workers=1)
    assert synthesize(root, plan, workers=1) == 1
    assert read_json(root / MARKER)["scenes"]["cityscapes/val"] == 3
    assert not (root / UNFINISHED).exists()


def test_other_parameters_and_foreign_folders_are_refused_untouched(tree, tmp_path):
    before = digests(tree)
    with pytest.raises(UsageError, match=r"height 64 there, 128 here"):
        synthesize(tree, Plan(scenes=SCENES, seed=3), workers=1)
    with pytest.raises(UsageError, match=r"variety 'full' there, 'calm' here"):
        synthesize(tree, replace(PLAN, variety="calm"), workers=1)
    with pytest.raises(UsageError, match=r"scenes \(mapillary/training \d+ there, 99 here\)"):
        synthesize(tree, replace(PLAN, scenes={**SCENES, "mapillary/training": 99}), workers=1)
    assert digests(tree) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        synthesize(tmp_path, PLAN, workers=1)
    with pytest.raises(UsageError, match="is a file"):
        synthesize(tmp_path / "notes.txt", PLAN, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"height": 63}, "height 63"),
        ({"width": 5000}, "width 5000"),
        ({"seed": -1}, "seed -1"),
        ({"variety": "quiet"}, "unknown variety 'quiet'.*full, calm"),
        ({"scenes": {"cityscapes/val": -2}}, "-2 scenes"),
        ({"scenes": {"cityscapes/val": 0}}, "no scene at all"),
        ({"scenes": {"cityscape/val": 1}}, "did you mean 'cityscapes/val'"),
    ],
)
def test_values_that_cannot_be_meant_are_usage_errors(values, message):
    with pytest.raises(UsageError, match=message):
        Plan(**{"scenes": {"cityscapes/val": 1}, **values})


def test_counts_are_changed_for_one_part_or_for_all():
    assert parse_scenes([]) == default_scenes()
    assert parse_scenes(["cityscapes/val=7"]) == {**default_scenes(), "cityscapes/val": 7}
    assert parse_scenes(["2", "road_anomaly/test=1"]) == {**dict.fromkeys(PARTS, 2), "road_anomaly/test": 1}
    for text in ("many", "cityscapes/val=", "cityscapes/val=1.5", "=3x"):
        with pytest.raises(UsageError, match="expected SET/SPLIT=N"):
            parse_scenes([text])
    with pytest.raises(UsageError, match="unknown part"):
        parse_scenes(["cityscapes=3"])


def test_the_command_writes_the_sets_and_says_when_they_are_there(tmp_path):
    root = tmp_path / "cli"
    arguments = ["synthesize", str(root), "--scenes", "0", "--scenes", "road_anomaly/test=1", "--height", "64"]
    arguments += ["--variety", "calm", "--width", "64", "--workers", "1"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout.split() == [str(root / "road_anomaly")]
    assert "wrote 1 of 1" in result.stderr
    assert read_json(root / MARKER)["variety"] == "calm"
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "kept" in result.stderr
    assert CliRunner().invoke(app, [*arguments, "--variety", "quiet"]).exit_code == 2


def test_fewer_than_one_worker_is_refused(tmp_path):
    with pytest.raises(UsageError, match="workers 0"):
        synthesize(tmp_path / "root", PLAN, workers=0)
