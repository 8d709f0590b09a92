"""The page: self-contained, whole whatever a run lacks, and safe against hostile names."""

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from abet.data.registry import OOD_SETS
from abet.errors import UsageError
from abet.report.page import SCORES_AT_FIRST, first_scores, render_page, write_report
from abet.report.records import Figure
from abet.report.runs import label_runs, load_run
from tests.report.fake_runs import SCORES, edit_metrics, make_run
from tests.report.page_reader import Page, block

HOSTILE = "<script>alert(1)<_script>\"'&{{7*7}}<!--"


def test_nothing_on_the_page_would_be_fetched(page: Page):
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster", "background"):
            target = attributes.get(name, "data:")
            assert target.startswith(("data:", "#")), (tag, name, target[:80])
        assert not re.search(r"url\(|@import", attributes.get("style", ""))
        assert tag not in {"iframe", "object", "embed", "base", "form"}
    assert not re.search(r"url\(|@import", "".join(page.styles))


def test_the_policy_forbids_requests_and_lists_exactly_the_scripts_that_run(page: Page):
    (policy,) = [meta["content"] for meta in page.attributes("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")
    assert {"base-uri 'none'", "form-action 'none'"} <= set(policy.split("; ")), "which default-src leaves open"
    assert not re.search(r"https?:|\*|unsafe-eval|script-src[^;]*unsafe-inline", policy)
    kinds = [script.get("type") for script in page.attributes("script")]
    assert kinds == ["application/json"] * (2 + 3) + [None, None], "figures, page, three images, two that run"
    digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts[-2:]}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == digests


def test_every_plot_has_its_figure_and_every_figure_its_plot(page: Page):
    specs = json.loads(page.scripts[0])
    drawn = [int(div["data-figure"]) for div in page.attributes("div") if "data-figure" in div]
    assert drawn == list(range(len(specs)))
    assert len(specs) == 1 + len(SCORES)
    names = [trace["name"] for trace in specs[0]["data"] if trace.get("showlegend", True)]
    assert names == list(SCORES)


def test_lines_can_be_told_apart_without_colour(run_path: Path, tmp_path: Path):
    other = make_run(tmp_path / "other")
    figure = json.loads(Page(render_page([load_run(run_path), load_run(other)])).scripts[0])[0]
    looks = [
        (trace["marker"]["symbol"], trace["line"]["dash"]) for trace in figure["data"] if trace.get("showlegend", True)
    ]
    assert len(looks) == 2 * len(SCORES) == len(set(looks))


def test_the_histogram_shows_the_threshold_of_metrics_json(run_path: Path, page: Page):
    metrics = json.loads((run_path / "evaluation/road_anomaly/metrics.json").read_text())
    for key, figure in zip(SCORES, json.loads(page.scripts[0])[1:], strict=True):
        (line,) = figure["layout"]["shapes"]
        assert line["x0"] == line["x1"] == metrics["scores"][key]["fpr95"]["threshold"]


def test_many_scores_are_all_in_the_page_and_few_shown_at_first(tmp_path: Path):
    keys = ("abet", *(f"score_{number}" for number in range(15)))
    page = Page(render_page([load_run(make_run(tmp_path / "a", images=1, scores=keys))]))
    data = block(page, "page")
    assert data["scores"] == list(keys)
    assert len(data["shown"]) == SCORES_AT_FIRST
    assert data["shown"][0] == "abet"
    assert [box["value"] for box in page.attributes("input") if box.get("name") == "score"] == list(keys)


def test_no_run_is_hidden_at_first_however_bad_its_best_score_is(tmp_path: Path):
    keys = tuple(f"score_{number}" for number in range(15))
    many = load_run(make_run(tmp_path / "a", images=1, scores=keys))
    few = load_run(make_run(tmp_path / "b", images=1, scores=("prior",)))
    (data,) = few.datasets.values()
    worst = data.metrics.scores["prior"].model_copy(update={"ap": Figure(value=0.001)})
    metrics = data.metrics.model_copy(update={"scores": {"prior": worst}})
    few = replace(few, datasets={"road_anomaly": replace(data, metrics=metrics)})
    shown = first_scores([many, few])
    assert len(shown) == SCORES_AT_FIRST
    assert shown[-1] == "prior"


def test_the_best_score_of_every_set_is_shown_at_first(tmp_path: Path):
    """A set with few OOD pixels has low APs: its winner must not lose to all of another set's scores."""
    keys = tuple(f"score_{number}" for number in range(15))
    run = load_run(make_run(tmp_path / "a", images=1, scores=keys))
    (data,) = run.datasets.values()

    def with_ap(values: list[float]):
        scores = {
            key: data.metrics.scores[key].model_copy(update={"ap": Figure(value=value)})
            for key, value in zip(keys, values, strict=True)
        }
        return replace(data, metrics=data.metrics.model_copy(update={"scores": scores}))

    rich, rare = with_ap([0.9 - 0.01 * n for n in range(15)]), with_ap([0.01 + 0.001 * n for n in range(15)])
    shown = first_scores([replace(run, datasets={"lost_and_found": rich, "road_anomaly": rare})])
    assert {"score_0", "score_14"} <= set(shown)
    assert len(shown) == SCORES_AT_FIRST


def test_an_old_run_without_samples_and_thresholds_makes_a_page(tmp_path: Path):
    path = make_run(tmp_path / "a", samples=0)
    file = path / "evaluation/road_anomaly/curves.json"
    curves = json.loads(file.read_text())
    for score in curves["scores"].values():
        for part in ("roc", "pr"):
            del score[part]["threshold"]
    file.write_text(json.dumps(curves))
    page = Page(render_page([load_run(path)]))
    assert block(page, "page")["sets"][0]["images"] == []
    assert len(page.scripts) == 4


def test_a_set_without_ood_pixels_makes_a_page(tmp_path: Path):
    path = make_run(tmp_path / "a", scores=("abet",))
    empty = {"auroc": None, "ap": None, "fpr95": None, "reason": "no OOD pixel was evaluated"}
    edit_metrics(path, lambda m: (m["scores"]["abet"].update(empty), m["pixels"].update(ood=0)))
    curves = {"roc": {"fpr": [], "tpr": []}, "pr": {"recall": [], "precision": []}, "threshold": None}
    curves["histogram"] = {"edges": [], "id": [], "ood": []}
    file = path / "evaluation/road_anomaly/curves.json"
    file.write_text(json.dumps({"schema": 1, "dataset": "road_anomaly", "scores": {"abet": curves}}))
    page = Page(render_page([load_run(path)]))
    assert "no OOD pixel was evaluated" in page.text
    assert block(page, "page")["sets"][0]["choices"] == []
    assert [figure["data"] for figure in json.loads(page.scripts[0])] == [[]]


def test_hostile_names_stay_text(tmp_path: Path):
    paths = [make_run(tmp_path / f"{HOSTILE}{n}", checkpoint=f"w/{HOSTILE}</script>", images=1) for n in (1, 2)]
    note = "</ol></script><script>alert(2)</script>"
    edit_metrics(paths[0], lambda m: m["scores"]["msp"].update(reference_protocol=None, reference_protocol_reason=note))
    runs = [load_run(path) for path in paths]
    source = render_page(runs)
    page = Page(source)
    assert len(page.scripts) == 5, "no name opens or closes a script"
    assert "alert(" not in "".join(page.scripts[3:])
    assert block(page, "page")["runs"] == label_runs(runs)
    assert HOSTILE in page.text, "shown as it is, not evaluated"
    assert note in page.text
    assert "<!--" not in source
    names = [trace["name"] for trace in json.loads(page.scripts[0])[0]["data"]]
    assert not any(re.search(r"[<>]", name) for name in names), "plotly reads tags in names"
    assert any(HOSTILE in html.unescape(name) for name in names)


def test_runs_over_other_data_sets_have_a_section_each(tmp_path: Path):
    path = make_run(tmp_path / "a")
    make_run(path, dataset="lost_and_found", images=1)
    other = make_run(tmp_path / "b")
    page = Page(render_page([load_run(path), load_run(other)]))
    headings = [attributes["id"] for attributes in page.attributes("h2")]
    assert headings == ["overview", "set-1", "set-2", "keys-title"]
    assert [link["href"] for link in page.attributes("a")] == ["#set-1", "#set-2"]
    assert "Evaluated by a" in page.text
    assert "not by b" in page.text


def test_runs_over_different_pixels_are_not_compared_silently(tmp_path: Path):
    runs = [load_run(make_run(tmp_path / name, images=n)) for name, n in (("a", 1), ("b", 2))]
    page = Page(render_page(runs))
    assert "different pixels" in page.text
    assert not any("data-better" in cell for cell in page.attributes("td"))
    assert "different pixels" not in Page(render_page(runs[:1])).text


def test_the_overview_names_the_sets_whose_runs_do_not_compare(tmp_path: Path):
    paths = [make_run(tmp_path / name) for name in "ab"]
    for path in paths:
        make_run(path, dataset="lost_and_found")
    edit_metrics(paths[1], lambda metrics: metrics.update(ood_definition="image"))
    text = Page(render_page([load_run(path) for path in paths])).text
    assert "The runs do not compare on road_anomaly:" in text.partition("Comparison")[0]
    assert text.count("Best value of each column in bold") == 1, "that of the other set"
    alike = Page(render_page([load_run(paths[0])])).text
    assert "do not compare" not in alike


def test_runs_that_do_not_compare_say_each_what_it_was_evaluated_on(tmp_path: Path):
    paths = [make_run(tmp_path / name, images=n) for name, n in (("a", 1), ("b", 2))]
    edit_metrics(paths[0], lambda metrics: metrics.update(ood_definition="image", list_sha256="0123456789" * 6))
    page = Page(render_page([load_run(path) for path in paths]))
    wanted: list[str] = []
    for path, definition in zip(paths, ("image", None), strict=True):
        metrics = edit_metrics(path, lambda metrics: None)
        counts = [metrics["images"], *(metrics["pixels"][kind] for kind in ("id", "ood", "void"))]
        share = 100 * counts[2] / (counts[1] + counts[2])
        files = "01234567" if definition else ""
        wanted += ["test", definition or "default", *(f"{count:,}" for count in counts), f"{share:.3g} %", files]
    start = page.cells.index("test")
    assert page.cells[start : start + len(wanted)] == wanted
    assert "Best value" not in page.text


def test_writing_is_atomic_and_repeatable(run_path: Path, tmp_path: Path, source: str):
    output = tmp_path / "made" / "report.html"
    write_report([load_run(run_path)], output)
    assert output.read_text(encoding="utf-8") == source
    assert list(output.parent.iterdir()) == [output]


def test_bad_arguments_name_the_remedy(run_path: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="at least one run"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(UsageError, match="is a folder"):
        write_report([load_run(run_path)], tmp_path)


def test_the_definition_of_ood_is_named_though_it_is_the_usual_one(tmp_path: Path):
    path = make_run(tmp_path / "a", images=1)
    usual = OOD_SETS["road_anomaly"].definitions[0]
    assert f"Definition of OOD: {usual} (the usual one)." in Page(render_page([load_run(path)])).text
    edit_metrics(path, lambda metrics: metrics.update(ood_definition="of my own"))
    assert "Definition of OOD: of my own." in Page(render_page([load_run(path)])).text


def test_of_more_winners_than_are_shown_at_first_each_runs_first_set_has_its_own(tmp_path: Path):
    """Six runs with a winner of their own on each of two sets: twelve for eight places."""
    keys = tuple(f"score_{number:02}" for number in range(13))
    run = load_run(make_run(tmp_path / "a", images=1, scores=keys))
    (data,) = run.datasets.values()

    def won_by(number: int):
        scores = {
            key: data.metrics.scores[key].model_copy(update={"ap": Figure(value=0.9 if place == number else 0.1)})
            for place, key in enumerate(keys)
        }
        return replace(data, metrics=data.metrics.model_copy(update={"scores": scores}))

    runs = [
        replace(run, datasets={"lost_and_found": won_by(12 - number), "road_anomaly": won_by(number)})
        for number in range(6)
    ]
    assert {f"score_{12 - number:02}" for number in range(6)} <= set(first_scores(runs))
