"""The trees of the five further OOD sets: drawn by name alone, read by their readers, with all their rules."""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from abet.cli.data import app
from abet.data.check import check
from abet.data.index import open_dataset
from abet.data.no_known import KNOWN_PREFIXES
from abet.data.synthetic.more_trees import MORE_PARTS, outlined
from abet.data.synthetic.synthesize import MARKER, Plan, parse_scenes, synthesize
from abet.data.synthetic.trees import PARTS
from abet.errors import UsageError
from abet.labels import ID, OOD, VOID
from abet.metrics.components import SIZES, ComponentState, MinimumSizes, Objects
from abet.submission import find_images
from tests.metrics.naive_components import flood

SCENES = {
    "lost_and_found_no_known/test": 12,
    "fishyscapes_lost_and_found/validation": 4,
    "fishyscapes_static/validation": 4,
    "road_anomaly_21/validation": 4,
    "road_anomaly_21/test": 2,
    "road_obstacle_21/validation": 21,
    "road_obstacle_21/test": 1,
    "lost_and_found/train": 3,
}
READ = {
    "lost_and_found_no_known": 9,  # without the places of children and bicycles
    "fishyscapes_lost_and_found": 4,
    "fishyscapes_static": 4,
    "road_anomaly_21": 4,
    "road_obstacle_21": 19,  # without validation_19 and _21
}
PLAN = Plan(scenes=SCENES, seed=2, height=64, width=96)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes") / "more"
    synthesize(root, PLAN, workers=1)
    return root


def labels(tree, name):
    dataset = open_dataset(name, tree / name)
    return {pair.name: dataset.read(pair)[1] for pair in dataset.pairs}


@pytest.mark.parametrize("name", READ)
def test_each_tree_checks_without_fault_and_holds_id_ood_and_void(tree, name):
    report = check(name, tree / name, workers=1)
    assert report.ok, report.faults
    assert report.sizes == (((96, 64), READ[name]),)
    assert min(report.pixels.id, report.pixels.ood) > 100
    assert report.pixels.void > 0


def test_nothing_of_them_is_drawn_unless_it_is_named():
    assert parse_scenes([]).keys() == parse_scenes(["3"]).keys() == PARTS.keys()
    assert parse_scenes([], ["road_anomaly_21"]).keys() == {"road_anomaly_21/validation", "road_anomaly_21/test"}
    assert parse_scenes(["2"], ["fishyscapes_static", "road_anomaly"]) == {
        "fishyscapes_static/validation": 2,
        "road_anomaly/test": 2,
    }
    named = parse_scenes(["0", "road_obstacle_21/test=5"])
    assert {name: count for name, count in named.items() if count} == {"road_obstacle_21/test": 5}
    with pytest.raises(UsageError, match="did you mean 'road_anomaly_21'"):
        parse_scenes([], ["road_anomaly21"])


def test_the_marker_of_a_plan_without_them_says_nothing_of_them():
    assert list(Plan(scenes={"cityscapes/val": 1}).describe()["scenes"]) == list(PARTS)
    assert "road_anomaly_21/test" in PLAN.describe()["scenes"]


def test_every_part_has_a_seed_of_its_own():
    assert max(Counter(part.number for part in (*PARTS.values(), *MORE_PARTS.values())).values()) == 1


def test_the_same_plan_writes_the_same_bytes(tree, tmp_path):
    few = {name: min(count, 1) for name, count in SCENES.items()}
    synthesize(tmp_path / "few", replace(PLAN, scenes=few), workers=1)
    drawn = [path for path in (tmp_path / "few").rglob("*") if path.is_file() and path.name != MARKER]
    assert len(drawn) > len(few)
    for path in drawn:
        ours, theirs = (hashlib.sha256(each.read_bytes()).digest() for each in
                        (path, tree / path.relative_to(tmp_path / "few")))  # fmt: skip
        assert ours == theirs, path


def test_the_hidden_part_of_a_benchmark_has_images_alone(tree):
    for name, hidden in (("road_anomaly_21", 2), ("road_obstacle_21", 1)):
        stems = {path.stem for path in (tree / name / "labels_masks").iterdir()}
        unlabelled = [
            path
            for path in (tree / name / "images").iterdir()
            if not any(stem.startswith(f"{path.stem}_labels") for stem in stems)
        ]
        assert len(unlabelled) == hidden
        assert len(find_images(name, tree / name)[0]) == SCENES[f"{name}/validation"] + hidden
        with pytest.raises(UsageError, match="images are hidden"):
            open_dataset(name, tree / name, "test")


def test_places_with_children_and_bicycles_are_there_and_left_out(tree):
    images = {path.name for path in (tree / "lost_and_found_no_known/leftImg8bit").rglob("*.png")}
    known = {name for name in images if name.startswith(KNOWN_PREFIXES)}
    assert len(known) == 3
    read = {name.rsplit("/", 1)[1] for name in labels(tree, "lost_and_found_no_known")}
    assert read == images - known


def test_what_one_may_drive_over_is_ood_here_and_void_on_request_and_one_label_is_empty(tree):
    root = tree / "lost_and_found_no_known"
    found = labels(tree, "lost_and_found_no_known")
    assert sum((label == VOID).all() for label in found.values()) == 1
    road = open_dataset("lost_and_found_no_known", root, definition="road")
    voided = [pair for pair in road.pairs if (found[pair.name] == OOD).any() and not (road.read(pair)[1] == OOD).any()]
    assert voided
    for pair in voided:
        with Image.open(pair.label) as label:
            assert set(np.unique(np.asarray(label)).tolist()) & {31, 38}
    assert check("lost_and_found", root, workers=1).ok  # its own labels are there too


def test_pasted_objects_are_where_the_label_says_and_nothing_else_changes(tree):
    dataset = open_dataset("fishyscapes_static", tree / "fishyscapes_static")
    for pair in dataset.pairs:
        image, label = dataset.read(pair)
        with Image.open(pair.image) as photograph:
            changed = (image != np.asarray(photograph)).any(axis=2)
        assert not changed[label != OOD].any()
        assert changed[label == OOD].mean() > 0.9


def test_the_pixels_above_and_beside_an_object_are_void_and_those_below_are_not():
    label = np.zeros((5, 7), np.uint8)
    label[2, 3], label[0, 0] = 1, 1
    expected = np.zeros((5, 7), np.uint8)
    expected[1:3, 2:5], expected[0, 1] = 255, 255
    expected[label == 1] = 1
    np.testing.assert_array_equal(outlined(label), expected)


def test_obstacles_lie_on_the_road_and_all_beside_it_is_void(tree):
    found = labels(tree, "road_obstacle_21").values()
    assert np.mean([(label[:20] == VOID).mean() for label in found]) > 0.9
    assert np.mean([(label[-10:] == ID).mean() for label in found]) > 0.3


@pytest.mark.parametrize("name", ["road_anomaly_21", "road_obstacle_21"])
def test_a_mask_of_everything_finds_few_objects(tree, name):
    """Void that rings an object wholly cuts it out of that mask: were it so for all, their sIoU would be 1."""
    sizes = MinimumSizes(prediction=1, object=10)
    found = [Objects.find(label, sizes) for label in labels(tree, name).values()]
    states = [ComponentState.of_flagged(np.ones_like(one.labels, np.bool_), one, threshold=0.0) for one in found]
    assert ComponentState.merge(*states).summarise()["f1"] < 0.4


@pytest.mark.parametrize(
    ("name", "track"), [("road_anomaly_21", "anomaly-track"), ("road_obstacle_21", "obstacle-track")]
)
def test_objects_are_larger_and_smaller_than_what_the_tracks_count(tree, name, track):
    sizes = [
        len(component)
        for label in labels(tree, name).values()
        for component in flood(set(zip(*(axis.tolist() for axis in np.nonzero(label == OOD)), strict=True)))
    ]
    assert min(sizes) < SIZES[track].object <= max(sizes)


def test_the_command_draws_the_sets_that_are_named(tmp_path):
    root = tmp_path / "cli"
    arguments = ["synthesize", str(root), "--sets", "road_anomaly_21", "--scenes", "1", "--height", "64"]
    result = CliRunner().invoke(app, [*arguments, "--width", "64", "--workers", "1"], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout.split() == [str(root / "road_anomaly_21")]
    assert "wrote 2 of 2" in result.stderr
    assert [path.name for path in root.iterdir() if path.is_dir()] == ["road_anomaly_21"]
