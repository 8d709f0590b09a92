"""A page of many scores and long names in a browser: nothing is cut off at any width, and counts follow the filter."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from abet.report.page import SCORES_AT_FIRST, write_report
from abet.report.runs import load_run
from tests.report.browsing import watched
from tests.report.fake_runs import edit_metrics, make_run

KEYS = ("abet", *(f"react_of_a_long_name_{number}" for number in range(15)))
LONG = "cityscapes_finetune_deeplabv3plus_wider_resnet38_learned_temperature_1024x2048_batch16_seed3"
WIDTHS = (360, 420, 800, 1280, 1400)


def add_wide_protocol(metrics) -> None:
    """The figures of SMIYC, and conditions as long as some protocols have."""
    for figures in metrics["scores"].values():
        figures["protocols"]["smiyc"] = {
            **{key: {"value": 0.5, "low": 0.4, "high": 0.6} for key in ("ap", "fpr95", "best_f1", "siou", "ppv", "f1")},
            **{"prevalence": 0.17, "threshold": -10.79, "best_f1_threshold": -9.275, "track": "obstacle-track"},
            **{"dropped": {"id": 123456789, "ood": 123456789}, "left_out": {"no OOD": 12, "no ID": 34, "no label": 56}},
            **{f"another_long_condition_{number}": {"pixels": 123456, "images": 24} for number in range(4)},
        }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    checkpoint = f"/checkpoints/{LONG}/step-00000500"
    first = make_run(folder / LONG, images=1, scores=KEYS, checkpoint=checkpoint, protocols=True)
    edit_metrics(first, add_wide_protocol)
    second = make_run(folder / LONG.replace("seed3", "seed4"), images=1, scores=KEYS[:2], checkpoint=checkpoint)
    write_report([load_run(first), load_run(second)], folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def tab(browser, page: Path) -> Iterator:
    """One tab for all of this file, everything unfolded; who changes the filter puts it back."""
    with watched(browser, page) as opened:
        opened.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        opened.wait_for_selector(".viewer[data-shown]", state="attached")
        yield opened


PROTRUDING = """() => {
  const width = document.documentElement.clientWidth;
  const found = [...document.querySelectorAll("header *, #filter *, main *, footer *")].filter((one) => {
    const scrolls = one.parentElement.closest(".scroll"), box = one.getBoundingClientRect();
    return !scrolls && !one.closest(".sr") && box.width && (box.right > width + 1 || box.left < -1);
  });
  return found.map((one) => `${one.tagName} ${one.getAttribute("class")} ${one.textContent.slice(0, 60)}`);
}"""
UNREACHED = """() => [...document.querySelectorAll(".scroll")].filter((box) => {
  box.scrollLeft = 1e6;
  const end = box.querySelector("tr:last-child > :last-child").getBoundingClientRect().right;
  box.scrollLeft = 0;
  return end > box.getBoundingClientRect().right + 1;
}).length"""
LINES_IN_LEGEND = """() => [...document.querySelector(".plot").querySelectorAll(".traces")].map((entry) => [
  entry.querySelector(".legendtext").textContent,
  entry.querySelector(".legendlines path").getAttribute("style"),
  entry.querySelector(".legendpoints path").getAttribute("d"),
  entry.querySelector(".legendpoints path").getAttribute("style"),
])"""


LEGEND_BELOW = """() => [...document.querySelectorAll('.plot[data-figure="0"]')].every((plot) => {
  const legend = plot.querySelector(".legend").getBoundingClientRect(), whole = plot.getBoundingClientRect();
  const ends = [...plot.querySelectorAll(".xtitle, .x2title")].map((title) => title.getBoundingClientRect().bottom);
  return ends.length === 2 && legend.top >= Math.max(...ends) && legend.bottom <= whole.bottom + 1;
})"""


def check_all(tab) -> None:
    tab.locator('[data-all="score"]').click()


def settle(tab, condition: str) -> None:
    """Until this holds for the first plot; asked from here, since the page's policy forbids what Playwright does."""
    for _ in range(200):
        if tab.evaluate(f"(() => {{ const plot = document.querySelector('.plot'); return {condition}; }})()"):
            return
        tab.wait_for_timeout(25)
    pytest.fail(f"never: {condition}")


def lines(tab, count: int) -> list[list[str]]:
    """What the legend of the first plot shows, when it has so many entries."""
    settle(tab, f"plot.querySelectorAll('.traces').length === {count}")
    return tab.evaluate(LINES_IN_LEGEND)


def test_counts_and_looks_follow_the_filter(tab) -> None:
    maps = tab.locator("#maps-0")
    assert maps.inner_text() == "4 score maps"
    before = lines(tab, SCORES_AT_FIRST + 2)
    tab.locator('input[name="score"][value="abet"]').uncheck()
    assert maps.inner_text() == "2 of 4 score maps (2 hidden by the filter)"
    tab.locator('input[name="run"][value="1"]').uncheck()
    assert maps.inner_text() == "1 of 4 score maps (3 hidden by the filter)"
    left = lines(tab, SCORES_AT_FIRST - 1)
    assert [line for line in before if line in left] == left, "a score keeps its look when others go"
    tab.locator('input[name="run"][value="1"]').check()
    check_all(tab)
    assert maps.inner_text() == "4 score maps"
    every = lines(tab, len(KEYS) + 2)
    assert [line for line in every if line in before] == before, "and when others come"
    assert len({tuple(line[1:]) for line in every}) == len(every), "no two lines are drawn alike"


def test_the_swatches_of_the_filter_are_all_different(tab) -> None:
    swatches = "(all) => all.map((one) => one.innerHTML)"
    found = tab.locator('#filter [data-kind="scores"] svg').evaluate_all(swatches)
    assert len(set(found)) == len(found) == len(KEYS)
    assert len(set(tab.locator('#filter [data-kind="runs"] svg').evaluate_all(swatches))) == 2
    sizes = tab.locator("#filter svg").evaluate_all("(all) => all.map((one) => one.clientWidth * one.clientHeight)")
    assert min(sizes) > 200


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off_at_any_width(tab, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 900})
    settle(tab, "plot._fullLayout.width === plot.clientWidth")
    assert tab.evaluate(PROTRUDING) == []
    assert tab.evaluate("document.documentElement.scrollWidth") == width, "the page does not scroll sideways"
    assert tab.evaluate(UNREACHED) == 0, "a table that is wider than the page scrolls to its end"
    assert tab.evaluate(LEGEND_BELOW), "the legend is below the curves, and whole"
    names = [name for name, *_ in lines(tab, len(KEYS) + 2)]
    assert len(set(names)) == len(names), "two runs never have one name, however short"
    assert all(re.match(rf"{key}\b", name) for key, name in zip(KEYS, names, strict=False)), "scores are whole"


def test_the_end_of_a_table_that_scrolls_is_marked(tab) -> None:
    box = tab.locator(".protocol .scroll").first
    assert box.evaluate("(box) => getComputedStyle(box).backgroundImage.match(/linear-gradient/g).length") == 4
    assert box.evaluate("(box) => getComputedStyle(box).backgroundAttachment") == "local, local, scroll, scroll"


def test_on_paper_the_looks_are_in_the_legend(tab) -> None:
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    found = lines(tab, len(KEYS) + 2)
    assert tab.locator(".plot .legend").first.is_visible()
    assert not tab.locator("#filter").is_visible()
    assert len({tuple(line[1:]) for line in found}) == len(found)
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    tab.emulate_media(media="screen")
