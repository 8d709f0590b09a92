"""Evaluation with everything in S3: the same bytes as on a disk, and never two evaluations mixed into one."""

import json
import multiprocessing
import os
import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from abet import checkpoint
from abet.detector import Detector, load_detector
from abet.errors import DataError, UsageError
from abet.evaluate import Evaluation
from abet.merge import merge_in
from abet.mirror import mirrored, pull_evaluation
from abet.places import S3Uri
from abet.shard_set import missing_shards
from abet.site import SiteConfig, load_site
from abet.storage import Storage, StorageUnavailable, open_storage
from tests.conftest import Cli, Finished, random_weights
from tests.s3_server import S3Server
from tests.trees import make_road_anomaly

SET = "evaluation/road_anomaly"
RUN = "the doctor's $(run) #1"
"""A prefix that is wrong wherever it is not quoted."""
EVALUATE = ("evaluate", "--dataset", "road_anomaly", "--device", "cpu", "--scores", "abet,msp")


@pytest.fixture
def bucket(s3: S3Server, tmp_path: Path) -> Storage:
    """A bucket that holds a checkpoint, a training run and a data set, and a site file that knows the server."""
    uri = S3Uri(s3.bucket())
    site = {
        "artifacts": f"{uri}/artifacts",
        "scratch": str(tmp_path / "scratch"),
        "data": {"road_anomaly": f"{uri}/sets/road_anomaly"},
        "s3": {"endpoint": s3.endpoint, "region": "us-east-1", "patience_seconds": 5},
    }
    Path("abet.site.yaml").write_text(yaml.safe_dump(site))
    storage = open_storage(uri, s3.settings)
    make_road_anomaly(tmp_path / "ra", count=5)
    put_tree(storage, tmp_path / "ra", "sets/road_anomaly")
    for number, head in enumerate(("learned", "none"), 1):
        checkpoint.save(random_weights(head), tmp_path / f"step-{number}")
        put_tree(storage, tmp_path / f"step-{number}", f"weights/{head}")
    put_tree(storage, tmp_path / "step-1", "artifacts/run/checkpoints/step-00000010-g0001")
    storage.write("artifacts/run/checkpoints/best.json", b'{"step": 10, "miou": 0.5}', expect=None)
    storage.write("artifacts/run/config.yaml", b"data: {dataset: cityscapes}", expect=None)
    storage.write("artifacts/run/owner.json", b"{}", expect=None)
    return storage


def put_tree(storage: Storage, folder: Path, name: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            storage.upload(path, f"{name}/{path.relative_to(folder).as_posix()}")


def done(finished: Finished) -> Finished:
    assert finished.code == 0, finished.err
    return finished


def figures(read: Callable[[str], bytes]) -> bytes:
    return read(f"{SET}/metrics.json") + read(f"{SET}/curves.json")


def in_run(storage: Storage, run: str) -> Callable[[str], bytes]:
    return lambda name: storage.read(f"{run}/{name}")[0]


def on_disk(folder: Path) -> Callable[[str], bytes]:
    return lambda name: (folder / name).read_bytes()


def test_shards_in_s3_in_any_order_give_the_bytes_of_one_local_pass(cli: Cli, bucket: Storage, tmp_path: Path) -> None:
    source = ("--checkpoint", f"{bucket.place}/weights/learned")
    local = ("--data-root", tmp_path / "ra", "--output", tmp_path / "local")
    done(cli(*EVALUATE, *source, *local))
    wanted = figures(on_disk(tmp_path / "local"))
    assert json.loads(on_disk(tmp_path / "local")(f"{SET}/metrics.json"))["checkpoint"]["uri"] == source[1]

    for shard in (3, 1, 4, 2):
        finished = done(cli(*EVALUATE, *source, "--shard", f"{shard}/4"))
        assert f"wrote {bucket.place}/artifacts/learned/{SET}/shard-{shard:03d}-of-004.npz" in finished.err
    done(cli("merge", f"{bucket.place}/artifacts/learned", "--dataset", "road_anomaly"))
    assert figures(in_run(bucket, "artifacts/learned")) == wanted

    done(cli(*EVALUATE, *source, "--output", f"{bucket.place}/elsewhere"))
    assert figures(in_run(bucket, "elsewhere")) == wanted
    names = {entry.name for entry in bucket.list("elsewhere/")}
    assert {name for name in names if "/samples/" not in name} == {
        "elsewhere/config.yaml",
        "elsewhere/run.json",
        *(f"elsewhere/{SET}/{name}" for name in ("evaluation.json", "metrics.json", "curves.json")),
        f"elsewhere/{SET}/shard-001-of-001.npz",
    }
    assert len(names) == 6 + 5
    assert [path.name for path in (tmp_path / "scratch").iterdir() if path.name.startswith("run-")] == []


def test_a_run_that_was_trained_in_s3_is_evaluated_into_itself_by_its_best_step(
    cli: Cli, bucket: Storage, tmp_path: Path
) -> None:
    run = f"{bucket.place}/artifacts/run"
    local = ("--data-root", tmp_path / "ra", "--samples", 0)
    done(cli(*EVALUATE, "--checkpoint", run, *local, "--shard", "1/2"))
    done(cli(*EVALUATE, "--checkpoint", f"{run}/checkpoints/step-00000010-g0001", *local, "--shard", "2/2"))
    site = load_site()
    assert missing_shards(S3Uri(bucket.place.bucket, "artifacts/run"), "road_anomaly", 2, site) == []
    metrics = merge_in(S3Uri(bucket.place.bucket, "artifacts/run"), "road_anomaly", site)
    assert metrics["checkpoint"]["uri"] == f"{run}/checkpoints/step-00000010-g0001"
    # Named, the checkpoint is compared with that of the shards
    done(cli("merge", run, "--dataset", "road_anomaly", "--checkpoint", run))
    other = cli("merge", run, "--dataset", "road_anomaly", "--checkpoint", f"{bucket.place}/weights/none")
    assert other.code == 2
    assert "and not the checkpoint that was asked for" in other.err
    assert bucket.read("artifacts/run/config.yaml")[0] == b"data: {dataset: cityscapes}"
    assert yaml.safe_load(bucket.read("artifacts/run/evaluation/config.yaml")[0])["checkpoint"] == metrics["checkpoint"]


@pytest.mark.faults
def test_a_report_of_runs_in_s3_can_lie_there_too(cli: Cli, bucket: Storage, tmp_path: Path) -> None:
    for name in ("learned", "none"):
        done(cli(*EVALUATE, "--checkpoint", f"{bucket.place}/weights/{name}", "--samples", 1))
    runs = [f"{bucket.place}/artifacts/{name}" for name in ("learned", "none")]
    done(cli("report", *runs, "--output", f"{bucket.place}/pages/report.html"))
    page = bucket.read("pages/report.html")[0].decode()
    assert "learned" in page
    assert "run-" not in page  # the name of a folder of this machine
    done(cli("report", *runs, "--matrix", tmp_path / "matrix.png", "--device", "cpu"))
    assert (tmp_path / "matrix.png").stat().st_size > 10_000


def test_the_promoted_checkpoint_in_s3_is_used_and_other_weights_there_are_refused(
    cli: Cli, bucket: Storage, tmp_path: Path
) -> None:
    done(cli("checkpoint", "promote", f"{bucket.place}/weights/learned"))
    arguments = (*EVALUATE, "--samples", 0, "--limit", 1)
    assert f"checkpoint: {bucket.place}/weights/learned (promotion 1" in done(cli(*arguments)).err
    put_tree(bucket, tmp_path / "step-2", "weights/learned")
    finished = cli(*arguments, "--output", tmp_path / "other")
    assert finished.code == 3
    assert f"abet checkpoint promote {bucket.place}/weights/learned" in finished.err


def test_controls_are_scored_into_s3_as_onto_a_disk(cli: Cli, bucket: Storage, tmp_path: Path) -> None:
    from tests.trees import make_cityscapes

    make_cityscapes(tmp_path / "c", count=2)
    known = ("--dataset", "road_anomaly", "--train-root", tmp_path / "c")
    done(cli("controls", *known, "--data-root", tmp_path / "ra", "--output", tmp_path / "local"))
    done(cli("controls", *known))
    assert figures(in_run(bucket, "artifacts/controls")) == figures(on_disk(tmp_path / "local"))
    refused = cli("controls", *known, "--output", f"{bucket.place}/artifacts/run")
    assert refused.code == 2
    assert f"{bucket.place}/artifacts/run is the run of a network" in refused.err


# --- what stands in the run already


@pytest.fixture(scope="module")
def learned(learned_checkpoint: Path) -> Detector:
    return load_detector(learned_checkpoint, device="cpu")


def evaluation(detector: Detector, root: Path, **more: object) -> Evaluation:
    from abet.data.index import open_dataset

    settings = {"scores": ("msp",), "shards": 2, "samples": 0, **more}
    return Evaluation(detector=detector, dataset=open_dataset("road_anomaly", root), **settings)


def run_shard(one: Evaluation, run: S3Uri, shard: int, site: SiteConfig) -> bool:
    """As the command does it; whether the shard is ours."""
    with mirrored(run, site) as mirror:
        pull_evaluation(mirror, "road_anomaly", shard=(shard, one.shards))
        return mirror.push_new(one.run_shard(mirror.folder, shard, agree=mirror.agree))


@pytest.fixture
def run(bucket: Storage) -> S3Uri:
    return S3Uri(bucket.place.bucket, RUN)


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
    photos = S3Uri(bucket.place.bucket, "sets")
    with pytest.raises(UsageError, match=rf"^{photos} is not empty and not a run directory"):
        run_shard(evaluation(learned, tmp_path / "ra"), photos, 1, load_site())
    assert bucket.list("sets/") == before


Racer = tuple[Path, int]
"""Checkpoint and shard that one process goes for."""


def race(racer: Racer, runs: list[S3Uri], root: Path, site: SiteConfig, start: Any, results: Any) -> None:
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


def race_all(racers: list[Racer], runs: list[S3Uri], root: Path) -> list[tuple[S3Uri, Path, bool | str]]:
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


# --- S3 says no, or nothing


def test_what_cannot_be_written_is_refused_before_any_work(
    cli: Cli, s3: S3Server, bucket: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = ("--checkpoint", f"{bucket.place}/weights/learned")
    finished = cli(*EVALUATE, *source, "--output", "s3://no-such-bucket/run")
    assert finished.code == 2
    assert "there is no bucket 'no-such-bucket'" in finished.err
    for name, value in s3.readonly_env.items():
        monkeypatch.setenv(name, value)
    for arguments in ((*EVALUATE, *source), ("merge", f"{bucket.place}/artifacts/run", "--dataset", "road_anomaly")):
        finished = cli(*arguments)
        assert finished.code == 2
        assert "s3:PutObject" in finished.err
        assert "loaded" not in finished.err
    assert not (tmp_path / "scratch").exists()


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


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("predict", "--input", "s3://models/a", "--output", "out"), "--input"),
        (("predict", "--input", "a.png", "--output", "s3://models/out"), "--output"),
        (
            ("predict", "--input", "a.png", "--output", "out", "--threshold-from", "s3://models/m.json"),
            "--threshold-from",
        ),
        (("report", "run", "--matrix", "s3://models/m.png"), "--matrix"),
    ],
)
def test_where_s3_makes_no_sense_it_is_refused_with_a_way_out(
    cli: Cli, arguments: tuple[str, ...], option: str
) -> None:
    finished = cli(*arguments)
    assert finished.code == 2
    assert f"{option} s3://models/" in finished.err
    assert "abet sync" in finished.err
