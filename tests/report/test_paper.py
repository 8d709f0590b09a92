"""The page on paper."""

from pathlib import Path

from tests.report.browsing import opened, watched


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


LISTEN = """() => {
  const draw = Plotly.react;
  window.drawn = {};
  Plotly.react = (plot, traces, layout, config) => {
    drawn[plot.dataset.figure] = layout.width;
    return draw(plot, traces, layout, config);
  };
}"""
# Asked before any script of the page: what was drawn last until then is on paper
AFTERWARDS = """async (name) => {
  while (!window[name]) await new Promise((done) => setTimeout(done, 20));
  return window[name];
}"""
AT_THE_END = "addEventListener('afterprint', () => (window.onPaper = structuredClone(drawn)));"


def test_figures_are_drawn_for_paper_though_folded_ones_are_opened_by_printing(browser, measured, tmp_path: Path):
    _, page = measured
    with watched(browser, page, before=AT_THE_END) as tab:
        folded = tab.locator("details").evaluate_all("(all) => all.map((one) => (one.open = false, one.open))")
        assert len(folded) >= 3, "protocols, differences and histograms"
        tab.wait_for_timeout(100)  # their toggle events
        before = tab.locator(".plot").first.evaluate("(plot) => plot.clientWidth")
        tab.evaluate(LISTEN)
        tab.pdf(path=tmp_path / "page.pdf", format="A4")
        widths = tab.evaluate(AFTERWARDS, "onPaper")
        assert widths.pop("0") == 680
        assert set(widths.values()) == {330}, "histograms take half of the sheet"
        tab.wait_for_timeout(100)  # toggle events again
        assert tab.evaluate("drawn[0]") == before
        assert tab.locator("details").evaluate_all("(all) => all.map((one) => one.open)") == folded, "as before"


def test_an_event_amid_printing_does_not_draw_for_the_screen(browser, measured):
    _, page = measured
    with watched(browser, page) as tab:
        tab.evaluate(LISTEN)
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        tab.locator("details.drawn").evaluate("(one) => one.dispatchEvent(new Event('toggle'))")
        tab.set_viewport_size({"width": 1100, "height": 900})
        tab.wait_for_timeout(300)  # a resize is drawn when it has lasted
        assert tab.evaluate("drawn[0]") == 680
        tab.evaluate("dispatchEvent(new Event('afterprint'))")
        assert tab.evaluate("drawn[0]") == tab.locator(".plot").first.evaluate("(plot) => plot.clientWidth")


def test_a_viewer_that_was_never_reached_prints_its_first_image(browser, measured):
    _, page = measured
    with watched(browser, page, height=200) as tab:
        tab.wait_for_selector(".viewer[data-shown]", state="attached")
        assert tab.evaluate("scrollY") == 0
        tab.emulate_media(media="print")
        photo = tab.locator('[data-side="a"] [data-part="photo"]')
        assert photo.evaluate("(photo) => photo.naturalWidth") > 0
        first = tab.locator(".imagetable tbody th").first.inner_text()
        assert tab.locator(".viewer").get_attribute("data-shown") == first, "the worst by the table"


def test_a_viewer_without_an_image_is_not_printed(browser, measured):
    _, page = measured
    with opened(browser, page) as tab:
        tab.locator(".viewer").evaluate("(viewer) => delete viewer.dataset.shown")
        tab.emulate_media(media="print")
        assert not tab.locator(".viewer").is_visible()
