"""The page in a real browser: it draws, complains of nothing and asks nobody for anything."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    assert tab.evaluate("[...document.images].every((image) => image.alt === '' || image.loading === 'lazy')")
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


def test_a_picture_enlarges_and_a_legend_entry_hides_both_its_lines(browser, report: Path):
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto(report.as_uri())
    curves = tab.locator(".plot").first
    before = curves.locator(".scatterlayer .trace").count()
    curves.locator(".legendtoggle").first.click()
    tab.wait_for_function(
        "(before) => document.querySelector('.plot').querySelectorAll('.scatterlayer .trace').length === before - 2",
        arg=before,
    )
    tab.locator("button.zoom").first.click()
    assert tab.locator("dialog img").get_attribute("src").startswith("data:image/jpeg")
    assert tab.locator("dialog").is_visible()
    tab.locator("dialog").click()
    assert not tab.locator("dialog").is_visible()
    tab.close()
