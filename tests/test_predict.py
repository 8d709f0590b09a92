"""Predictions on photographs: every output can be read back, and no bad file stops the others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import abet
from abet import detector
from abet.detector import Detector
from abet.errors import DataError
from abet.models.head import Output
from abet.predict import threshold_from
from abet.report.region_picture import draw_regions
from abet.report.render import read_score_png
from tests.conftest import Cli


def photograph(path: Path, seed: int = 0, size: tuple[int, int] = (40, 56)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def predict(cli: Cli, checkpoint: Path, source: Path, output: Path, *more: object) -> int:
    finished = cli("predict", "--checkpoint", checkpoint, "--input", source, "--output", output, *more)
    assert "Traceback" not in finished.err
    return finished.code


def test_one_image_gives_overlay_heat_map_score_and_mask(cli: Cli, learned_checkpoint: Path, tmp_path: Path) -> None:
    source = photograph(tmp_path / "street.png")
    score = abet.load(learned_checkpoint, device="cpu").score(source)
    threshold = float(np.median(score))

    assert predict(cli, learned_checkpoint, source, tmp_path / "out", "--threshold", threshold) == 0

    out = tmp_path / "out"
    assert Image.open(out / "street.classes.png").size == (56, 40)
    assert Image.open(out / "street.heat.png").size == (56, 40)
    half_step = (score.max() - score.min()) / 65535
    assert np.abs(read_score_png(out / "street.score.png") - score).max() <= half_step
    mask = np.asarray(Image.open(out / "street.mask.png"))
    assert np.array_equal(mask == 255, score >= threshold)
    summary = json.loads((out / "predictions.json").read_text())
    assert summary["images"][0]["ood_fraction"] == pytest.approx((score >= threshold).mean())
    drawn = draw_regions(np.asarray(Image.open(source)), score >= threshold, summary["images"][0]["components"])
    assert np.array_equal(np.asarray(Image.open(out / "street.components.png")), drawn)


def test_a_folder_keeps_its_structure_and_a_bad_file_stops_nothing(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path
) -> None:
    photograph(tmp_path / "in" / "a.jpg")
    photograph(tmp_path / "in" / "deep" / "b c.webp", seed=1)
    (tmp_path / "in" / "broken.png").write_bytes((photograph(tmp_path / "x.png")).read_bytes()[:200])
    (tmp_path / "in" / "notes.txt").touch()
    assert predict(cli, learned_checkpoint, tmp_path / "in", tmp_path / "out") == 3
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.heat.png"))
    assert found == ["a.heat.png", "deep/b c.heat.png"]
    summary = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(summary["unreadable"]) == 1
    assert "broken.png" in summary["unreadable"][0]
    assert not list((tmp_path / "out").rglob("*.mask.png"))  # no threshold, no mask


def test_the_threshold_of_an_evaluation_is_taken_and_belongs_to_its_checkpoint(
    cli: Cli, learned_checkpoint: Path, plain_checkpoint: Path, tmp_path: Path
) -> None:
    from tests.trees import make_road_anomaly

    make_road_anomaly(tmp_path / "ra", count=1)
    source = photograph(tmp_path / "street.png")
    run = ("--dataset", "road_anomaly", "--data-root", tmp_path / "ra", "--output", tmp_path / "run")
    assert cli("evaluate", "--checkpoint", learned_checkpoint, *run).code == 0
    metrics = tmp_path / "run" / "evaluation" / "road_anomaly" / "metrics.json"
    assert predict(cli, learned_checkpoint, source, tmp_path / "out", "--threshold-from", metrics) == 0
    wanted = json.loads(metrics.read_text())["scores"]["abet"]["fpr95"]["threshold"]
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["threshold"] == wanted
    other = ("--score", "entropy", "--threshold-from", metrics)
    assert predict(cli, plain_checkpoint, source, tmp_path / "out2", *other) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--score", "entropi"), "did you mean 'entropy'"),
        (("--threshold", 1, "--threshold-from", "x"), "give one"),
        (("--threshold", "nan"), "a finite number"),
        (("--threshold", "inf"), "a finite number"),
        (("--threshold=-inf",), "a finite number"),
    ],
)
def test_bad_usage_exits_2(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path, more: tuple[object, ...], said: str
) -> None:
    source = photograph(tmp_path / "street.png")
    finished = cli("predict", "--checkpoint", learned_checkpoint, "--input", source, "--output", tmp_path / "o", *more)
    assert finished.code == 2
    assert said in finished.err
    assert not (tmp_path / "o").exists()


def test_a_score_that_the_head_lacks_is_refused_with_another(cli: Cli, plain_checkpoint: Path, tmp_path: Path) -> None:
    source = photograph(tmp_path / "street.png")
    finished = cli("predict", "--checkpoint", plain_checkpoint, "--input", source, "--output", tmp_path / "o")
    assert finished.code == 2
    assert "--score energy" in finished.err


def test_inputs_that_cannot_be_meant(cli: Cli, learned_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert predict(cli, learned_checkpoint, tmp_path / "absent.png", tmp_path / "o") == 3
    assert predict(cli, learned_checkpoint, tmp_path / "empty", tmp_path / "o") == 3
    photograph(tmp_path / "twins" / "a.jpg")
    photograph(tmp_path / "twins" / "a.k.jpg")  # sorts between the two
    photograph(tmp_path / "twins" / "a.png")
    assert predict(cli, learned_checkpoint, tmp_path / "twins", tmp_path / "o") == 2
    assert predict(cli, learned_checkpoint, tmp_path / "twins", tmp_path / "twins") == 2
    assert sorted(path.name for path in (tmp_path / "twins").iterdir()) == ["a.jpg", "a.k.jpg", "a.png"]


def test_results_of_one_image_do_not_lie_beside_it(cli: Cli, learned_checkpoint: Path, tmp_path: Path) -> None:
    source = photograph(tmp_path / "set" / "street.png")
    finished = cli("predict", "--checkpoint", learned_checkpoint, "--input", source, "--output", source.parent)
    assert finished.code == 2
    assert "is the folder of the --input" in finished.err
    assert [path.name for path in source.parent.iterdir()] == ["street.png"]


def test_an_output_of_other_settings_is_refused(cli: Cli, learned_checkpoint: Path, tmp_path: Path) -> None:
    source = photograph(tmp_path / "street.png")
    assert predict(cli, learned_checkpoint, source, tmp_path / "o") == 0
    assert predict(cli, learned_checkpoint, source, tmp_path / "o") == 0
    assert predict(cli, learned_checkpoint, source, tmp_path / "o", "--score", "entropy") == 2


def test_images_of_earlier_calls_stay_listed_as_their_pictures_stay(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    for name, seed in (("a", 0), ("b", 1), ("a", 2)):  # a again, of other pixels
        assert predict(cli, learned_checkpoint, photograph(tmp_path / f"{name}.png", seed), out) == 0
    rows = json.loads((out / "predictions.json").read_text())["images"]
    assert [row["name"] for row in rows] == ["a", "b"]
    offset = rows[0]["score_offset"]
    assert predict(cli, learned_checkpoint, tmp_path / "a.png", tmp_path / "alone") == 0
    assert offset == json.loads((tmp_path / "alone" / "predictions.json").read_text())["images"][0]["score_offset"]


def test_a_summary_that_lists_no_names_is_refused_before_the_first_image(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path
) -> None:
    source, out = photograph(tmp_path / "street.png"), tmp_path / "o"
    assert predict(cli, learned_checkpoint, source, out) == 0
    summary = json.loads((out / "predictions.json").read_text())
    for images in (None, {}, ["street"], [{"image": "street.png"}], [{"name": ["street"]}]):
        damaged = json.dumps(summary | {"images": images})
        (out / "predictions.json").write_text(damaged)
        assert predict(cli, learned_checkpoint, source, out) == 3
        assert (out / "predictions.json").read_text() == damaged


def test_a_stopped_run_has_claimed_its_folder_already(
    cli: Cli, learned_checkpoint: Path, plain_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photograph(tmp_path / "street.png")
    with monkeypatch.context() as patch:

        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("abet.detector.Detector.predict", stop)
        finished = cli("predict", "--checkpoint", learned_checkpoint, "--input", source, "--output", tmp_path / "o")
    assert finished.code == 130
    assert finished.err.endswith("abet: interrupted\n")
    assert predict(cli, plain_checkpoint, source, tmp_path / "o", "--score", "entropy") == 2
    assert predict(cli, learned_checkpoint, source, tmp_path / "o") == 0
    assert len(json.loads((tmp_path / "o" / "predictions.json").read_text())["images"]) == 1


def test_results_inside_the_input_are_never_taken_for_photographs(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photograph(photos / "a.jpg")
    photograph(photos / "deep" / "b.jpg")
    photograph(photos / ".thumbnails" / "a.jpg")
    photograph(photos / ".hidden.jpg")
    for output in ("out", "out", "deep/other"):  # again into the same folder, then beside it
        assert predict(cli, learned_checkpoint, photos, photos / output) == 0
        summary = json.loads((photos / output / "predictions.json").read_text())
        assert [row["name"] for row in summary["images"]] == ["a", "deep/b"]


def test_results_may_lie_around_the_input(cli: Cli, learned_checkpoint: Path, tmp_path: Path) -> None:
    photograph(tmp_path / "photos" / "raw" / "a.jpg")
    for _ in range(2):
        assert predict(cli, learned_checkpoint, tmp_path / "photos" / "raw", tmp_path / "photos") == 0
    assert (tmp_path / "photos" / "a.heat.png").is_file()


def test_a_name_that_is_not_utf8_is_reported_and_stops_nothing(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path
) -> None:
    photograph(tmp_path / "in" / "z.jpg")
    try:
        photograph(tmp_path / "in" / "caf\udce9.jpg")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert predict(cli, learned_checkpoint, tmp_path / "in", tmp_path / "o") == 3
    summary = json.loads((tmp_path / "o" / "predictions.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in summary["images"]] == ["z"]
    assert "caf\\udce9.jpg': the name is not UTF-8; rename it" in summary["unreadable"][0]


def test_a_name_too_long_for_its_outputs_is_reported_and_stops_nothing(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path
) -> None:
    photograph(tmp_path / "in" / "z.jpg")
    photograph(tmp_path / "in" / f"{'n' * 250}.jpg")
    assert predict(cli, learned_checkpoint, tmp_path / "in", tmp_path / "o") == 3
    summary = json.loads((tmp_path / "o" / "predictions.json").read_text())
    assert [row["name"] for row in summary["images"]] == ["z"]
    assert "shorten it" in summary["unreadable"][0]


def test_an_image_too_large_for_the_memory_is_named_and_stops_nothing(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph(tmp_path / "in" / "a.png", size=(64, 96))
    photograph(tmp_path / "in" / "b.png")
    forward = Detector.output

    def small_memory(self: Detector, image: np.ndarray) -> Output:
        if image.shape[1] > 90:
            torch.empty(2**60, dtype=torch.uint8)  # the allocator's own error
        return forward(self, image)

    monkeypatch.setattr(Detector, "output", small_memory)
    assert predict(cli, learned_checkpoint, tmp_path / "in", tmp_path / "o") == 3
    summary = json.loads((tmp_path / "o" / "predictions.json").read_text())
    assert [row["name"] for row in summary["images"]] == ["b"]
    assert "a.png (96x64 pixels): not enough memory" in summary["unreadable"][0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpoint": {"uri": "x", "sha256": 5}}, "checkpoint.sha256"),
        ({"scores": {"abet": {"fpr95": {"threshold": "x"}}}}, "scores.abet.fpr95.threshold"),
        ({"scores": []}, "scores"),
        ({"scores": {}}, "no 95% threshold"),
        ({"scores": {"abet": {"fpr95": None}}}, "no 95% threshold"),
    ],
)
def test_a_damaged_metrics_file_is_refused_with_the_place(
    learned_checkpoint: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    detector = abet.load(learned_checkpoint, device="cpu")
    whole = {
        **{"schema": 1, "dataset": "road_anomaly", "images": 1, "pixels": {"id": 1, "ood": 1, "void": 0}},
        **{"checkpoint": {"uri": "x", "sha256": detector.sha256}, "scores": {"abet": {"fpr95": {"threshold": 0.5}}}},
    }
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(whole))
    assert threshold_from(tmp_path, "abet", detector) == 0.5
    path.write_text(json.dumps(whole | change))
    with pytest.raises(DataError, match=rf"metrics\.json: .*{said}"):
        threshold_from(path, "abet", detector)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_8_bit_photographs_are_converted_and_named(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path, mode: str
) -> None:
    suffix = ".jpg" if mode == "CMYK" else ".png"
    Image.open(photograph(tmp_path / "x.png")).convert(mode).save(tmp_path / f"photo{suffix}")
    source = tmp_path / f"photo{suffix}"
    finished = cli("predict", "--checkpoint", learned_checkpoint, "--input", source, "--output", tmp_path / "o")
    assert finished.code == 0, finished.err
    assert f"photo{suffix}" in finished.err


def test_a_16_bit_photograph_is_refused(cli: Cli, learned_checkpoint: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(tmp_path / "deep.png")
    assert predict(cli, learned_checkpoint, tmp_path / "deep.png", tmp_path / "o") == 3


def test_scores_that_are_no_numbers_are_counted_and_named(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second photograph breaks the network; the first does not."""
    score_map, seen = detector.score_map, []

    def broken(key: str, output: Any) -> Any:
        found = score_map(key, output)
        seen.append(found)
        return found if len(seen) == 1 else np.where(np.arange(found.shape[0])[:, None] < 3, np.float32(np.nan), found)

    monkeypatch.setattr(detector, "score_map", broken)
    for seed, name in enumerate(("a.png", "b.png")):
        photograph(tmp_path / "in" / name, seed=seed)
    usual = ("predict", "--checkpoint", learned_checkpoint, "--input", tmp_path / "in", "--output", tmp_path / "out")
    finished = cli(*usual, "--threshold", 0)
    assert finished.code == 0, finished.err
    assert "not a finite number in pixels of 1 of 2 images (b); NaN is above every threshold" in finished.err
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    assert [row.get("not_finite_pixels") for row in rows] == [None, 3 * 56]
