"""The page on paper."""

from tests.report.browsing import opened


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
