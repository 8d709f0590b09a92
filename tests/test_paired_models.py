"""Two models on the same images: the intervals of `abet.metrics.bootstrap`, from runs' shards, and what they say."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from abet import counting
from abet.cli.comparing import _cells
from abet.data.index import Dataset, open_dataset
from abet.detector import Detector
from abet.errors import DataError, UsageError
from abet.labels import VOID
from abet.metrics.bootstrap import compare, resample
from abet.metrics.image_counts import ImageCounts
from abet.metrics.pixel import PixelState
from abet.metrics.protocols import SEED
from abet.paired_models import choose_pairs, compare_models, read_counts, verdict
from abet.site import SiteConfig
from tests.conftest import Cli
from tests.evaluations import evaluate
from tests.trees import make_road_anomaly

SITE = SiteConfig()
KEYS = ("abet", "entropy", "msp")
OPTIONS = {"scores": KEYS, "samples": 0, "protocols": True}


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("streets")
    make_road_anomaly(root, count=4)
    return open_dataset("road_anomaly", root)


@pytest.fixture(scope="module")
def runs(
    streets: Dataset, learned: Detector, plain: Detector, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    evaluate(learned, streets, folder / "learned", shards=2, **OPTIONS)
    evaluate(plain, streets, folder / "plain", **OPTIONS)
    return {name: folder / name for name in ("learned", "plain")}


def images_of(detector: Detector, data: Dataset, key: str) -> ImageCounts:
    states = []
    for pair in data.pairs:
        image, label = data.read(pair)
        states.append(ImageCounts.count(pair.name, PixelState.count(detector.score(image, key), label)))
    return ImageCounts.merge(*states)


def test_intervals_are_those_of_the_pixels_themselves_however_the_runs_were_sharded(
    runs: dict[str, Path], streets: Dataset, learned: Detector, plain: Detector
) -> None:
    first, second = (read_counts(run, "road_anomaly", SITE) for run in runs.values())
    (entry,) = compare_models(first, second, [("abet", "entropy")])["comparisons"]
    drawn = [
        resample(images_of(*each), seed=SEED) for each in ((learned, streets, "abet"), (plain, streets, "entropy"))
    ]
    wanted = compare(*drawn)
    metrics = [
        json.loads((run / "evaluation/road_anomaly/metrics.json").read_text())["scores"] for run in runs.values()
    ]
    for figure in ("auroc", "ap", "fpr95"):
        assert wanted[figure].items() <= entry[figure].items()
        values = [metrics[0]["abet"][figure]["value"], metrics[1]["entropy"][figure]["value"]]
        assert [entry[figure]["first"], entry[figure]["second"]] == values
        assert entry[figure]["difference"] == values[0] - values[1]
    assert (entry["score"], entry["minus"], entry["images"]) == ("abet", "entropy", 4)


def test_a_model_is_not_told_apart_from_itself(runs: dict[str, Path]) -> None:
    counts = read_counts(runs["plain"], "road_anomaly", SITE)
    (entry,) = compare_models(counts, counts, [("msp", "msp")])["comparisons"]
    for figure in ("auroc", "ap", "fpr95"):
        assert entry[figure]["low"] <= 0 <= entry[figure]["high"]
        assert entry[figure]["verdict"] == "not told apart"


@pytest.mark.parametrize(
    ("figure", "low", "high", "said"),
    [
        ("auroc", 0.01, 0.02, "better"),
        ("ap", -0.02, -0.01, "worse"),
        ("fpr95", 0.01, 0.02, "worse"),
        ("fpr95", -0.02, -0.01, "better"),
        ("auroc", 0.0, 0.02, "not told apart"),
        ("fpr95", -0.01, 0.02, "not told apart"),
    ],
)
def test_what_an_interval_says_of_the_first_model(figure: str, low: float, high: float, said: str) -> None:
    assert verdict(figure, low, high) == said


def test_scores_are_paired_by_name_or_as_told(runs: dict[str, Path]) -> None:
    first, second = (read_counts(run, "road_anomaly", SITE) for run in runs.values())
    assert choose_pairs(first, second, ()) == [("entropy", "entropy"), ("msp", "msp")]
    assert choose_pairs(first, second, ("abet:msp", "msp")) == [("abet", "msp"), ("msp", "msp")]
    with pytest.raises(UsageError, match=r"unknown score of .*plain 'abet'.*A:B compares score A of"):
        choose_pairs(first, second, ("abet",))


def test_other_images_or_another_reading_are_refused(
    runs: dict[str, Path], streets: Dataset, plain: Detector, tmp_path: Path
) -> None:
    first = read_counts(runs["learned"], "road_anomaly", SITE)
    fewer = streets.select(limit=3)
    options = {**OPTIONS, "scores": ("msp",)}
    evaluate(plain, fewer, tmp_path / "fewer", **options)
    with pytest.raises(UsageError, match="pixels"):
        compare_models(first, read_counts(tmp_path / "fewer", "road_anomaly", SITE), [("msp", "msp")])
    renamed = Path(shutil.copytree(streets.root, tmp_path / "renamed"))
    for path in [*renamed.glob("original/*"), *renamed.glob("labels/*")]:
        path.rename(path.with_stem(f"x_{path.stem}"))
    evaluate(plain, open_dataset("road_anomaly", renamed), tmp_path / "other", **options)
    with pytest.raises(UsageError, match="8 images are in one of them alone"):
        compare_models(first, read_counts(tmp_path / "other", "road_anomaly", SITE), [("msp", "msp")])


def test_other_files_of_the_same_names_are_refused_and_the_same_ones_elsewhere_are_not(
    runs: dict[str, Path], streets: Dataset, plain: Detector, tmp_path: Path
) -> None:
    first = read_counts(runs["learned"], "road_anomaly", SITE)
    counted = {}
    for name in ("copy", "blurred"):
        root = Path(shutil.copytree(streets.root, tmp_path / name))
        if name == "blurred":
            for path in (root / "original").iterdir():
                Image.open(path).filter(ImageFilter.GaussianBlur(3)).save(path)
        evaluate(plain, open_dataset("road_anomaly", root), tmp_path / f"of-{name}", **{**OPTIONS, "scores": ("msp",)})
        counted[name] = read_counts(tmp_path / f"of-{name}", "road_anomaly", SITE)
    compare_models(first, counted["copy"], [("msp", "msp")])
    with pytest.raises(UsageError, match=r"the same names from other files.*equal copies of the set"):
        compare_models(first, counted["blurred"], [("msp", "msp")])
    compare_models(first, replace(counted["blurred"], list_sha256=None), [("msp", "msp")])


def test_what_cannot_be_drawn_from_says_how_to_make_it(
    runs: dict[str, Path], streets: Dataset, plain: Detector, tmp_path: Path
) -> None:
    evaluate(plain, streets, tmp_path / "without", **{**OPTIONS, "protocols": False})
    with pytest.raises(DataError, match=r"without what resampling images needs: .* --protocols"):
        read_counts(tmp_path / "without", "road_anomaly", SITE)
    with pytest.raises(DataError, match="abet evaluate"):
        read_counts(tmp_path / "nothing", "road_anomaly", SITE)
    shutil.copytree(runs["learned"], tmp_path / "torn")
    (tmp_path / "torn/evaluation/road_anomaly/shard-002-of-002.npz").unlink()
    with pytest.raises(DataError, match="1 of 2 shards missing"):
        read_counts(tmp_path / "torn", "road_anomaly", SITE)
    mixed = tmp_path / "torn/evaluation/road_anomaly/shard-002-of-002.npz"
    shutil.copy(runs["plain"] / "evaluation/road_anomaly/shard-001-of-001.npz", mixed)
    with pytest.raises(DataError, match="do not belong together"):
        read_counts(tmp_path / "torn", "road_anomaly", SITE)


# --- the command


def test_the_command_prints_what_it_writes(cli: Cli, runs: dict[str, Path], tmp_path: Path) -> None:
    words = ("compare", runs["learned"], runs["plain"], "--dataset", "road_anomaly", "--scores", "abet:entropy,msp")
    finished = cli(*words, "--output", tmp_path / "c.json")
    assert finished.code == 0, finished.err
    result = json.loads((tmp_path / "c.json").read_text())
    assert [(entry["score"], entry["minus"]) for entry in result["comparisons"]] == [
        ("abet", "entropy"),
        ("msp", "msp"),
    ]
    assert np.isclose(result["pixels"]["ood"], 4 * 12 * 16)
    assert "abet : entropy" in finished.out
    for entry in result["comparisons"]:
        assert f"{100 * entry['ap']['low']:+.2f} .. {100 * entry['ap']['high']:+.2f}" in finished.out
        assert entry["ap"]["verdict"] in finished.out
    assert "1,000 draws of 4 images" in finished.out
    refused = cli("compare", runs["learned"], runs["plain"], "--dataset", "road_anomaly", "--scores", "abbet")
    assert (refused.code, "did you mean 'abet'" in refused.err) == (2, True)


def test_a_model_whose_score_is_no_number_is_named(
    cli: Cli, runs: dict[str, Path], streets: Dataset, plain: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_tensor, labels = counting.score_tensor, [streets.read(pair)[1] for pair in streets.pairs]

    def broken(key: str, output: Any) -> Any:
        raw = score_tensor(key, output).clone()
        raw[20:25] = float("nan")
        return raw

    monkeypatch.setattr(counting, "score_tensor", broken)
    evaluate(plain, streets, tmp_path / "broken", **(OPTIONS | {"scores": ("msp",)}))
    words = ("compare", runs["plain"], tmp_path / "broken", "--dataset", "road_anomaly", "--scores", "entropy:msp,msp")
    finished = cli(*words, "--output", tmp_path / "c.json")
    assert finished.code == 0, finished.err
    pixels = sum(int((label[20:25] != VOID).sum()) for label in labels)
    assert finished.out.count(f"B: msp is not a finite number in {pixels:,} pixels; NaN ranks above") == 1
    assert "A: " in finished.out
    assert "A: msp is not" not in finished.out
    entries = json.loads((tmp_path / "c.json").read_text())["comparisons"]
    assert [entry["non_finite_pixels"] for entry in entries] == [{"first": 0, "second": pixels}] * 2


def test_an_end_of_an_interval_that_is_not_0_does_not_read_as_0() -> None:
    figure = {"first": 0.5, "second": 0.54, "difference": -0.04, "low": -0.0817, "high": -0.00003, "verdict": "worse"}
    assert list(_cells(figure)) == ["50.00", "54.00", "-4.00", "-8.17 .. -0.003", "worse"]
    assert list(_cells({**figure, "high": 0.0, "verdict": "not told apart"}))[3:] == [
        "-8.17 .. +0.00",
        "not told apart",
    ]
