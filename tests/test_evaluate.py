"""One pass over a data set: right figures, and the same bytes however the work is split."""

import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from abet import counting
from abet.arithmetic import arithmetic
from abet.data.index import Dataset, open_dataset
from abet.detector import Detector
from abet.errors import UsageError
from abet.evaluate import Evaluation, counting_seconds, estimate_seconds, shard_of
from abet.labels import ID, OOD, VOID
from abet.merge import merge
from abet.metrics.pixel import PixelState
from abet.run import evaluation_dir, shard_path
from abet.scores import Observation
from abet.shards import read_shard
from tests.conftest import Cli
from tests.evaluations import ALL, evaluate
from tests.trees import make_lost_and_found, make_road_anomaly


@pytest.fixture(scope="module")
def metrics(learned: Detector, mixed_sizes: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of all scores on all images."""
    return evaluate(learned, mixed_sizes, tmp_path_factory.mktemp("evaluated") / "run")


@pytest.mark.parametrize("key", ALL)
def test_figures_are_those_of_all_valid_pixels_together(
    learned: Detector, mixed_sizes: Dataset, metrics: dict[str, Any], key: str
) -> None:
    scores, truth = [], []
    for pair in mixed_sizes.pairs:
        image, label = mixed_sizes.read(pair)
        valid = label != VOID
        scores.append(learned.score(image, key)[valid])
        truth.append(label[valid] == OOD)
    entry = metrics["scores"][key]
    auroc = roc_auc_score(np.concatenate(truth), np.concatenate(scores))
    ap = average_precision_score(np.concatenate(truth), np.concatenate(scores))
    assert entry["auroc"]["low"] - 1e-9 <= auroc <= entry["auroc"]["high"] + 1e-9
    assert entry["ap"]["low"] - 1e-9 <= ap <= entry["ap"]["high"] + 1e-9


def test_every_sharding_gives_the_same_bytes(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    contents = set()
    for shards in (1, 2, 3, 5):
        run = tmp_path / str(shards)
        evaluate(learned, mixed_sizes, run, shards=shards)
        folder = evaluation_dir(run, "road_anomaly")
        contents.add((folder / "metrics.json").read_bytes() + (folder / "curves.json").read_bytes())
    assert len(contents) == 1


def test_of_two_images_only_one_is_in_memory_at_full_size(
    learned: Detector, mixed_sizes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    observe, score, there = Detector.observe, counting.score_tensor, list[weakref.ref[Any]]()

    def seen(self: Detector, image: Any, keys: Any) -> Observation:
        assert [each() for each in there if each() is not None] == []
        there.append(weakref.ref(found := observe(self, image, keys)))
        return found

    def scored(key: str, found: Observation) -> torch.Tensor:
        there.append(weakref.ref(raw := score(key, found)))
        return raw

    arithmetic(learned)  # a pass of its own
    monkeypatch.setattr(Detector, "observe", seen)
    monkeypatch.setattr(counting, "score_tensor", scored)
    evaluate(learned, mixed_sizes, tmp_path / "run", scores=("msp", "ash_energy"), protocols=True, samples=1)
    assert len(there) == 5 * 3


def test_shards_may_start_at_the_same_moment(mixed_sizes: Dataset, learned: Detector, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    evaluation = Evaluation(detector=learned, dataset=mixed_sizes, scores=("msp",), shards=5)
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda shard: evaluation.run_shard(tmp_path / "run", shard), range(1, 6)))
    assert merge(tmp_path / "run", "road_anomaly")["images"] == 5


def test_protocols_add_entries_and_change_none(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    two = ("abet", "energy")
    usual = evaluate(learned, mixed_sizes, tmp_path / "usual", scores=two)
    contents = []
    for shards in (1, 3):
        run = tmp_path / str(shards)
        metrics = evaluate(learned, mixed_sizes, run, shards=shards, scores=two, protocols=True)
        folder = evaluation_dir(run, "road_anomaly")
        contents.append((folder / "metrics.json").read_bytes() + (folder / "images.json").read_bytes())
    assert contents[0] == contents[1]
    assert not (evaluation_dir(tmp_path / "usual", "road_anomaly") / "images.json").exists()
    protocols = {key: entry.pop("protocols") for key, entry in metrics["scores"].items()}
    pairs = metrics.pop("paired_differences")
    assert json.dumps(metrics) == json.dumps(usual)
    assert set(protocols["abet"]) == {
        "smiyc-quantile-bins",
        "per-image-mean",
        "image-bootstrap",
        "meta-ood-100-bins",
    }
    assert all(entry["protocol"] == name for named in protocols.values() for name, entry in named.items())
    assert protocols["abet"]["per-image-mean"]["images"] == 5
    assert "meta-ood-100-bins" not in protocols["energy"]
    assert [(pair["score"], pair["minus"]) for pair in pairs] == [two]


def test_evaluations_with_and_without_protocols_do_not_mix(
    learned: Detector, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    for first, second in ((True, False), (False, True)):
        run = tmp_path / str(first)
        options: dict[str, Any] = {"detector": learned, "dataset": mixed_sizes, "scores": ("msp",), "shards": 2}
        Evaluation(**options, protocols=first).run_shard(run, 1)
        with pytest.raises(UsageError, match=f"protocols {first} there, {second} here"):
            Evaluation(**options, protocols=second).run_shard(run, 2)


@pytest.mark.parametrize(("pixels", "patch"), [(9_000, 64 * 128), (10**6, 256 * 512)])
def test_the_time_is_guessed_from_no_more_pixels_than_there_are(
    learned: Detector, monkeypatch: pytest.MonkeyPatch, pixels: int, patch: int
) -> None:
    output, shown = Detector.output, []

    def seen(self: Detector, image: np.ndarray[Any, Any]) -> Any:
        shown.append(image.shape[0] * image.shape[1])
        return output(self, image)

    monkeypatch.setattr(Detector, "output", seen)
    assert estimate_seconds(learned, pixels, ALL) > 0
    assert shown[-1] == patch <= pixels


def test_the_time_of_counting_is_that_of_a_patch_by_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sizes = [0.0], []

    def count(scores: np.ndarray, labels: np.ndarray) -> None:
        PixelState.count(scores, labels)
        sizes.append(scores.size)
        clock[0] += 3.0
        assert set(np.unique(labels)) == {ID, OOD}

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    assert counting_seconds(count, 10_000_000) == pytest.approx(3.0 * 10_000_000 / sizes[-1])
    assert len(sizes) == 2  # the first one warms up


@pytest.mark.parametrize("command", ["calibrate", "components"])
def test_what_is_announced_has_every_pass_and_the_counting_of_each_score(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    make_road_anomaly(tmp_path / "ra", count=2, size=(40, 50))
    data = ("--dataset", "road_anomaly", "--data-root", tmp_path / "ra")
    weights = shutil.copytree(learned_checkpoint, tmp_path / "weights")
    more = ("--checkpoint", weights, "--scores", "abet,msp")
    if command == "components":
        assert cli("evaluate", *data, *more, "--output", tmp_path / "run", "--protocols", "--samples", 0).code == 0
    monkeypatch.setattr("abet.evaluate.estimate_seconds", lambda *_: 3600.0)

    def counted(count: Callable[..., object], pixels: int) -> float:
        assert pixels == 2 * 2 * 40 * 50  # images and scores
        assert count(*patch()) is not None
        return 20 * 3600.0

    monkeypatch.setattr("abet.evaluate.counting_seconds", counted)
    finished = cli(command, *((tmp_path / "run",) if command == "components" else more), *data)
    assert finished.code == 0, finished.err
    assert {"calibrate": "in two passes: 2 images", "components": "components 1/1: 2 images"}[command] in finished.err
    assert f"about {20 + {'calibrate': 2, 'components': 1}[command]} h" in finished.err


def patch() -> tuple[np.ndarray, np.ndarray]:
    scores = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
    return scores, (scores > 1).astype(np.uint8)


def test_shards_partition_the_images(mixed_sizes: Dataset) -> None:
    for shards in range(1, 6):
        parts = [shard_of(mixed_sizes.pairs, shard, shards) for shard in range(1, shards + 1)]
        assert sorted(pair.name for part in parts for pair in part) == [pair.name for pair in mixed_sizes.pairs]


@pytest.mark.parametrize(("shard", "shards"), [(0, 2), (3, 2), (1, 6)])
def test_an_impossible_shard_is_refused(mixed_sizes: Dataset, shard: int, shards: int) -> None:
    with pytest.raises(UsageError, match=f"shard {shard}/{shards}"):
        shard_of(mixed_sizes.pairs, shard, shards)


def test_metrics_json_holds_the_contract(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    evaluate(learned, mixed_sizes, tmp_path / "run")
    text = (evaluation_dir(tmp_path / "run", "road_anomaly") / "metrics.json").read_text()

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not strict JSON")

    metrics = json.loads(text, parse_constant=refuse)
    labels = [mixed_sizes.read(pair)[1] for pair in mixed_sizes.pairs]
    counted = {name: sum(int((label == value).sum()) for label in labels) for name, value in WORDS.items()}
    assert metrics["pixels"] == counted
    assert {key: metrics[key] for key in ("schema", "dataset", "split", "images")} == {
        "schema": 1,
        "dataset": "road_anomaly",
        "split": "test",
        "images": 5,
    }
    assert metrics["checkpoint"] == {"uri": learned.uri, "sha256": learned.sha256}
    entry = metrics["scores"]["abet"]
    assert {"value", "low", "high"} <= entry["auroc"].keys() & entry["ap"].keys()
    assert {"value", "low", "high", "tpr", "threshold"} <= entry["fpr95"].keys()
    assert entry["non_finite"] == {"id": 0, "ood": 0}
    assert {"auroc", "auprc", "fpr95", "tpr", "threshold", "dropped"} <= entry["reference_protocol"].keys()
    assert metrics["scores"]["energy"]["reference_protocol"] is None
    assert metrics["scores"]["energy"]["reference_protocol_reason"]


WORDS = {"id": ID, "ood": OOD, "void": VOID}


def test_a_score_that_the_head_does_not_define_is_null_with_a_reason(
    plain: Detector, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    scores = evaluate(plain, mixed_sizes, tmp_path / "run")["scores"]
    for key in ("abet", "godin", "max_cosine"):
        assert scores[key]["auroc"] is scores[key]["ap"] is scores[key]["fpr95"] is None
        assert "learned" in scores[key]["reason"]
    assert scores["energy"]["auroc"]["value"] is not None


@pytest.mark.parametrize(("kept", "word"), [(ID, "OOD"), (OOD, "ID")])
def test_a_set_of_one_kind_gives_null_figures_with_a_reason(
    learned: Detector, tmp_path: Path, kept: int, word: str
) -> None:
    from PIL import Image

    make_road_anomaly(tmp_path / "ra", count=1)
    for path in (tmp_path / "ra" / "labels").iterdir():
        label = np.asarray(Image.open(path)).copy()
        label[:] = kept
        Image.fromarray(label).save(path)
    metrics = evaluate(learned, open_dataset("road_anomaly", tmp_path / "ra"), tmp_path / "run")
    entry = metrics["scores"]["abet"]
    assert entry["auroc"] is entry["ap"] is entry["fpr95"] is None
    assert word in entry["reason"]
    assert entry["reference_protocol"] is None or entry["reference_protocol"]["auroc"] is None


def test_lost_and_found_is_read_by_its_own_table(learned: Detector, tmp_path: Path) -> None:
    made = make_lost_and_found(tmp_path / "laf", count=2)
    metrics = evaluate(learned, open_dataset("lost_and_found", tmp_path / "laf"), tmp_path / "run")
    assert metrics["pixels"]["ood"] == sum(int((sample.label == OOD).sum()) for sample in made.values())


def test_another_definition_counts_other_pixels_and_stands_with_the_figures(learned: Detector, tmp_path: Path) -> None:
    make_lost_and_found(tmp_path / "laf", count=2)
    usual = evaluate(learned, open_dataset("lost_and_found", tmp_path / "laf"), tmp_path / "usual")
    assert "ood_definition" not in usual, "a default is not named: files of earlier versions hold the same bytes"
    whole = open_dataset("lost_and_found", tmp_path / "laf", definition="image")
    metrics = evaluate(learned, whole, tmp_path / "whole", shards=2)
    assert metrics["ood_definition"] == "image"
    assert read_shard(shard_path(tmp_path / "whole", "lost_and_found", 1, 2)).fingerprint["ood_definition"] == "image"
    assert metrics["pixels"] == {
        "id": usual["pixels"]["id"] + usual["pixels"]["void"],
        "ood": usual["pixels"]["ood"],
        "void": 0,
    }


@pytest.mark.parametrize(("there", "here"), [(None, "image"), ("image", None), ("image", "road_all_objects")])
def test_an_output_of_another_definition_is_refused(
    learned: Detector, tmp_path: Path, there: str | None, here: str | None
) -> None:
    make_lost_and_found(tmp_path / "laf", count=1)
    evaluate(learned, open_dataset("lost_and_found", tmp_path / "laf", definition=there), tmp_path / "run")
    with pytest.raises(UsageError, match=f"ood_definition {there!r} there, {here!r} here"):
        evaluate(learned, open_dataset("lost_and_found", tmp_path / "laf", definition=here), tmp_path / "run")


# --- what may stand in the output folder


def test_a_finished_shard_is_kept(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    evaluate(learned, mixed_sizes, tmp_path / "run")
    path = shard_path(tmp_path / "run", "road_anomaly", 1, 1)
    before = path.stat().st_mtime_ns
    evaluate(learned, mixed_sizes, tmp_path / "run")
    assert path.stat().st_mtime_ns == before


def test_an_output_of_another_checkpoint_is_refused(
    learned: Detector, plain: Detector, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    evaluate(learned, mixed_sizes, tmp_path / "run")
    with pytest.raises(UsageError, match=r"holds the run of another checkpoint.*choose another --output"):
        evaluate(plain, mixed_sizes, tmp_path / "run")


def test_a_merge_of_another_checkpoint_than_was_asked_for_is_refused(
    learned: Detector, plain: Detector, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    metrics = evaluate(learned, mixed_sizes, run)
    assert merge(run, "road_anomaly", sha256=learned.sha256) == metrics
    with pytest.raises(UsageError, match=rf"sha256 {plain.sha256}.*another --output"):
        merge(run, "road_anomaly", sha256=plain.sha256)


def test_an_output_of_another_selection_is_refused(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    evaluate(learned, mixed_sizes, tmp_path / "run")
    with pytest.raises(UsageError, match=r"another evaluation of road_anomaly \(different: images 5 there, 2 here"):
        evaluate(learned, mixed_sizes.select(limit=2), tmp_path / "run")


def test_a_folder_of_other_files_is_refused_and_untouched(
    learned: Detector, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UsageError, match="not empty and not a run directory"):
        evaluate(learned, mixed_sizes, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_shards_of_other_arithmetic_are_refused(
    learned: Detector, mixed_sizes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Evaluation(detector=learned, dataset=mixed_sizes, scores=("msp",), shards=2).run_shard(tmp_path, 1)
    monkeypatch.setattr("torch.get_num_threads", lambda: 64)
    with pytest.raises(UsageError, match=r"arithmetic 'cpu .* 64 threads"):
        Evaluation(detector=learned, dataset=mixed_sizes, scores=("msp",), shards=2).run_shard(tmp_path, 2)


def test_a_shard_survives_its_file(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    evaluate(learned, mixed_sizes, tmp_path / "run", shards=2)
    shard = read_shard(shard_path(tmp_path / "run", "road_anomaly", 1, 2))
    assert (shard.shard, shard.images) == (1, 3)
    assert set(shard.pixel) == set(ALL)
    assert set(shard.reference) == {"abet", "entropy", "msp", "max_logit", "godin"}
