"""The image viewer in a real browser: masks to the pixel, thresholds, keys, two pictures side by side."""

from pathlib import Path

from abet.report.page import write_report
from abet.report.runs import load_run
from tests.report.browsing import MOVE, by_hand, opened, painted, threshold_of
from tests.report.fake_runs import make_run


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


def test_a_page_of_sixty_images_keeps_its_limit_and_decodes_what_is_shown(browser, tmp_path: Path):
    run = make_run(tmp_path / "run", images=60, scores=("abet", "msp"))
    page = tmp_path / "report.html"
    write_report([load_run(run)], page, max_megabytes=6.5)
    assert page.stat().st_size <= 6.5e6
    with opened(browser, page) as tab:
        assert tab.locator('.viewer [data-part="image"] option').count() == 60
        assert tab.evaluate("[...document.images].filter((image) => image.src.length > 20000).length") <= 2
