"""The data sets by the commands: what is known of them, what is refused, and other definitions of OOD."""

import json
from pathlib import Path

import numpy as np
import pytest

from abet.data.synthetic.more_trees import MORE_PARTS
from abet.labels import VOID
from abet.names import OOD_NAMES
from tests.conftest import Cli, Finished
from tests.trees import make_lost_and_found, make_road_anomaly, save


def evaluate(cli: Cli, checkpoint: Path, name: str, root: Path, output: Path, *more: object) -> Finished:
    return cli(
        *("evaluate", "--checkpoint", checkpoint, "--dataset", name, "--data-root", root, "--output", output),
        *("--device", "cpu", "--scores", "msp", *more),
    )


def test_info_lists_every_set_and_says_all_of_one(cli: Cli) -> None:
    table = cli("data", "info")
    assert all(name in table.out for name in (*OOD_NAMES, "cityscapes", "mapillary"))
    one = cli("data", "info", "road_obstacle_21")
    for part in ("validation 30", "test cannot be used", "zenodo.org/record/5281633", "labels_masks/NAME", "arXiv"):
        assert part in one.out
    assert cli("data", "info", "road_anomoly").code == 2


def test_info_for_machines(cli: Cli) -> None:
    sets = json.loads(cli("data", "info", "--json").out)["sets"]
    assert sets["fishyscapes_lost_and_found"]["splits"] == {"validation": 100}
    assert sets["lost_and_found"]["definitions"][0]["name"] == "road"
    assert list(json.loads(cli("data", "info", "mapillary", "--json").out)["sets"]) == ["mapillary"]


@pytest.mark.parametrize("part", [part for part in MORE_PARTS if not part.endswith("_21/test")])
def test_each_set_is_checked_and_evaluated(cli: Cli, learned_checkpoint: Path, tmp_path: Path, part: str) -> None:
    name, _, split = part.partition("/")
    root = tmp_path / name
    size = ("--height", 64, "--width", 64)
    assert cli("data", "synthesize", tmp_path, "--sets", name, "--scenes", 2, "--workers", 1, *size).code == 0
    assert "no fault" in cli("data", "check", name, root, "--split", split).out
    finished = evaluate(cli, learned_checkpoint, name, root, tmp_path / "run", "--split", split)
    assert finished.code == 0, finished.err
    assert "2 images" in finished.out
    assert "OOD is" in finished.out


def test_a_split_without_labels_exits_2_and_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    finished = evaluate(cli, tmp_path / "no.pth", "road_anomaly_21", tmp_path, tmp_path / "run", "--split", "test")
    assert finished.code == 2
    assert "labels of its 100 images are hidden" in finished.err
    assert "abet submission --dataset road_anomaly_21" in finished.err
    assert cli("data", "check", "road_anomaly_21", tmp_path, "--split", "test").code == 2


def test_the_definition_is_printed_with_the_figures_and_stands_in_metrics_json(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path
) -> None:
    make_lost_and_found(tmp_path / "laf")
    root, output = tmp_path / "laf", tmp_path / "run"
    chosen = ("--ood-definition", "image_all_objects")
    finished = evaluate(cli, learned_checkpoint, "lost_and_found", root, output, *chosen, "--components")
    assert finished.code == 0, finished.err
    table = " ".join(cli("components", output, "--dataset", "lost_and_found").out.split())
    assert "components of lost_and_found (test, 3 images, definition image_all_objects), obstacle-track" in table
    assert "definition image_all_objects: ID is everything but labelled objects" in finished.out
    metrics = json.loads((output / "evaluation/lost_and_found/metrics.json").read_text())
    assert metrics["ood_definition"] == "image_all_objects"
    again = evaluate(cli, learned_checkpoint, "lost_and_found", root, output)
    assert again.code == 2
    assert "choose another --output" in again.err
    assert "0 (0.00%)" in cli("data", "check", "lost_and_found", root, "--ood-definition", "image_all_objects").out


def test_two_models_are_compared_under_the_name_of_their_definition(
    cli: Cli, learned_checkpoint: Path, plain_checkpoint: Path, tmp_path: Path
) -> None:
    make_lost_and_found(tmp_path / "laf")
    options = ("--protocols", "--ood-definition", "image_all_objects")
    for name, checkpoint in (("a", learned_checkpoint), ("b", plain_checkpoint)):
        evaluate(cli, checkpoint, "lost_and_found", tmp_path / "laf", tmp_path / name, *options)
    finished = cli("compare", tmp_path / "a", tmp_path / "b", "--dataset", "lost_and_found")
    assert finished.code == 0, finished.err
    assert "definition image_all_objects: ID is everything but labelled objects" in finished.out


def test_the_matrix_reads_labels_as_the_evaluation_did(cli: Cli, learned_checkpoint: Path, tmp_path: Path) -> None:
    first = min(make_lost_and_found(tmp_path / "laf"))
    definition = ("--ood-definition", "image")
    evaluate(cli, learned_checkpoint, "lost_and_found", tmp_path / "laf", tmp_path / "run", *definition)
    finished = cli("report", tmp_path / "run", "--matrix", tmp_path / "m.png", "--images", first, "--scores", "msp")
    assert finished.code == 0, finished.err
    (kept,) = (tmp_path / "run/evaluation/lost_and_found/matrix").glob("*.npz")
    with np.load(kept) as sample:
        assert VOID not in sample["label"]


def test_an_unknown_definition_exits_2_before_a_root_is_looked_for(cli: Cli, tmp_path: Path) -> None:
    finished = evaluate(
        *(cli, tmp_path / "no.pth", "lost_and_found", tmp_path / "no", tmp_path / "run"), "--ood-definition", "whole"
    )
    assert finished.code == 2
    assert "The choices are: road, road_all_objects, image, image_all_objects" in finished.err


@pytest.mark.parametrize(("value", "word"), [(0, "OOD"), (1, "ID")])
def test_a_whole_set_without_one_kind_is_refused_and_a_part_of_it_is_not(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path, value: int, word: str
) -> None:
    make_road_anomaly(tmp_path / "ra", count=2)
    for path in (tmp_path / "ra/labels").iterdir():
        save(path, np.full((48, 64), value, np.uint8))
    finished = evaluate(cli, learned_checkpoint, "road_anomaly", tmp_path / "ra", tmp_path / "run")
    assert finished.code == 3
    for part in (f"no {word} pixel in the whole set", "ID 0; OOD 1; void 255", "docs/datasets.md"):
        assert part in finished.err
    part_of_it = ("--limit", 1)
    assert evaluate(cli, learned_checkpoint, "road_anomaly", tmp_path / "ra", tmp_path / "run", *part_of_it).code == 0
