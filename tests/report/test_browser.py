"""The page in a real browser: it draws, complains of nothing and asks nobody for anything, and obeys its reader."""

from pathlib import Path

import pytest

from abet.report.page import write_report
from abet.report.runs import load_run
from tests.report.browsing import opened, resized, watched
from tests.report.fake_runs import SCORES, edit_metrics, make_run


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    runs = [make_run(folder / "<b>one"), make_run(folder / "two", checkpoint="w/<img src=x onerror=alert(1)>")]
    write_report([load_run(path) for path in runs], folder / "report.html")
    return folder / "report.html"


def test_the_page_draws_without_errors_or_requests(browser, report: Path):
    with watched(browser, report) as tab:  # which fails of either
        tab.wait_for_function(
            "document.querySelectorAll('.plot').length === document.querySelectorAll('.plot.js-plotly-plot').length"
        )
        lines = tab.locator(".plot .scatterlayer .trace").count()
        assert lines == 2 * 2 * len(SCORES) + 2 * 2 * len(SCORES), "ROC and PR, then ID and OOD of each histogram"
        legend = tab.locator(".plot").first.locator(".legendtext").all_text_contents()
        assert any("<b>one" in name for name in legend), "a tag in a name is shown, not obeyed"


def test_the_buttons_of_a_plot_keep_it_here(browser, report: Path):
    with watched(browser, report) as tab:
        titles = tab.evaluate("[...document.querySelectorAll('.modebar-btn')].map((button) => button.dataset.title)")
        assert set(titles) == {"Download plot as a PNG", "Zoom", "Pan", "Reset axes"}
        tab.locator(".plot").first.hover()
        with tab.expect_download() as download:
            tab.locator(".modebar-btn").first.click()
        assert download.value.suggested_filename.endswith(".png")


@pytest.mark.parametrize("width", [360, pytest.param(800, marks=pytest.mark.faults), 1280])
def test_no_screen_is_too_narrow(browser, report: Path, width: int):
    with watched(browser, report, width=width, height=700) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        plots = tab.evaluate("[...document.querySelectorAll('.plot')].map((p) => [p.clientWidth, p.scrollWidth])")
        assert all(inner <= outer for outer, inner in plots)


def test_a_legend_entry_hides_both_its_lines(browser, report: Path):
    with watched(browser, report) as tab:
        curves = tab.locator(".plot").first
        before = curves.locator(".scatterlayer .trace").count()
        curves.locator(".legendtoggle").first.click()
        tab.wait_for_function(
            "(lines) => document.querySelector('.plot').querySelectorAll('.scatterlayer .trace').length === lines",
            arg=before - 2,
        )


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
        assert tab.locator("#hidden-scores").inner_text() == ""
        tab.locator('input[name="score"][value="abet"]').uncheck()
        assert tab.locator("#hidden-scores").inner_text() == "1 of 3 hidden"
        tab.locator('input[name="run"][value="1"]').uncheck()
        assert comparison.evaluate_all(visible) == ["0msp", "0energy"]
        assert tab.locator("#overview-table tbody tr").evaluate_all(visible) == ["0msp", "0energy"]
        tab.wait_for_function("document.querySelector('.plot').querySelectorAll('.scatterlayer .trace').length === 4")
        chosen = tab.locator('[data-side="a"] [data-part="choice"] option').all_text_contents()
        assert chosen == ["msp · one · abet-cityscapes"], "two of each run have maps"
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


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run two of whose scores lack the figures of the paper's bins, each for a reason of its own."""
    folder = tmp_path_factory.mktemp("lacking")
    run = make_run(folder / "a", scores=("abet", "energy", "msp"), protocols=True)

    def change(metrics):
        for key in ("energy", "msp"):
            metrics["scores"][key].update(reference_protocol=None, reference_protocol_reason=f"{key} lacks something")

    edit_metrics(run, change)
    write_report([load_run(run)], folder / "report.html")
    return folder / "report.html"


def test_the_overview_greys_what_is_missing_whatever_figure_it_shows(browser, lacking: Path):
    with opened(browser, lacking) as tab:
        cells = tab.locator("#overview-table tbody td")
        greyed = "(cells) => cells.map((cell) => [cell.textContent === 'n/a', cell.classList.contains('none')])"
        choose = tab.locator("#overview-figure")
        choose.select_option(label="AUROC (the paper's 100 bins) ↑")
        assert cells.evaluate_all(greyed) == [[False, False], [True, True], [True, True]]
        choose.select_option(label="AUROC (exact) ↑")
        assert cells.evaluate_all(greyed) == [[False, False]] * 3


def test_footnotes_are_those_of_the_rows_that_are_shown(browser, lacking: Path):
    with opened(browser, lacking) as tab:
        notes = tab.locator("ol.notes li")
        visible = "(all) => all.filter((one) => one.offsetParent).map((one) => [one.value, one.textContent])"
        assert notes.evaluate_all(visible) == [[1, "energy lacks something"], [2, "msp lacks something"]]
        tab.locator('input[name="score"][value="energy"]').uncheck()
        assert notes.evaluate_all(visible) == [[2, "msp lacks something"]], "under its own number"
        tab.locator('input[name="score"][value="energy"]').check()
        assert len(notes.evaluate_all(visible)) == 2


def test_no_axis_title_lies_on_the_other_plot(browser, report: Path):
    with watched(browser, report, width=721) as tab:
        for width in (721, 760, 800, 900, 1280):
            resized(tab, width)
            frame, title = tab.evaluate(
                """() => {
                  const plot = document.querySelector(".plot"), axis = plot._fullLayout.xaxis;
                  const end = plot.getBoundingClientRect().left + axis._offset + axis._length;
                  return [end, plot.querySelector(".g-y2title").getBoundingClientRect().left];
                }"""
            )
            assert title > frame + 4, f"{width} pixels"


def test_what_a_link_leads_to_is_not_below_the_filter(browser, tmp_path: Path):
    keys = tuple(f"a_long_name_of_score_{number}" for number in range(16))
    runs = [load_run(make_run(tmp_path / name, scores=keys, images=1)) for name in "ab"]
    write_report(runs, tmp_path / "report.html")
    with watched(browser, tmp_path / "report.html", width=721) as tab:
        for width in (721, 800, 1280):
            resized(tab, width)
            tab.locator("#set-1").evaluate("(heading) => heading.scrollIntoView({ behavior: 'instant' })")
            heading, cover = tab.evaluate(
                "['#set-1', '#filter'].map((each) => document.querySelector(each).getBoundingClientRect())"
                ".map((box, place) => (place ? box.bottom : box.top))"
            )
            assert heading >= cover, f"{width} pixels"
            last = tab.locator("#filter button")
            last.scroll_into_view_if_needed()
            assert last.is_visible(), f"everything in it can be reached at {width} pixels"


@pytest.mark.parametrize("kind", ["run", "score"])
def test_a_plot_of_which_all_is_unchecked_gives_way_until_something_is_checked(browser, report: Path, kind: str):
    with watched(browser, report) as tab:  # which fails of what the console says
        curves, boxes = tab.locator(".plot").first, tab.locator(f'input[name="{kind}"]')
        lines = 2 * 2 * len(SCORES)
        count = "(lines) => document.querySelector('.plot').querySelectorAll('.scatterlayer .trace').length === lines"
        tab.wait_for_function(count, arg=lines)
        nothing = tab.get_by_text("Nothing to draw").first
        assert not nothing.is_visible()
        for place in range(boxes.count()):
            boxes.nth(place).uncheck()
        assert not curves.is_visible()
        assert nothing.is_visible()
        resized(tab, 800)
        for place in range(boxes.count()):
            boxes.nth(place).check()
        tab.wait_for_function(count, arg=lines)
        assert curves.evaluate("(plot) => plot._fullLayout.width === plot.clientWidth")
        assert not nothing.is_visible()
