"""What is added up: all shards of one evaluation, and nothing else."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abet.data.index import Dataset
from abet.detector import Detector
from abet.errors import DataError
from abet.evaluate import Evaluation
from abet.files import write_json
from abet.merge import IMAGES, merge
from abet.run import DESCRIPTION, evaluation_dir, shard_path
from abet.shards import read_shard, write_shard
from tests.evaluations import ALL, evaluate
from tests.shard_files import begin, put, result


def test_missing_shards_are_named(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    Evaluation(detector=learned, dataset=mixed_sizes, scores=ALL, shards=3).run_shard(tmp_path / "run", 2)
    with pytest.raises(DataError, match=r"2 of 3 shards missing: 1/3, 3/3"):
        merge(tmp_path / "run", "road_anomaly")


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    paths = {number: shard_path(run, "road_anomaly", number, 8) for number in range(1, 9)}
    put(run, 8, 1, 2, 3, 6, 8)
    paths[2].write_bytes(b"")
    paths[6].write_bytes(paths[6].read_bytes()[:-100])
    put(run, 8, 4, abet="0.0.1")
    put(run, 8, 7, format=0, abet="0.0.1")
    copy(paths[3], paths[8])
    with pytest.raises(DataError) as caught:
        merge(run, "road_anomaly")
    first, *others, last = str(caught.value).split("\n")
    assert first == f"{paths[1].parent}: 1 of 8 shards missing: 5/8"
    assert [line.partition(" (")[0].strip() for line in others] == [
        "shard-002-of-008.npz: damaged shard",
        "shard-004-of-008.npz: is of another evaluation",
        "shard-006-of-008.npz: damaged shard",
        "shard-007-of-008.npz: shard of format 0",
        "shard-008-of-008.npz: holds shard 003 of 008",
    ]
    assert "(different: abet '0.0.1' there," in others[1]
    assert last.startswith("remove shard-004-of-008.npz, shard-007-of-008.npz, shard-008-of-008.npz first: ")
    assert "--only-missing" in last
    assert not (paths[1].parent / "metrics.json").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scores", ["msp"]),
        ("list_sha256", "c" * 64),
        ("arithmetic", "other"),
        ("ood_definition", "image"),
        ("abet", "9"),
    ],
)
def test_a_mixture_is_refused_by_name(tmp_path: Path, key: str, value: object) -> None:
    run = begin(tmp_path / "run")
    put(run, 3, 1, 2, 3)
    put(run, 3, 2, **{key: value})
    with pytest.raises(DataError, match=r"1 of 3 shards .*\n  shard-002-of-003\.npz: .*"):
        merge(run, "road_anomaly")


def test_what_the_evaluation_says_of_itself_decides(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    put(run, 2, 1, 2)
    folder = evaluation_dir(run, "road_anomaly")
    shared = read_shard(shard_path(run, "road_anomaly", 1, 2)).fingerprint
    write_json(folder / DESCRIPTION, {**shared, "abet": "9.0", "data_root": "/data", "started": {}})
    with pytest.raises(DataError, match="2 of 2 shards cannot be added up"):
        merge(run, "road_anomaly")
    write_json(folder / DESCRIPTION, {**shared, "data_root": "/data", "started": {}})
    assert merge(run, "road_anomaly")["images"] == 8


def test_shards_that_hold_fewer_images_than_the_evaluation_are_refused(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    put(run, 2, 1, total=9)
    write_shard(shard_path(run, "road_anomaly", 2, 2), result([1, 3, 5], 2, 2, total=9))
    with pytest.raises(DataError, match="the shards hold 8 of 9 images; remove them and evaluate again"):
        merge(run, "road_anomaly")
    assert not (evaluation_dir(run, "road_anomaly") / "metrics.json").exists()


def test_no_table_of_images_stays_of_an_evaluation_before_this_one(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    table = evaluation_dir(run, "road_anomaly") / IMAGES
    write_shard(shard_path(run, "road_anomaly", 1, 1), result(range(8), 1, 1, total=8, protocols=True))
    merge(run, "road_anomaly")
    assert table.exists()
    put(run, 1, 1)
    merge(run, "road_anomaly")
    assert not table.exists()


@settings(max_examples=12)
@given(data=st.data())
def test_any_partition_in_any_order_and_with_any_repetition_gives_the_same_bytes(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("partition")
    images = data.draw(st.permutations(range(6)))
    cuts = sorted(data.draw(st.sets(st.integers(1, 5))))
    parts = dict(enumerate((part.tolist() for part in np.split(np.array(images), cuts)), 1))
    shards = len(parts)
    work = data.draw(st.permutations([*parts, *data.draw(st.lists(st.sampled_from(list(parts)), max_size=4))]))
    run = begin(folder / "run")
    for number in work:
        path = shard_path(run, "road_anomaly", number, shards)
        write_shard(path, result(parts[number], number, shards, total=6))
        if data.draw(st.booleans()):
            path.write_bytes(path.read_bytes()[: data.draw(st.integers(0, 400))])
            with pytest.raises(DataError):
                merge(run, "road_anomaly")
            write_shard(path, result(parts[number], number, shards, total=6))
    merge(run, "road_anomaly")
    found = evaluation_dir(run, "road_anomaly")
    assert found.joinpath("metrics.json").read_bytes() == of_one_pass()[0]
    assert found.joinpath("curves.json").read_bytes() == of_one_pass()[1]


@cache
def of_one_pass() -> tuple[bytes, bytes]:
    with TemporaryDirectory() as folder:
        run = begin(Path(folder) / "run")
        put(run, 1, 1, total=6)
        merge(run, "road_anomaly")
        found = evaluation_dir(run, "road_anomaly")
        return found.joinpath("metrics.json").read_bytes(), found.joinpath("curves.json").read_bytes()


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
