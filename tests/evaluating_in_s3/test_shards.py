"""Shards of a run in S3: never are two evaluations mixed into one, and what was computed is not lost."""

import json
import multiprocessing
import os
import re
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from abet.detector import Detector, load_detector
from abet.errors import DataError, UsageError
from abet.evaluate import Evaluation
from abet.merge import merge_in
from abet.mirror import mirrored, pull_evaluation, pull_results
from abet.places import Place, S3Uri
from abet.report.runs import load_run
from abet.shard_set import missing_shards
from abet.site import SiteConfig, load_site
from abet.storage import Storage, StorageUnavailable
from tests.conftest import Cli
from tests.evaluating_in_s3.common import RUN, SET, evaluation, put_tree, uri_of
from tests.s3_server import S3Server


def run_shard(one: Evaluation, run: S3Uri, shard: int, site: SiteConfig) -> bool:
    """As the command does it; whether the shard is ours."""
    with mirrored(run, site) as mirror:
        pull_evaluation(mirror, "road_anomaly", shard=(shard, one.shards))
        return mirror.push_new(one.run_shard(mirror.folder, shard, agree=mirror.agree))


def test_a_shard_that_is_there_is_kept(learned: Detector, bucket: Storage, run: S3Uri, tmp_path: Path) -> None:
    site, one = load_site(), evaluation(learned, tmp_path / "ra")
    assert run_shard(one, run, 1, site)
    assert missing_shards(run, "road_anomaly", 2, site) == [2]
    version = bucket.read(f"{RUN}/{SET}/shard-001-of-002.npz")[1]
    assert not run_shard(one, run, 1, site)
    assert bucket.read(f"{RUN}/{SET}/shard-001-of-002.npz")[1] == version


def test_a_shard_that_came_while_ours_was_computed_is_kept(
    learned: Detector, bucket: Storage, run: S3Uri, tmp_path: Path
) -> None:
    site, one = load_site(), evaluation(learned, tmp_path / "ra")
    with mirrored(run, site) as mirror:
        pull_evaluation(mirror, "road_anomaly", shard=(1, 2))
        ours = one.run_shard(mirror.folder, 1, agree=mirror.agree)
        bucket.write(f"{RUN}/{SET}/shard-001-of-002.npz", b"theirs", expect=None)
        assert not mirror.push_new(ours)
    assert bucket.read(f"{RUN}/{SET}/shard-001-of-002.npz")[0] == b"theirs"


def test_the_table_of_images_is_published_and_read_by_the_report(learned: Detector, run: S3Uri, tmp_path: Path) -> None:
    site, one = load_site(), evaluation(learned, tmp_path / "ra", protocols=True)
    for shard in (1, 2):
        assert run_shard(one, run, shard, site)
    merge_in(run, "road_anomaly", site)
    with mirrored(run, site) as mirror:
        pull_results(mirror)
        table = load_run(mirror.folder, place=run).datasets["road_anomaly"].images
    assert table is not None
    assert len(table.images) == 5


def test_missing_shards_are_named_before_any_is_fetched(
    cli: Cli, learned: Detector, run: S3Uri, tmp_path: Path
) -> None:
    site = load_site()
    run_shard(evaluation(learned, tmp_path / "ra", shards=4), run, 3, site)
    with pytest.raises(DataError, match=rf"^{re.escape(str(run))}/{SET}: 3 of 4 shards missing: 1/4, 2/4, 4/4"):
        merge_in(run, "road_anomaly", site)
    assert missing_shards(run, "road_anomaly", 4, site) == [1, 2, 4]
    finished = cli("merge", run, "--dataset", "road_anomaly")
    assert finished.code == 3
    with pytest.raises(DataError, match=f"^{re.escape(str(run))}/absent: nothing is evaluated here"):
        merge_in(run / "absent", "road_anomaly", site)


def test_another_checkpoint_is_refused_before_its_pass(
    learned: Detector, plain_checkpoint: Path, run: S3Uri, tmp_path: Path
) -> None:
    site = load_site()
    run_shard(evaluation(learned, tmp_path / "ra"), run, 1, site)
    other = evaluation(load_detector(plain_checkpoint, device="cpu"), tmp_path / "ra")
    with pytest.raises(
        UsageError, match=rf"^{re.escape(str(run))} holds the run of another checkpoint.*choose another --output"
    ):
        run_shard(other, run, 2, site)
    with pytest.raises(UsageError, match=r"another evaluation of road_anomaly \(different: shards 2 there, 3 here"):
        run_shard(evaluation(learned, tmp_path / "ra", shards=3), run, 2, site)
    assert missing_shards(run, "road_anomaly", 2, site) == [2]


def test_a_prefix_of_other_files_is_refused_and_untouched(learned: Detector, bucket: Storage, tmp_path: Path) -> None:
    before = bucket.list("sets/")
    photos = uri_of(bucket) / "sets"
    with pytest.raises(UsageError, match=rf"^{photos} is not empty and not a run directory"):
        run_shard(evaluation(learned, tmp_path / "ra"), photos, 1, load_site())
    assert bucket.list("sets/") == before


Racer = tuple[Path, int]
"""Checkpoint and shard that one process goes for."""


def race(racer: Racer, runs: Sequence[Place], root: Path, site: SiteConfig, start: Any, results: Any) -> None:
    """One process of a race for each run in turn: everything is read, then all go."""
    weights, shard = racer
    one = evaluation(load_detector(weights, device="cpu"), root)
    for run in runs:
        with mirrored(run, site) as mirror:
            pull_evaluation(mirror, "road_anomaly", shard=(shard, 2))
            start.wait()
            try:
                results.put((run, weights, mirror.push_new(one.run_shard(mirror.folder, shard, agree=mirror.agree))))
            except UsageError as error:
                results.put((run, weights, str(error)))


def race_all(racers: list[Racer], runs: Sequence[Place], root: Path) -> list[tuple[Place, Path, bool | str]]:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(len(racers)), context.Queue()
    processes = [
        context.Process(target=race, args=(racer, runs, root, load_site(), start, results)) for racer in racers
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in range(len(processes) * len(runs))]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return found


@pytest.mark.faults
def test_shards_that_start_at_the_same_moment_agree(learned_checkpoint: Path, run: S3Uri, tmp_path: Path) -> None:
    runs = [run / str(number) for number in range(3)]
    found = race_all([(learned_checkpoint, 1), (learned_checkpoint, 2)], runs, tmp_path / "ra")
    assert [won for _, _, won in found] == [True] * 6
    assert [merge_in(each, "road_anomaly", load_site())["images"] for each in runs] == [5, 5, 5]


@pytest.mark.faults
def test_of_two_checkpoints_that_race_for_a_run_one_is_evaluated_whole(
    learned_checkpoint: Path, plain_checkpoint: Path, bucket: Storage, run: S3Uri, tmp_path: Path
) -> None:
    runs = [run / str(number) for number in range(5)]
    found = race_all([(learned_checkpoint, 1), (plain_checkpoint, 1)], runs, tmp_path / "ra")
    for each in runs:
        ends = {weights: won for place, weights, won in found if place == each}
        (winner,) = (weights for weights, won in ends.items() if won is True)
        (refusal,) = (won for won in ends.values() if won is not True)
        assert "holds the run of another checkpoint" in str(refusal)
        config = yaml.safe_load(bucket.read(f"{RUN}/{each.name}/config.yaml")[0])
        assert config["checkpoint"]["uri"] == str(winner.resolve())
        shared = json.loads(bucket.read(f"{RUN}/{each.name}/{SET}/evaluation.json")[0])
        assert shared["checkpoint_sha256"] == config["checkpoint"]["sha256"]


@pytest.mark.faults
def test_results_that_find_no_server_are_kept_and_said_to_be(
    learned: Detector, s3: S3Server, bucket: Storage, run: S3Uri, tmp_path: Path
) -> None:
    site = load_site()
    impatient = site.model_copy(update={"s3": site.s3.model_copy(update={"patience_seconds": 1})})

    def evaluate_while_the_server_dies() -> None:
        with mirrored(run, impatient) as mirror:
            shard = evaluation(learned, tmp_path / "ra").run_shard(mirror.folder, 1, agree=mirror.agree)
            s3.kill()
            mirror.push_new(shard)

    with pytest.raises(StorageUnavailable) as caught:
        evaluate_while_the_server_dies()
    (kept,) = (tmp_path / "scratch").glob("run-*")
    assert str(caught.value).endswith(f"What was computed is kept: abet sync {kept} {shlex.quote(str(run))}")
    s3.start()
    put_tree(bucket, kept, RUN)
    assert missing_shards(run, "road_anomaly", 2, site) == [2]


def test_what_a_killed_evaluation_leaves_is_removed_by_the_next_and_nothing_else_is(run: S3Uri, tmp_path: Path) -> None:
    site = load_site()
    for kept in ("run-kept", "data", "checkpoints"):
        (tmp_path / "scratch" / kept).mkdir(parents=True)
    with mirrored(run, site) as mirror:
        (mirror.folder / "shard").touch()
        context = multiprocessing.get_context("fork")
        killed = context.Process(target=die_within, args=(run, site))
        killed.start()
        killed.join()
        assert killed.exitcode == -signal.SIGKILL
        assert len(list((tmp_path / "scratch").glob("run-*"))) == 3
        with mirrored(run, site):
            pass
        assert {path.name for path in (tmp_path / "scratch").glob("run-*")} == {"run-kept", mirror.folder.name}
        assert (mirror.folder / "shard").exists()
    assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) == ["checkpoints", "data", "run-kept"]


def die_within(run: S3Uri, site: SiteConfig) -> None:
    with mirrored(run, site):
        os.kill(os.getpid(), signal.SIGKILL)
