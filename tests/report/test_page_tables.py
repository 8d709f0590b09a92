"""Figures in the page: every one of the files to the digit, or why it is missing."""

import json
from pathlib import Path

import pytest

from abet.report.page import render_page
from abet.report.runs import load_run
from abet.text import points
from tests.report.fake_runs import SCORES, edit_metrics, make_run
from tests.report.page_reader import Page, block


def test_every_figure_of_metrics_json_is_on_the_page_to_the_digit(run_path: Path, source: str, page: Page):
    metrics = json.loads((run_path / "evaluation/road_anomaly/metrics.json").read_text())
    for key in SCORES:
        figures = metrics["scores"][key]
        for name in ("auroc", "ap", "fpr95"):
            for part in ("value", "low", "high"):
                assert repr(figures[name][part]) in source
            assert any(cell.startswith(f"{100 * figures[name]['value']:.2f}") for cell in page.cells)
        for name in ("auroc", "auprc", "fpr95"):
            assert f"{100 * figures['reference_protocol'][name]:.2f}" in page.cells
    for count in (*metrics["pixels"].values(), metrics["images"]):
        assert f"{count:,}" in page.text
    assert metrics["checkpoint"]["sha256"][:12] in page.text
    assert metrics["checkpoint"]["uri"] in page.text


def test_the_image_table_holds_the_bounds_of_images_json(tmp_path: Path):
    path = make_run(tmp_path / "a", images=3, scores=("abet", "msp"), protocols=True, samples=2)
    known = json.loads((path / "evaluation/road_anomaly/images.json").read_text())
    page = Page(render_page([load_run(path)]))
    (data,) = block(page, "page")["sets"]
    assert data["images"] == known["images"]
    assert sorted(map(int, data["thumbnails"])) == [0, 2]
    for figures in data["table"]["figures"]:
        column = known["scores"][figures["score"]]
        assert figures["ap"] == pytest.approx(column["ap"]["value"], rel=1e-5)
        bounds = column["false_positives"]
        assert figures["fp"] == [list(ends) for ends in zip(bounds["low"], bounds["high"], strict=True)]


def test_without_protocols_the_page_says_which_command_adds_them(run_path: Path, page: Page):
    assert "abet evaluate --protocols" in page.text
    assert str(run_path) in page.text


def test_every_protocol_has_its_table_with_conditions(tmp_path: Path):
    path = make_run(tmp_path / "a", scores=("abet", "msp"), protocols=True)
    unheard_of = {"protocol": "tomorrow", "siou": 0.4321, "novelty": 0.1234, "tau": [0.25], "too_small": {"objects": 7}}
    metrics = edit_metrics(path, lambda m: m["scores"]["abet"]["protocols"].update(tomorrow=unheard_of))
    page = Page(render_page([load_run(path)]))
    for name, entry in metrics["scores"]["abet"]["protocols"].items():
        assert name in page.text
        for figure in ("auroc", "ap"):
            found = entry.get(figure)
            if isinstance(found, float):
                assert f"{100 * found:.2f}" in page.cells
            elif found:
                wanted = found["value"] if "value" in found else found["low"]
                assert any(cell.startswith(f"{100 * wanted:.2f}") for cell in page.cells)
    smiyc = metrics["scores"]["abet"]["protocols"]["smiyc-quantile-bins"]
    assert f"{100 * smiyc['tpr']:.4g} %" in page.cells
    assert f"{100 * smiyc['prevalence']:.4g} %" in page.cells
    assert {"43.21", "12.34", "objects 7"} <= set(page.cells)
    options = block(page, "page")["overview"]["cells"]
    assert len(options) == len([1 for option in page.attributes("option")]), "every figure can be chosen"
    pair = metrics["paired_differences"][0]["ap"]
    assert f"{points(pair['low'])} to {points(pair['high'])}" in page.cells


def test_null_figures_show_as_absent_with_their_reason(tmp_path: Path):
    path = make_run(tmp_path / "a")
    empty = {"auroc": None, "ap": None, "fpr95": None, "non_finite": None, "reference_protocol": None}
    edit_metrics(path, lambda m: m["scores"].update(abet={**empty, "reason": "needs the cosine & more"}))
    page = Page(render_page([load_run(path)]))
    assert page.cells.count("n/a1") == 7
    assert "needs the cosine & more" in page.text


def test_every_cell_that_heads_a_row_says_so(tmp_path: Path):
    path = make_run(tmp_path / "a", scores=("abet", "msp"), protocols=True)
    heads = [th for th in Page(render_page([load_run(path)])).attributes("th") if "score" in th.get("class", "")]
    assert len(heads) > 10
    assert {th.get("scope") for th in heads} == {"row"}
