"""Damaged shards in S3 are replaced, and two writers of one shard end in the same bytes wherever the run lies."""

from pathlib import Path

import pytest

from abet.detector import Detector
from abet.merge import merge_in
from abet.mirror import mirrored, pull_evaluation
from abet.places import S3Uri
from abet.run import evaluation_dir, shard_path
from abet.site import load_site
from abet.storage import Storage, open_storage
from tests.conftest import Cli
from tests.evaluating_in_s3.common import RUN, SET, done, evaluation
from tests.evaluating_in_s3.test_shards import race_all, run_shard

EVALUATE = ("evaluate", "--dataset", "road_anomaly", "--device", "cpu", "--scores", "msp", "--samples", "0")


def test_missing_and_damaged_shards_are_evaluated_and_merged(
    cli: Cli, learned: Detector, learned_checkpoint: Path, bucket: Storage, run: S3Uri, tmp_path: Path
) -> None:
    site, one = load_site(), evaluation(learned, tmp_path / "ra", shards=3)
    for number in (1, 2):
        run_shard(one, run, number, site)
    names = {number: f"{RUN}/{SET}/shard-{number:03d}-of-003.npz" for number in (1, 2, 3)}
    whole, version = bucket.read(names[1])[0], bucket.read(names[2])[1]
    bucket.write(names[1], whole[:-20], expect=None)
    refused = cli("merge", run, "--dataset", "road_anomaly")
    assert refused.code == 3
    assert "1 of 3 shards missing: 3/3" in refused.err
    assert "shard-001-of-003.npz: damaged shard" in refused.err

    source = ("--checkpoint", learned_checkpoint, "--data-root", tmp_path / "ra", "--output", run)
    finished = done(cli(*EVALUATE, *source, "--only-missing"))
    assert "to evaluate: 1/3 (damaged), 3/3 (missing)" in finished.err
    assert bucket.read(names[1])[0] == whole
    assert bucket.read(names[2])[1] == version
    assert merge_in(run, "road_anomaly", site)["images"] == 5
    assert ".abet.lock" not in {entry.name.rpartition("/")[2] for entry in bucket.list(f"{RUN}/")}


def test_a_whole_shard_that_comes_while_the_damaged_one_is_mended_is_kept(
    learned: Detector, bucket: Storage, run: S3Uri, tmp_path: Path
) -> None:
    site, one, name = load_site(), evaluation(learned, tmp_path / "ra"), f"{RUN}/{SET}/shard-001-of-002.npz"
    run_shard(one, run, 1, site)
    bucket.write(name, b"half", expect=None)
    with mirrored(run, site) as mirror:
        pull_evaluation(mirror, "road_anomaly", shard=(1, 2))
        path = shard_path(mirror.folder, "road_anomaly", 1, 2)
        seen = mirror.version(path)
        bucket.write(name, b"theirs, whole", expect=None)
        assert not mirror.push_new(path, damaged=seen)
    assert bucket.read(name)[0] == b"theirs, whole"


@pytest.mark.faults
@pytest.mark.parametrize("where", ["folder", "S3"])
def test_two_processes_with_one_shard_end_in_the_same_bytes(
    where: str, learned: Detector, learned_checkpoint: Path, run: S3Uri, tmp_path: Path
) -> None:
    runs = [(tmp_path if where == "folder" else run) / f"run{number}" for number in range(3)]
    found = race_all([(learned_checkpoint, 1), (learned_checkpoint, 1)], runs, tmp_path / "ra")
    alone = evaluation(learned, tmp_path / "ra").run_shard(tmp_path / "alone", 1).read_bytes()
    for each in runs:
        ends = sorted(won for place, _, won in found if place == each)
        assert ends == ([True, True] if where == "folder" else [False, True])
        storage = open_storage(evaluation_dir(each, "road_anomaly"), load_site().s3)
        assert storage.read("shard-001-of-002.npz")[0] == alone
        names = {entry.name for entry in storage.list()}
        assert {name for name in names if "shard" in name} == {"shard-001-of-002.npz"}
