"""Maps in the page: masks of the kept scores at every level, which scores have them, at which size."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from abet.errors import UsageError
from abet.labels import ID, OOD, VOID
from abet.report.maps import evenly
from abet.report.page import render_page
from abet.report.runs import load_run
from tests.report.fake_runs import SCORES, make_run
from tests.report.page_reader import Page, block, codes_of


def test_embedded_maps_give_the_mask_of_the_kept_scores_at_every_level(run_path: Path, page: Page):
    (data,) = block(page, "page")["sets"]
    assert [choice["score"] for choice in data["choices"]] == list(SCORES[:4])
    for place, name in enumerate(data["images"]):
        sample = load_run(run_path).datasets["road_anomaly"].sample(name)
        pictures = block(page, f"image-0-{place}")
        assert pictures["size"] == [128, 72]
        (label,) = map(codes_of, pictures["labels"])
        assert pictures["label_of"] == {"0": 0}
        for code, kind in enumerate((ID, OOD, VOID)):
            assert np.array_equal(label == code, sample.label == kind)
        assert np.array_equal(codes_of(pictures["classes"]["0"]), sample.prediction)
        for number, choice in enumerate(data["choices"]):
            codes = codes_of(pictures["maps"][str(number)])
            for level, threshold in enumerate(choice["threshold"], start=1):
                assert np.array_equal(codes >= level, sample.scores[choice["score"]] >= np.float32(threshold))


def test_the_levels_carry_the_rates_of_the_set(run_path: Path, page: Page):
    (data,) = block(page, "page")["sets"]
    metrics = json.loads((run_path / "evaluation/road_anomaly/metrics.json").read_text())
    for choice in data["choices"]:
        figures, at = metrics["scores"][choice["score"]]["fpr95"], choice["at95"]
        assert choice["threshold"][at] == figures["threshold"]
        assert choice["tpr"][at] == pytest.approx(figures["tpr"], rel=1e-5)
        assert choice["fpr"][at] == pytest.approx(figures["value"], rel=1e-5)
        true, false = figures["tpr"] * metrics["pixels"]["ood"], figures["value"] * metrics["pixels"]["id"]
        assert choice["precision"][at] == pytest.approx(true / (true + false), rel=1e-5)


def test_smaller_maps_hold_whole_pixels_and_the_page_says_so(tmp_path: Path):
    path = make_run(tmp_path / "a", images=1, scores=("abet",), size=(1024, 512))
    page = Page(render_page([load_run(path)], max_megabytes=5.0))
    pictures = block(page, "image-0-0")
    width, height = pictures["size"]
    assert height * width < 1024 * 512
    assert f"Maps are {width}x{height} of 512x1024 pixels, one of" in " ".join(page.text.split())
    (choice,) = block(page, "page")["sets"][0]["choices"]
    sample = load_run(path).datasets["road_anomaly"].sample("original/street00.jpg")
    rows = ((np.arange(height) + 0.5) * 1024 / height).astype(int)
    columns = ((np.arange(width) + 0.5) * 512 / width).astype(int)
    level = choice["at95"] + 1
    exact = sample.scores["abet"][rows][:, columns] >= np.float32(choice["threshold"][level - 1])
    assert np.array_equal(codes_of(pictures["maps"]["0"]) >= level, exact)


def test_maps_are_chosen_by_name(run_path: Path):
    page = Page(render_page([load_run(run_path)], maps=("max_logit", "msp")))
    assert [choice["score"] for choice in block(page, "page")["sets"][0]["choices"]] == ["max_logit", "msp"]
    with pytest.raises(UsageError, match="did you mean 'entropy'"):
        render_page([load_run(run_path)], maps=("entropi",))


def test_every_run_has_a_turn_before_any_has_two(tmp_path: Path):
    runs = [load_run(make_run(tmp_path / name, images=1)) for name in "abcdef"]
    chosen = block(Page(render_page(runs)), "page")["sets"][0]["choices"]
    assert [(choice["run"], choice["score"]) for choice in chosen] == [(run, "abet") for run in range(6)]


def test_evenly_keeps_the_ends():
    names = [str(n) for n in range(10)]
    assert evenly(names, 4) == ["0", "3", "6", "9"]
    assert evenly(names, 20) == names
    assert evenly([], 4) == []


def test_a_score_without_maps_is_refused_with_those_that_have_some(tmp_path: Path):
    path = make_run(tmp_path / "a", images=1, scores=("abet", "msp", "energy"))
    without(path, "score_abet")
    with pytest.raises(UsageError, match=r"--maps abet: these runs kept no map of abet; choose among msp, energy$"):
        render_page([load_run(path)], maps=("abet",))
    other = load_run(make_run(tmp_path / "b", images=1, scores=("abet",)))
    chosen = block(Page(render_page([load_run(path), other], maps=("abet",))), "page")["sets"][0]["choices"]
    assert [choice["run"] for choice in chosen] == [1], "one run that has them is enough"
    bare = load_run(make_run(tmp_path / "c", samples=0))
    with pytest.raises(UsageError, match="kept no map of abet; `abet evaluate --samples 60`"):
        render_page([bare], maps=("abet",))


def without(path: Path, *keys: str) -> None:
    """Take maps out of every sample of a run."""
    for file in (path / "evaluation/road_anomaly/samples").iterdir():
        with np.load(file) as sample:
            left = {key: array for key, array in sample.items() if key not in keys}
        np.savez_compressed(file, **left)


def test_maps_of_several_sizes_are_told_as_a_range(tmp_path: Path):
    path = make_run(tmp_path / "a", scores=("abet",), size=(256, 512), images=3)
    file = path / "evaluation/road_anomaly/samples/original__street01.jpg.npz"
    with np.load(file) as sample:
        smaller = {key: array[::2, ::2] if array.ndim > 1 else array for key, array in sample.items()}
    np.savez_compressed(file, **smaller)
    whole = render_page([load_run(path)])
    assert "Maps are 256x128 to 512x256 pixels." in Page(whole).text
    told = Page(render_page([load_run(path)], max_megabytes=len(whole) / 1e6 - 0.02)).text
    assert re.search(r"Maps are 256x128 to \d+x\d+ of 256x128 to 512x256 pixels, one of 1 to 1\.\d+ and none", told)
