"""The page in a real browser: it draws, complains of nothing and asks nobody for anything, and obeys its reader."""

from pathlib import Path

import pytest

from abet.report.page import write_report
from abet.report.runs import load_run
from tests.report.browsing import opened
from tests.report.fake_runs import SCORES, make_run


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
