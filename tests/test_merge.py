"""What is added up: all shards of one evaluation, and nothing else."""

from pathlib import Path

import pytest

from abet.data.index import Dataset
from abet.detector import Detector
from abet.errors import DataError
from abet.evaluate import Evaluation
from abet.merge import merge
from abet.run import shard_path
from tests.evaluations import ALL, evaluate


def test_missing_shards_are_named(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    Evaluation(detector=learned, dataset=mixed_sizes, scores=ALL, shards=3).run_shard(tmp_path / "run", 2)
    with pytest.raises(DataError, match=r"2 of 3 shards missing: 1/3, 3/3"):
        merge(tmp_path / "run", "road_anomaly")


def test_no_shard_at_all_says_what_to_run(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    evaluate(learned, mixed_sizes, tmp_path / "run")
    with pytest.raises(DataError, match="no shards; run `abet evaluate --dataset lost_and_found"):
        merge(tmp_path / "run", "lost_and_found")
    with pytest.raises(DataError, match="nothing is evaluated here"):
        merge(tmp_path / "absent", "road_anomaly")


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_shard_is_named(learned: Detector, mixed_sizes: Dataset, tmp_path: Path, keep: float) -> None:
    evaluate(learned, mixed_sizes, tmp_path / "run")
    path = shard_path(tmp_path / "run", "road_anomaly", 1, 1)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=r"shard-001-of-001\.npz: damaged shard"):
        merge(tmp_path / "run", "road_anomaly")


def test_shards_of_two_partitions_are_refused(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    evaluate(learned, mixed_sizes, tmp_path / "run")
    path = shard_path(tmp_path / "run", "road_anomaly", 1, 1)
    path.with_name("shard-001-of-002.npz").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="shards of 1 and of 2"):
        merge(tmp_path / "run", "road_anomaly")


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())


def test_a_shard_of_another_model_is_refused(
    learned: Detector, plain: Detector, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    evaluate(learned, mixed_sizes, tmp_path / "a", shards=2)
    evaluate(plain, mixed_sizes, tmp_path / "b", shards=2)
    copy(*(shard_path(tmp_path / run, "road_anomaly", 2, 2) for run in "ba"))
    with pytest.raises(DataError, match=f"checkpoint_sha256 {plain.sha256[:12]} there, {learned.sha256[:12]} here"):
        merge(tmp_path / "a", "road_anomaly")


def test_a_shard_of_another_selection_is_refused(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    evaluate(learned, mixed_sizes, tmp_path / "a", shards=2)
    evaluate(learned, mixed_sizes.select(limit=4), tmp_path / "b", shards=2)
    copy(*(shard_path(tmp_path / run, "road_anomaly", 2, 2) for run in "ba"))
    with pytest.raises(DataError, match=r"another evaluation.*images 4 there, 5 here; list_sha256"):
        merge(tmp_path / "a", "road_anomaly")


def test_a_shard_under_another_name_is_refused(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    evaluate(learned, mixed_sizes, tmp_path, shards=2)
    copy(*(shard_path(tmp_path, "road_anomaly", number, 2) for number in (1, 2)))
    with pytest.raises(DataError, match=r"shard-002-of-002\.npz: holds shard 001 of 002"):
        merge(tmp_path, "road_anomaly")


def test_a_shard_of_another_data_set_is_refused(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    evaluate(learned, mixed_sizes, tmp_path)
    copy(*(shard_path(tmp_path, dataset, 1, 1) for dataset in ("road_anomaly", "lost_and_found")))
    with pytest.raises(DataError, match="dataset 'road_anomaly' there, 'lost_and_found' here"):
        merge(tmp_path, "lost_and_found")
