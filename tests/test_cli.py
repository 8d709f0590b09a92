"""The commands as a user types them: exit codes, messages without tracebacks, and what stands on disk afterwards."""

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from abet import checkpoint
from abet.scores import SCORES
from tests.conftest import Cli, Finished, random_weights
from tests.small_disk import abet_with_small_disk
from tests.trees import make_lost_and_found, make_road_anomaly


@pytest.fixture
def road_anomaly(tmp_path: Path) -> Path:
    make_road_anomaly(tmp_path / "ra", count=3)
    return tmp_path / "ra"


def evaluate(cli: Cli, checkpoint_path: Path, root: Path, output: Path, *more: object) -> Finished:
    return cli(
        *("evaluate", "--checkpoint", checkpoint_path, "--dataset", "road_anomaly", "--data-root", root),
        *("--output", output, "--device", "cpu", *more),
    )


def refused(finished: Finished, code: int, *said: str) -> None:
    """One message with all of ``said``, this exit code, no traceback."""
    assert finished.code == code, finished.err
    assert "Traceback" not in finished.err
    for part in said:
        assert part in finished.err


# --- the main job


def test_from_checkpoint_to_figures_and_page(
    cli: Cli, learned_checkpoint: Path, plain_checkpoint: Path, road_anomaly: Path, tmp_path: Path
) -> None:
    finished = evaluate(cli, learned_checkpoint, road_anomaly, tmp_path / "a", "--protocols")
    assert finished.code == 0, finished.err
    assert "3 images" in finished.err
    assert "about" in finished.err  # the estimate comes before the work
    metrics = json.loads((tmp_path / "a" / "evaluation" / "road_anomaly" / "metrics.json").read_text())
    assert f"{100 * metrics['scores']['abet']['auroc']['value']:.2f}" in finished.out
    assert metrics["scores"]["abet"]["protocols"]["image-bootstrap"]["resamples"] == 1000
    for shard in ("1/2", "2/2"):
        assert evaluate(cli, plain_checkpoint, road_anomaly, tmp_path / "b", "--shard", shard).code == 0
    assert cli("merge", tmp_path / "b", "--dataset", "road_anomaly").code == 0

    assert cli("report", tmp_path / "a", tmp_path / "b", "--output", tmp_path / "report.html").code == 0
    page = (tmp_path / "report.html").read_text()
    assert "max_cosine" in page
    finished = cli(
        *("report", tmp_path / "a", tmp_path / "b", "--matrix", tmp_path / "m.png", "--images"),
        *(",".join(sorted(path.stem for path in (road_anomaly / "original").iterdir())[:2]), "--device", "cpu"),
    )
    assert finished.code == 0, finished.err
    assert Image.open(tmp_path / "m.png").width > 200


def test_a_raw_published_file_evaluates_like_its_import(cli: Cli, road_anomaly: Path, tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in random_weights().tensors.items()}
    torch.save({"state_dict": state}, tmp_path / "ref.pth")
    assert (
        cli("checkpoint", "import", tmp_path / "ref.pth", "--model", "demo_finetune", "--output", tmp_path / "c").code
        == 0
    )
    assert evaluate(cli, tmp_path / "c", road_anomaly, tmp_path / "a").code == 0
    assert evaluate(cli, tmp_path / "ref.pth", road_anomaly, tmp_path / "b", "--model", "demo_finetune").code == 0
    first, second = (
        json.loads((tmp_path / run / "evaluation" / "road_anomaly" / "metrics.json").read_text()) for run in "ab"
    )
    assert first["scores"] == second["scores"]


def test_scores_lists_key_formula_source_and_needs(cli: Cli) -> None:
    out = " ".join(cli("scores").out.split())
    for score in SCORES.values():
        assert score.key in out
        assert score.formula in out
        assert score.source in out


def test_data_check_prints_counts_and_exits_3_on_a_fault(cli: Cli, road_anomaly: Path) -> None:
    finished = cli("data", "check", "road_anomaly", road_anomaly)
    assert finished.code == 0
    assert "images: 3" in finished.out
    next((road_anomaly / "labels").iterdir()).write_bytes(b"")
    finished = cli("data", "check", "road_anomaly", road_anomaly)
    assert finished.code == 3
    assert "1 fault" in finished.out


def test_limit_images_and_scores_narrow_the_work(
    cli: Cli, learned_checkpoint: Path, road_anomaly: Path, tmp_path: Path
) -> None:
    assert (
        evaluate(cli, learned_checkpoint, road_anomaly, tmp_path / "a", "--limit", 2, "--scores", "msp,abet").code == 0
    )
    metrics = json.loads((tmp_path / "a" / "evaluation" / "road_anomaly" / "metrics.json").read_text())
    assert metrics["images"] == 2
    assert list(metrics["scores"]) == ["abet", "msp"]
    name = sorted((road_anomaly / "original").iterdir())[1].name
    (tmp_path / "list.txt").write_text(f"{name}\n")
    assert (
        evaluate(cli, learned_checkpoint, road_anomaly, tmp_path / "b", "--images", f"@{tmp_path}/list.txt").code == 0
    )


def test_the_newest_promoted_checkpoint_is_used_and_named(
    cli: Cli, learned_checkpoint: Path, plain_checkpoint: Path, road_anomaly: Path
) -> None:
    for path in (plain_checkpoint, learned_checkpoint):
        assert cli("checkpoint", "promote", path).code == 0
    finished = cli("evaluate", "--dataset", "road_anomaly", "--data-root", road_anomaly)
    assert finished.code == 0, finished.err
    assert f"checkpoint: {learned_checkpoint}" in finished.err
    assert (Path.cwd() / "runs" / "learned" / "evaluation" / "road_anomaly" / "metrics.json").is_file()


def test_the_site_file_gives_checkpoint_and_data_root(
    cli: Cli, learned_checkpoint: Path, road_anomaly: Path, tmp_path: Path
) -> None:
    site = f"checkpoint: {learned_checkpoint}\ndata:\n  road_anomaly: {road_anomaly}\nartifacts: {tmp_path / 'art'}\n"
    Path("abet.site.yaml").write_text(site)
    assert cli("evaluate", "--dataset", "road_anomaly").code == 0
    assert (tmp_path / "art" / "learned" / "evaluation" / "road_anomaly" / "metrics.json").is_file()


def test_checkpoint_ls_shows_what_is_there(cli: Cli, learned_checkpoint: Path) -> None:
    finished = cli("checkpoint", "ls", learned_checkpoint.parent)
    assert finished.code == 0
    assert "learned" in finished.out


def test_show_config_prints_a_loadable_recipe(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(cli("show-config", "demo_finetune").out)
    assert cli("show-config", tmp_path / "mine.yaml").out == cli("show-config", "demo_finetune").out


@pytest.mark.parametrize("recipe", ["demo_finetune", "cityscapes_finetune", "mapillary_pretrain"])
def test_an_explained_recipe_says_what_every_key_means_and_is_the_same_recipe(
    cli: Cli, tmp_path: Path, recipe: str
) -> None:
    explained = cli("show-config", recipe, "--explain").out
    (tmp_path / "mine.yaml").write_text(explained)
    assert cli("show-config", tmp_path / "mine.yaml").out == cli("show-config", recipe).out
    lines = explained.splitlines()
    silent = [line for before, line in pairwise(lines) if not line.endswith(":") and "#" not in before + line]
    assert silent == []


# --- bad input


def test_nothing_to_evaluate_with_says_how_to_get_a_checkpoint(cli: Cli, road_anomaly: Path) -> None:
    finished = cli("evaluate", "--dataset", "road_anomaly", "--data-root", road_anomaly)
    refused(finished, 2, "no checkpoint", "abet checkpoint promote", "docs/weights.md")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--scores", "abbet"), ("unknown score 'abbet'", "did you mean 'abet'", "max_cosine")),
        (("--scores", ","), ("names no score",)),
        (("--shard", "0/2"), ("expected I/N",)),
        (("--shard", "half"), ("expected I/N",)),
        (("--images", "nobody.png"), ("no image 'nobody.png'",)),
        (("--split", "tset"), ("'tset'", "test")),
        (("--device", "gpu"), ("unknown device 'gpu'",)),
        (("--shard", "1/9"), ("only 3 images",)),
    ],
)
def test_bad_usage_exits_2_before_anything_is_written(
    cli: Cli,
    learned_checkpoint: Path,
    road_anomaly: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    said: tuple[str, ...],
) -> None:
    refused(evaluate(cli, learned_checkpoint, road_anomaly, tmp_path / "run", *arguments), 2, *said)
    assert not (tmp_path / "run").exists()


def test_an_unknown_dataset_lists_the_choices(cli: Cli) -> None:
    for command in (("evaluate",), ("merge", "run")):
        refused(cli(*command, "--dataset", "road_anomally"), 2, "did you mean 'road_anomaly'", "lost_and_found")
    refused(cli("data", "check", "road_anomally", "x"), 2, "did you mean 'road_anomaly'")


def test_a_missing_data_root_is_said_before_a_checkpoint_is_read(cli: Cli, learned_checkpoint: Path) -> None:
    finished = cli("evaluate", "--dataset", "road_anomaly", "--checkpoint", learned_checkpoint)
    refused(finished, 2, "no data root", "DATA_ROOT=")


def test_bad_data_exits_3_with_every_fault_before_anything_is_written(
    cli: Cli, learned_checkpoint: Path, road_anomaly: Path, tmp_path: Path
) -> None:
    first, second, _ = sorted((road_anomaly / "labels").iterdir())
    label = np.asarray(Image.open(first)).copy()
    label[0, 0] = 7
    Image.fromarray(label).save(first)
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(second)
    finished = evaluate(cli, learned_checkpoint, road_anomaly, tmp_path / "run")
    refused(finished, 3, "2 faults", first.name, "7", second.name, "3x3")
    assert not (tmp_path / "run").exists()


def test_an_empty_root_exits_3(cli: Cli, learned_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(evaluate(cli, learned_checkpoint, tmp_path / "empty", tmp_path / "run"), 3, "docs/datasets.md")


@pytest.mark.parametrize("damage", ["empty", "truncated", "missing", "hostile"])
def test_a_bad_checkpoint_exits_3(cli: Cli, road_anomaly: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "ref.pth"
    if damage != "missing":
        torch.save({"state_dict": dict(random_weights().tensors), "x": os.system if damage == "hostile" else 0}, path)
    if damage in ("empty", "truncated"):
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else 100_000])
    refused(evaluate(cli, path, road_anomaly, tmp_path / "run", "--model", "demo_finetune"), 3, str(path))
    refused(cli("checkpoint", "import", path, "--model", "demo_finetune", "--output", tmp_path / "c"), 3, str(path))
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "c").exists()


def test_a_checkpoint_of_another_class_count_must_be_meant(cli: Cli, road_anomaly: Path, tmp_path: Path) -> None:
    checkpoint.save(random_weights(num_classes=65), tmp_path / "c")
    finished = evaluate(cli, tmp_path / "c", road_anomaly, tmp_path / "run")
    refused(finished, 3, "65 classes", "expected 19", "--num-classes 65")
    assert evaluate(cli, tmp_path / "c", road_anomaly, tmp_path / "run", "--num-classes", 65).code == 0


def test_a_trunk_is_no_detector(cli: Cli, road_anomaly: Path, tmp_path: Path) -> None:
    trunk = {name: value for name, value in random_weights("none").tensors.items() if name.startswith("mod")}
    torch.save(trunk, tmp_path / "trunk.pth")
    assert (
        cli("checkpoint", "import", tmp_path / "trunk.pth", "--model", "demo_finetune", "--output", tmp_path / "t").code
        == 0
    )
    refused(evaluate(cli, tmp_path / "t", road_anomaly, tmp_path / "run"), 3, "without a segmentation head")
    refused(cli("checkpoint", "promote", tmp_path / "t"), 3, "promote a model")


def test_an_output_of_another_run_exits_2(
    cli: Cli, learned_checkpoint: Path, plain_checkpoint: Path, road_anomaly: Path, tmp_path: Path
) -> None:
    assert evaluate(cli, learned_checkpoint, road_anomaly, tmp_path / "run").code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    finished = evaluate(cli, plain_checkpoint, road_anomaly, tmp_path / "run")
    refused(finished, 2, "another checkpoint", "choose another --output")
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


@pytest.mark.faults
def test_a_full_disk_exits_1_and_keeps_nothing_half_written(
    learned_checkpoint: Path, road_anomaly: Path, tmp_path: Path
) -> None:
    finished = abet_with_small_disk(
        *(8_000, "evaluate", "--checkpoint", learned_checkpoint, "--dataset", "road_anomaly"),
        *("--data-root", road_anomaly, "--output", tmp_path / "run", "--device", "cpu"),
    )
    refused(finished, 1, "no space left", "choose another --output")
    left = [path.name for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert sorted(left) == ["config.yaml", "evaluation.json", "run.json"]


def test_report_needs_runs(cli: Cli, tmp_path: Path) -> None:
    refused(cli("report", tmp_path, "--output", tmp_path / "r.html"), 3, str(tmp_path))
    refused(cli("report", tmp_path, "--images", "a"), 2, "add --matrix")


def test_lost_and_found_by_the_commands(cli: Cli, learned_checkpoint: Path, tmp_path: Path) -> None:
    make_lost_and_found(tmp_path / "laf", count=1)
    finished = cli(
        *("evaluate", "--dataset", "lost_and_found", "--data-root", tmp_path / "laf"),
        *("--checkpoint", learned_checkpoint, "--output", tmp_path / "run"),
    )
    assert finished.code == 0, finished.err


def test_help_and_version_answer(cli: Cli) -> None:
    assert "evaluate" in cli("--help").out
    assert cli("--version").out.startswith("abet 0.")
    refused(cli("evalute"), 2)
    refused(cli("evaluate"), 2, "--dataset")
