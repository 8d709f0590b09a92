"""The page: its figures to the digit, self-contained, and safe against hostile names."""

import base64
import hashlib
import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from abet.errors import UsageError
from abet.report.gallery import MAX_WIDTH, evenly
from abet.report.page import render_page, write_report
from abet.report.runs import load_run
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
    assert kinds == ["application/json", None, None]
    digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts[1:]}
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


def test_the_gallery_has_image_label_prediction_and_a_heat_map_per_score(page: Page):
    shown = [image["alt"] for image in page.attributes("img") if image["alt"]]
    for number in range(3):
        name = f"original/street{number:02d}.jpg"
        parts = ["image", "label", "prediction of abet · abet-cityscapes"]
        parts += [f"{key} of abet · abet-cityscapes" for key in SCORES]
        assert [alt for alt in shown if alt.startswith(name)] == [f"{name}: {part}" for part in parts]


def test_gallery_pictures_are_no_larger_than_the_page_shows(tmp_path: Path):
    run = load_run(make_run(tmp_path / "a", size=(64, 2 * MAX_WIDTH), images=1, scores=("abet",)))
    sources = [image["src"] for image in Page(render_page([run])).attributes("img")]
    pictures = [source for source in sources if source.startswith("data:image/jpeg")]
    assert len(pictures) == 4
    for source in pictures:
        data = base64.b64decode(source.partition(",")[2])
        assert Image.open(io.BytesIO(data)).size == (MAX_WIDTH, 32)


def test_gallery_is_limited_and_says_of_how_many(run_path: Path):
    text = Page(render_page([load_run(run_path)], max_images=2)).text
    assert "2 of 3 images kept" in text
    assert "original/street01.jpg" not in text


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
    assert "no threshold" in page.text
    assert [figure["data"] for figure in json.loads(page.scripts[0])] == [[]]


def test_hostile_names_stay_text(tmp_path: Path):
    paths = [make_run(tmp_path / f"{HOSTILE}{n}", checkpoint=f"w/{HOSTILE}</script>", images=1) for n in (1, 2)]
    note = "</ol></script><script>alert(2)</script>"
    edit_metrics(paths[0], lambda m: m["scores"]["msp"].update(reference_protocol=None, reference_protocol_reason=note))
    runs = [load_run(path) for path in paths]
    source = render_page(runs)
    page = Page(source)
    assert len(page.scripts) == 3, "no name opens or closes a script"
    assert "alert(" not in "".join(page.scripts[1:])
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
    assert headings == ["set-1", "set-2"]
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
