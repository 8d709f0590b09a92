"""The page: its figures to the digit, self-contained, and safe against hostile names."""

import base64
import hashlib
import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abet.errors import UsageError
from abet.labels import ID, OOD, VOID
from abet.report.maps import evenly
from abet.report.page import SCORES_AT_FIRST, render_page, write_report
from abet.report.runs import label_runs, load_run
from tests.report.fake_runs import SCORES, edit_metrics, make_run

HOSTILE = "<script>alert(1)<_script>\"'&{{7*7}}<!--"


class Page(HTMLParser):
    """What a browser would find: elements with attributes, the text of scripts, styles and cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        self.open.append(tag)
        if tag == "td":
            self.cells.append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        tag = self.open[-1] if self.open else ""
        if tag == "script":
            self.scripts[-1] += data
        elif tag == "style":
            self.styles.append(data)
        else:
            self.text += data
            if "td" in self.open:
                self.cells[-1] += data

    def attributes(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "abet", images=3)


@pytest.fixture(scope="module")
def source(run_path: Path) -> str:
    return render_page([load_run(run_path)])


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


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


def block(page: Page, name: str) -> dict:
    """The content of a JSON block of the page."""
    (place,) = [place for place, script in enumerate(page.attributes("script")) if script.get("id") == name]
    return json.loads(page.scripts[place], parse_constant=pytest.fail)


def codes_of(uri: str) -> np.ndarray:
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    assert (picture == picture[..., :1]).all()
    return picture[..., 0]


def test_embedded_maps_give_the_exact_mask_at_every_level(run_path: Path, page: Page):
    (data,) = block(page, "page")["sets"]
    assert [choice["score"] for choice in data["choices"]] == list(SCORES[:4])
    for place, name in enumerate(data["images"]):
        sample = load_run(run_path).datasets["road_anomaly"].sample(name)
        pictures = block(page, f"image-0-{place}")
        assert pictures["size"] == [128, 72]
        label = codes_of(pictures["label"])
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


def test_the_page_keeps_below_its_limit(tmp_path: Path):
    runs = [load_run(make_run(tmp_path / name, images=3, scores=("abet", "msp"), size=(144, 256))) for name in "ab"]
    whole = len(render_page(runs).encode())
    pictures = sum(len(script) for script in Page(render_page(runs)).scripts[2:-2])
    for share, images in ((0.7, 3), (0.3, 3), (0.05, 0)):
        limit = int(whole - (1 - share) * pictures)
        source = render_page(runs, max_megabytes=limit / 1e6)
        assert len(source.encode()) <= limit
        ids = [script.get("id", "") for script in Page(source).attributes("script")]
        assert sum(name.startswith("image-") for name in ids) >= images, "maps shrink before images go"


def test_a_page_that_cannot_fit_names_the_option(run_path: Path):
    with pytest.raises(UsageError, match=r"--max-megabytes 1\b"):
        render_page([load_run(run_path)], max_megabytes=1)


def test_maps_are_chosen_by_name(run_path: Path):
    page = Page(render_page([load_run(run_path)], maps=("max_logit", "msp")))
    assert [choice["score"] for choice in block(page, "page")["sets"][0]["choices"]] == ["max_logit", "msp"]
    with pytest.raises(UsageError, match="did you mean 'entropy'"):
        render_page([load_run(run_path)], maps=("entropi",))


def test_every_run_has_a_turn_before_any_has_two(tmp_path: Path):
    runs = [load_run(make_run(tmp_path / name, images=1)) for name in "abcdef"]
    chosen = block(Page(render_page(runs)), "page")["sets"][0]["choices"]
    assert [(choice["run"], choice["score"]) for choice in chosen] == [(run, "abet") for run in range(6)]


def test_many_scores_are_all_in_the_page_and_few_shown_at_first(tmp_path: Path):
    keys = ("abet", *(f"score_{number}" for number in range(15)))
    page = Page(render_page([load_run(make_run(tmp_path / "a", images=1, scores=keys))]))
    data = block(page, "page")
    assert data["scores"] == list(keys)
    assert len(data["shown"]) == SCORES_AT_FIRST
    assert data["shown"][0] == "abet"
    assert [box["value"] for box in page.attributes("input") if box.get("name") == "score"] == list(keys)


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
    assert f"{100 * pair['low']:+.2f} to {100 * pair['high']:+.2f}" in page.cells


def test_evenly_keeps_the_ends():
    names = [str(n) for n in range(10)]
    assert evenly(names, 4) == ["0", "3", "6", "9"]
    assert evenly(names, 20) == names
    assert evenly([], 4) == []


def test_null_figures_show_as_absent_with_their_reason(tmp_path: Path):
    path = make_run(tmp_path / "a")
    empty = {"auroc": None, "ap": None, "fpr95": None, "non_finite": None, "reference_protocol": None}
    edit_metrics(path, lambda m: m["scores"].update(abet={**empty, "reason": "needs the cosine & more"}))
    page = Page(render_page([load_run(path)]))
    assert page.cells.count("n/a1") == 7
    assert "needs the cosine & more" in page.text


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
    assert "different pixels" in Page(render_page(runs)).text
    assert "different pixels" not in Page(render_page(runs[:1])).text


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
