"""What --only-missing evaluates: the shards that are missing or damaged, and no other."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from abet.data.index import Dataset
from abet.detector import Detector
from abet.evaluate import Evaluation
from abet.merge import merge
from abet.run import evaluation_dir, shard_path
from abet.storage import version_of
from tests.conftest import Cli, Finished
from tests.trees import make_road_anomaly

Evaluate = Callable[..., Finished]


@pytest.fixture
def evaluate(cli: Cli, learned_checkpoint: Path, tmp_path: Path) -> Evaluate:
    make_road_anomaly(tmp_path / "ra", count=4, size=(24, 32))
    source = ("--checkpoint", learned_checkpoint, "--data-root", tmp_path / "ra", "--output", tmp_path / "run")
    options = ("--device", "cpu", "--scores", "msp", "--samples", 0)
    return lambda *more: cli("evaluate", "--dataset", "road_anomaly", *source, *options, *more)


def shard(tmp_path: Path, number: int, shards: int = 3) -> Path:
    return shard_path(tmp_path / "run", "road_anomaly", number, shards)


def figures(tmp_path: Path) -> bytes:
    folder = evaluation_dir(tmp_path / "run", "road_anomaly")
    return (folder / "metrics.json").read_bytes() + (folder / "curves.json").read_bytes()


def test_missing_and_damaged_shards_are_evaluated_and_all_are_merged(evaluate: Evaluate, tmp_path: Path) -> None:
    for number in (1, 2):
        assert evaluate("--shard", f"{number}/3").code == 0
    shard(tmp_path, 1).write_bytes(shard(tmp_path, 1).read_bytes()[:-50])
    kept = shard(tmp_path, 2).stat().st_mtime_ns
    finished = evaluate("--only-missing")
    assert finished.code == 0, finished.err
    assert "1 of 3 shards are there and kept; to evaluate: 1/3 (damaged), 3/3 (missing)" in finished.err
    lines = finished.err.splitlines()
    assert [number for number in (1, 2, 3) if f"wrote {shard(tmp_path, number)}" in lines] == [1, 3]
    assert shard(tmp_path, 2).stat().st_mtime_ns == kept
    mended = figures(tmp_path)
    whole = evaluate("--output", tmp_path / "whole")
    assert whole.code == 0
    assert (evaluation_dir(tmp_path / "whole", "road_anomaly") / "metrics.json").read_bytes() in mended
    again = evaluate("--only-missing")
    assert again.code == 0
    assert "3 of 3 shards are there and kept\n" in again.err


def test_components_of_missing_shards_are_those_of_all_images(evaluate: Evaluate, tmp_path: Path) -> None:
    assert evaluate("--shard", "1/3", "--protocols").code == 0
    finished = evaluate("--only-missing", "--components")
    assert finished.code == 0, finished.err
    assert "of components missing" not in finished.err
    assert "components of road_anomaly (test, 4 images)" in finished.out
    assert evaluate("--output", tmp_path / "whole", "--components").code == 0
    assert (evaluation_dir(tmp_path / "whole", "road_anomaly") / "metrics.json").read_bytes() in figures(tmp_path)


def test_a_shard_alone_is_mended_if_it_is_named(evaluate: Evaluate, tmp_path: Path) -> None:
    for number in (1, 2):
        assert evaluate("--shard", f"{number}/3").code == 0
        shard(tmp_path, number).write_bytes(b"half")
    refused = evaluate("--shard", "2/3")
    assert refused.code == 3
    assert re.search(r"shard-002-of-003\.npz: damaged shard .*--only-missing", refused.err)
    finished = evaluate("--shard", "2/3", "--only-missing")
    assert finished.code == 0, finished.err
    assert "to evaluate: 2/3 (damaged)" in finished.err
    assert shard(tmp_path, 1).read_bytes() == b"half"
    assert not shard(tmp_path, 3).exists()
    assert "when all 3 shards are there: abet merge" in finished.err


def test_where_nothing_was_begun_the_number_of_shards_must_be_said(evaluate: Evaluate, tmp_path: Path) -> None:
    finished = evaluate("--only-missing")
    assert finished.code == 2
    assert "no evaluation of road_anomaly was begun" in finished.err
    assert "--shard 1/N" in finished.err
    assert not (tmp_path / "run").exists()
    assert evaluate("--only-missing", "--shard", "3/3").code == 0
    assert shard(tmp_path, 3).exists()


def test_a_shard_of_something_else_is_not_replaced(evaluate: Evaluate, tmp_path: Path) -> None:
    assert evaluate("--shard", "1/3").code == 0
    shard(tmp_path, 2).write_bytes(shard(tmp_path, 1).read_bytes())
    finished = evaluate("--only-missing")
    assert finished.code == 3
    assert "shard-002-of-003.npz: holds shard 001 of 003" in finished.err
    assert "remove it" in finished.err
    assert shard(tmp_path, 2).read_bytes() == shard(tmp_path, 1).read_bytes()


def test_other_options_than_those_of_the_evaluation_are_refused(evaluate: Evaluate) -> None:
    assert evaluate("--shard", "1/3").code == 0
    finished = evaluate("--only-missing", "--limit", 3)
    assert finished.code == 2
    assert "images 4 there, 3 here" in finished.err
    assert "leave out: --limit\n" in finished.err


def test_the_options_that_were_forgotten_are_named_and_mend_it(evaluate: Evaluate, tmp_path: Path) -> None:
    assert evaluate("--shard", "1/3", "--protocols", "--scores", "abet,msp", "--limit", 3).code == 0
    forgotten = evaluate("--only-missing")
    assert forgotten.code == 2
    assert "; images 3 there, 4 here; " in forgotten.err
    (line,) = (line for line in forgotten.err.splitlines() if "add or change: " in line)
    options = line.partition("add or change: ")[2]
    assert {option.strip() for option in options.split("--")} == {"", "limit 3", "protocols", "scores abet,msp"}
    mended = evaluate("--only-missing", *options.split())
    assert mended.code == 0, mended.err
    assert shard(tmp_path, 3).exists()
    unsharded = evaluate(*options.split())
    assert unsharded.code == 2
    assert "add or change: --only-missing\n" in unsharded.err


def test_a_whole_shard_that_comes_while_the_damaged_one_is_mended_is_kept(
    learned: Detector, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    one = Evaluation(detector=learned, dataset=mixed_sizes, scores=("msp",))
    path = one.run_shard(tmp_path / "run", 1)
    whole = path.read_bytes()
    path.write_bytes(b"half")
    seen = version_of(path)

    def somebody_is_faster(_path: Path) -> None:
        path.write_bytes(whole)

    assert not one.mend_shard(tmp_path / "run", 1, seen=seen, agree=somebody_is_faster)
    assert path.read_bytes() == whole
    path.write_bytes(b"half again")
    assert one.mend_shard(tmp_path / "run", 1, seen=version_of(path))
    assert path.read_bytes() == whole
    assert merge(tmp_path / "run", "road_anomaly")["images"] == 5
