"""The page in a real browser: it draws, complains of nothing and asks nobody for anything, and obeys its reader."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from abet.labels import ID, OOD
from abet.report.page import write_report
from abet.report.runs import load_run
from tests.report.fake_runs import SCORES, make_run

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def absent(reason: str) -> None:
    """Skip on a machine without a browser; on CI there must be one."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; CI must have it")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    executable = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
    if executable is None:
        absent("no chromium on PATH (apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    runs = [make_run(folder / "<b>one"), make_run(folder / "two", checkpoint="w/<img src=x onerror=alert(1)>")]
    write_report([load_run(path) for path in runs], folder / "report.html")
    return folder / "report.html"


def test_the_page_draws_without_errors_or_requests(browser, report: Path):
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints, requests = [], []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(report.as_uri())
    tab.wait_for_function(
        "document.querySelectorAll('.plot').length === document.querySelectorAll('.plot.js-plotly-plot').length"
    )
    lines = tab.locator(".plot .scatterlayer .trace").count()
    assert lines == 2 * 2 * len(SCORES) + 2 * 2 * len(SCORES), "ROC and PR, then ID and OOD of each histogram"
    legend = tab.locator(".plot").first.locator(".legendtext").all_text_contents()
    assert any("<b>one" in name for name in legend), "a tag in a name is shown, not obeyed"
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    tab.close()


def test_the_buttons_of_a_plot_keep_it_here(browser, report: Path):
    tab = browser.new_page()
    tab.goto(report.as_uri())
    titles = tab.evaluate("[...document.querySelectorAll('.modebar-btn')].map((button) => button.dataset.title)")
    assert set(titles) == {"Download plot as a PNG", "Zoom", "Pan", "Reset axes"}
    tab.locator(".plot").first.hover()
    with tab.expect_download() as download:
        tab.locator(".modebar-btn").first.click()
    assert download.value.suggested_filename.endswith(".png")
    tab.close()


@pytest.mark.parametrize("width", [360, pytest.param(800, marks=pytest.mark.faults), 1280])
def test_no_screen_is_too_narrow(browser, report: Path, width: int):
    tab = browser.new_page(viewport={"width": width, "height": 700})
    tab.goto(report.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    plots = tab.evaluate("[...document.querySelectorAll('.plot')].map((p) => [p.clientWidth, p.scrollWidth])")
    assert all(inner <= outer for outer, inner in plots)
    tab.close()


def test_a_legend_entry_hides_both_its_lines(browser, report: Path):
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto(report.as_uri())
    curves = tab.locator(".plot").first
    before = curves.locator(".scatterlayer .trace").count()
    curves.locator(".legendtoggle").first.click()
    tab.wait_for_function(
        "(before) => document.querySelector('.plot').querySelectorAll('.scatterlayer .trace').length === before - 2",
        arg=before,
    )
    tab.close()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run with protocols beside one without: its folder and the page of both."""
    folder = tmp_path_factory.mktemp("viewer")
    first = make_run(folder / "one", images=4, scores=("abet", "msp", "energy"), protocols=True)
    second = make_run(folder / "two", images=4, scores=("abet", "msp"), quality=3.0, seed=9)
    write_report([load_run(first), load_run(second)], folder / "report.html")
    return first, folder / "report.html"


@contextmanager
def opened(browser, page: Path) -> Iterator:
    """A tab with the page, its viewer in sight; whatever the console says is a failure."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(page.as_uri())
    tab.locator(".viewer").first.scroll_into_view_if_needed()
    tab.wait_for_selector(".viewer[data-shown]")
    yield tab
    assert complaints == []
    tab.close()


COUNT = """() => {
  const canvas = document.querySelector('[data-side="a"] [data-part="mask"]');
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
  const counts = {};
  for (let place = 0; place < pixels.length; place += 4)
    if (pixels[place + 3]) {
      const colour = [pixels[place], pixels[place + 1], pixels[place + 2]].join();
      counts[colour] = (counts[colour] || 0) + 1;
    }
  return counts;
}"""
MOVE = """(slider, to) => {
  slider.value = to;
  slider.dispatchEvent(new Event('input', {bubbles: true}));
}"""
PAINT = {
    "hit": ["0,158,115"],
    "false": ["213,94,0", "90,30,0"],
    "missed": ["86,180,233", "0,60,110"],
    "void": ["153,153,153"],
}


def painted(tab) -> dict[str, int]:
    counts = tab.evaluate(COUNT)
    found = {kind: sum(counts.pop(colour, 0) for colour in colours) for kind, colours in PAINT.items()}
    assert counts == {}, "no other colour"
    return found


def by_hand(run: Path, name: str, score: str, threshold: float) -> dict[str, int]:
    sample = load_run(run).datasets["road_anomaly"].sample(name)
    flagged = sample.scores[score] >= np.float32(threshold)
    ood, known = sample.label == OOD, np.isin(sample.label, (ID, OOD))
    return {
        "hit": int((flagged & ood).sum()),
        "false": int((flagged & (sample.label == ID)).sum()),
        "missed": int((~flagged & ood).sum()),
        "void": int((flagged & ~known).sum()),
    }


def threshold_of(tab) -> float:
    return float(tab.locator('[data-side="a"] [data-part="threshold"]').get_attribute("title"))


def test_the_canvas_shows_the_mask_that_numpy_computes_wherever_the_slider_stands(browser, measured):
    run, page = measured
    with opened(browser, page) as tab:
        name = tab.locator(".viewer").get_attribute("data-shown")
        slider = tab.locator('[data-side="a"] [data-part="level"]')
        for level in (1, 60, 130, 200, int(slider.get_attribute("max"))):
            slider.evaluate(MOVE, level)
            assert painted(tab) == by_hand(run, name, "abet", threshold_of(tab))
        counts = by_hand(run, name, "abet", threshold_of(tab))
        said = tab.locator('[data-side="a"] [data-part="counts"]').text_content()
        assert said.startswith(f"{counts['false']:,} of ")
        assert f"{counts['missed']:,} of {counts['missed'] + counts['hit']:,} OOD pixels missed" in said
        tab.locator('[data-side="a"] [data-part="choice"]').select_option(label="msp · two · abet-cityscapes")
        other = run.with_name("two")
        assert painted(tab) == by_hand(other, name, "msp", threshold_of(tab))


def test_the_slider_starts_at_the_95_percent_threshold_with_its_rates(browser, measured):
    run, page = measured
    with opened(browser, page) as tab:
        figures = load_run(run).datasets["road_anomaly"].metrics.scores["abet"].fpr95
        assert threshold_of(tab) == figures.threshold
        pooled = tab.locator('[data-side="a"] [data-part="pooled"]').text_content()
        assert f"TPR {100 * figures.tpr:.2f} %, FPR {100 * figures.value:.2f} %" in pooled


def test_the_keyboard_moves_images_and_threshold_and_explains_itself(browser, measured):
    _, page = measured
    with opened(browser, page) as tab:
        viewer = tab.locator(".viewer")
        viewer.focus()
        order = tab.locator(".imagetable tbody th").all_inner_texts()
        first = viewer.get_attribute("data-shown")
        place = order.index(first)
        key, to = ("ArrowRight", place + 1) if place + 1 < len(order) else ("ArrowLeft", place - 1)
        viewer.press(key)
        tab.wait_for_selector(f'.viewer[data-shown="{order[to]}"]')
        before = threshold_of(tab)
        viewer.press("ArrowUp")
        assert threshold_of(tab) > before
        viewer.press("Shift+ArrowDown")
        assert threshold_of(tab) < before
        viewer.press("9")
        assert "95 % TPR" in tab.locator('[data-side="a"] [data-part="threshold"]').text_content()
        viewer.press("h")
        assert tab.locator('[data-side="a"] [data-part="base"]').is_visible()
        viewer.press("m")
        assert not tab.locator('[data-side="a"] [data-part="mask"]').is_visible()
        viewer.press("s")
        assert tab.locator('[data-side="b"]').is_visible()
        viewer.press("?")
        assert tab.locator("#keys").is_visible()
        tab.keyboard.press("Escape")
        assert not tab.locator("#keys").is_visible()
        outline = viewer.evaluate("(viewer) => getComputedStyle(viewer).outlineStyle")
        assert outline == "solid", "the focus is seen"
        assert (
            tab.locator('[data-side="a"] [data-part="stage"]').get_attribute("aria-label").startswith("original/street")
        )


def test_two_pictures_stand_at_the_same_share_of_ood_found(browser, measured):
    _, page = measured
    with opened(browser, page) as tab:
        tab.locator('[data-part="two"]').check()
        tab.locator('[data-side="a"] [data-part="level"]').evaluate(MOVE, 150)
        said = [tab.locator(f'[data-side="{side}"] [data-part="pooled"]').text_content() for side in "ab"]
        left, right = (float(text.split()[1]) for text in said)
        assert abs(left - right) < 2


def test_the_image_table_sorts_by_every_column_and_opens_the_viewer(browser, measured):
    run, page = measured
    table = load_run(run).datasets["road_anomaly"].images
    with opened(browser, page) as tab:
        rows = tab.locator(".imagetable tbody tr")

        def numbers() -> list[int]:
            return [int(number) for number in rows.evaluate_all("(rows) => rows.map((row) => row.dataset.image)")]

        worst = table.scores["abet"].false_positives.high
        share = [count / pixels for count, pixels in zip(worst, table.pixels.id, strict=True)]
        assert numbers() == sorted(range(4), key=lambda image: -share[image]), "the worst first"
        for key, values in (
            ("ap", table.scores["abet"].ap.value),
            ("auroc", table.scores["abet"].auroc.value),
            ("fpr95", table.scores["abet"].fpr95.value),
            ("fp", worst),
        ):
            heading = tab.locator(f'.imagetable th[data-sort="{key}"]')
            heading.locator("button").click()
            assert heading.get_attribute("aria-sort") == "descending"
            assert [values[image] for image in numbers()] == sorted(values, reverse=True)
            heading.locator("button").click()
            assert heading.get_attribute("aria-sort") == "ascending"
            assert [values[image] for image in numbers()] == sorted(values)
        tab.locator('.imagetable th[data-sort="name"] button').click()
        assert numbers() == [0, 1, 2, 3]
        rows.nth(2).locator("button").click()
        tab.wait_for_selector('.viewer[data-shown="original/street02.jpg"]')
        assert rows.nth(2).evaluate("(row) => row.classList.contains('current')")


def test_the_filter_acts_on_tables_curves_and_viewer_together(browser, measured):
    _, page = measured
    with opened(browser, page) as tab:
        visible = "(rows) => rows.filter((row) => row.offsetParent).map((row) => row.dataset.run + row.dataset.score)"
        comparison = tab.locator("h3 + .scroll tbody tr")
        assert comparison.evaluate_all(visible) == ["0abet", "0msp", "0energy", "1abet", "1msp"]
        tab.locator('input[name="score"][value="abet"]').uncheck()
        tab.locator('input[name="run"][value="1"]').uncheck()
        assert comparison.evaluate_all(visible) == ["0msp", "0energy"]
        assert tab.locator("#overview-table tbody tr").evaluate_all(visible) == ["0msp", "0energy"]
        tab.wait_for_function("document.querySelector('.plot').querySelectorAll('.scatterlayer .trace').length === 4")
        chosen = tab.locator('[data-side="a"] [data-part="choice"] option').all_text_contents()
        assert chosen == ["msp · one · abet-cityscapes", "energy · one · abet-cityscapes"][: len(chosen)]
        figures = tab.locator('.imagetable [data-part="choice"] option').all_text_contents()
        assert figures == ["msp · one · abet-cityscapes", "energy · one · abet-cityscapes"]
        assert tab.locator("figure[data-score]").evaluate_all(visible) == ["0msp", "0energy"]
        marked = "(rows) => rows.filter((row) => row.offsetParent).map((row) => row.querySelectorAll('.best').length)"
        best = comparison.evaluate_all(marked)
        assert sum(best) >= 6, "the best of what is shown"


def test_the_overview_shows_any_figure(browser, measured):
    run, page = measured
    with opened(browser, page) as tab:
        tab.locator("#overview-figure").select_option(label="AUROC (per-image-mean) ↑")
        entry = load_run(run).datasets["road_anomaly"].metrics.scores["abet"].protocols["per-image-mean"]
        cell = tab.locator("#overview-table tbody tr").first.locator("td").first
        assert cell.text_content().startswith(f"{100 * entry['auroc']['value']:.2f}")


def test_on_paper_controls_are_gone_and_the_viewer_stands_as_it_is(browser, measured):
    _, page = measured
    with opened(browser, page) as tab:
        tab.emulate_media(media="print")
        hidden = ("#filter", ".tools", 'input[type="range"]', "nav")
        assert not any(tab.locator(selector).first.is_visible() for selector in hidden)
        assert tab.locator('[data-side="a"] [data-part="stage"]').is_visible()
        assert tab.locator('[data-side="a"] [data-part="threshold"]').is_visible()
        heights = tab.locator(".imagetable .scroll").evaluate("(box) => [box.clientHeight, box.scrollHeight]")
        assert heights[0] == heights[1], "no table is cut"


def test_a_page_of_sixty_images_keeps_its_limit_and_decodes_what_is_shown(browser, tmp_path: Path):
    run = make_run(tmp_path / "run", images=60, scores=("abet", "msp"))
    page = tmp_path / "report.html"
    write_report([load_run(run)], page, max_megabytes=6.5)
    assert page.stat().st_size <= 6.5e6
    with opened(browser, page) as tab:
        assert tab.locator('.viewer [data-part="image"] option').count() == 60
        assert tab.evaluate("[...document.images].filter((image) => image.src.length > 20000).length") <= 2
