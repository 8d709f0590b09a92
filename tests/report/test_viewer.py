"""The image viewer in a real browser: masks to the pixel, thresholds, keys, two pictures side by side."""

import json
from pathlib import Path

from abet.report.page import write_report
from abet.report.runs import load_run
from tests.report.browsing import MOVE, by_hand, opened, painted, threshold_of
from tests.report.fake_runs import edit_metrics, make_run


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


def test_two_pictures_stand_at_the_nearest_share_of_ood_found(browser, measured):
    _, page = measured
    with opened(browser, page) as tab:
        tab.locator('[data-part="two"]').check()
        tab.locator('[data-side="a"] [data-part="level"]').evaluate(MOVE, 150)
        places = [tab.locator(f'[data-side="{side}"] [data-part="choice"]').input_value() for side in "ab"]
        left, right = (tab.evaluate("(place) => page.sets[0].choices[place]", int(place)) for place in places)
        wanted = left["tpr"][150 - 1]
        nearest = min(range(len(right["tpr"])), key=lambda level: (abs(right["tpr"][level] - wanted), -level))
        assert tab.locator('[data-side="b"] [data-part="level"]').input_value() == str(nearest + 1)


def test_a_page_of_sixty_images_keeps_its_limit_and_decodes_what_is_shown(browser, tmp_path: Path):
    run = make_run(tmp_path / "run", images=60, scores=("abet", "msp"))
    page = tmp_path / "report.html"
    write_report([load_run(run)], page, max_megabytes=6.5)
    assert page.stat().st_size <= 6.5e6
    with opened(browser, page) as tab:
        assert tab.locator('.viewer [data-part="image"] option').count() == 60
        assert tab.evaluate("[...document.images].filter((image) => image.src.length > 20000).length") <= 2


def by_hand_curves(path: Path, curves: dict[str, dict[str, list[float]]]) -> Path:
    """Replace a run's curves by a few points of ROC curves, and leave no 95% threshold."""
    drawn = {key: {"roc": roc, "pr": {"recall": roc["tpr"], "precision": roc["tpr"]}} for key, roc in curves.items()}
    document = {"schema": 1, "dataset": "road_anomaly", "scores": drawn}
    (path / "evaluation/road_anomaly/curves.json").write_text(json.dumps(document))
    edit_metrics(path, lambda metrics: [figures.update(fpr95=None) for figures in metrics["scores"].values()])
    return path


def test_of_thresholds_with_one_tpr_the_one_with_the_fewest_false_alarms_is_taken(browser, tmp_path: Path):
    """Two rare-OOD scores: below the last OOD pixel, thresholds find as much and flag ever more."""
    curves = {
        "abet": {"threshold": [3, 2, 1, 0], "tpr": [0.5, 1, 1, 1], "fpr": [0, 0.1, 0.3, 0.9]},
        "msp": {"threshold": [5, 4, 3, 2, 1], "tpr": [0.25, 0.5, 1, 1, 1], "fpr": [0, 0.05, 0.2, 0.4, 0.8]},
    }
    run = by_hand_curves(make_run(tmp_path / "run", images=1, scores=("abet", "msp")), curves)
    write_report([load_run(run)], tmp_path / "report.html")
    with opened(browser, tmp_path / "report.html") as tab:
        tab.locator('[data-part="two"]').check()
        slider = tab.locator('[data-side="a"] [data-part="level"]')
        right = tab.locator('[data-side="b"] [data-part="pooled"]')
        for level, wanted in ((1, (100, 20)), (2, (100, 20)), (3, (100, 20)), (4, (50, 5))):
            slider.evaluate(MOVE, level)
            assert right.text_content().startswith("TPR {:.2f} %, FPR {:.2f} %".format(*wanted))
        slider.evaluate(MOVE, 1)
        tab.locator('[data-side="a"] [data-part="choice"]').select_option(label="msp")
        assert threshold_of(tab) == 3, "another score in the same picture keeps its TPR in the same way"


def test_shift_and_arrows_move_the_slider_that_has_the_focus_by_ten_stops(browser, measured):
    _, page = measured
    with opened(browser, page) as tab:
        tab.locator('[data-part="two"]').check()
        tab.locator('[data-part="linked"]').uncheck()
        sliders = [tab.locator(f'[data-side="{side}"] [data-part="level"]') for side in "ab"]
        for slider, other in (sliders, sliders[::-1]):
            slider.evaluate(MOVE, 100)
            before = other.input_value()
            for key, level in (("Shift+ArrowUp", 110), ("Shift+ArrowDown", 100), ("ArrowUp", 101), ("ArrowDown", 100)):
                slider.press(key)
                assert slider.input_value() == str(level), key
            assert other.input_value() == before
        names = [slider.get_attribute("aria-label") for slider in sliders]
        assert names == ["Threshold of the left picture", "Threshold of the right picture"]


NOISE = """{
  const read = OffscreenCanvasRenderingContext2D.prototype.getImageData;
  OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...box) {
    const found = read.apply(this, box);
    if (window.noisy === undefined || found.width === window.noisy) found.data[4 * 77] ^= 1;
    return found;
  };
}"""


def test_a_browser_that_alters_one_pixel_by_one_bit_is_found_out(browser, measured):
    _, page = measured
    with opened(browser, page, before=NOISE) as tab:
        notice = tab.locator('[data-part="altered"]')
        assert notice.is_visible()
        assert "alters what a page reads from pictures" in notice.text_content()
        assert not tab.locator('[data-side="a"] [data-part="mask"]').is_visible(), "no mask rather than a wrong one"
        assert tab.locator('[data-side="a"] [data-part="counts"]').text_content() == "not known: see above"
        tab.evaluate("window.noisy = -1")
        tab.locator('[data-do="previous"], [data-do="next"]').evaluate_all(
            "(both) => both.forEach((one) => one.click())"
        )
        tab.wait_for_selector('[data-part="altered"]', state="hidden")
        assert tab.locator('[data-side="a"] [data-part="mask"]').is_visible()


def test_an_honest_browser_gets_no_notice(browser, measured):
    _, page = measured
    with opened(browser, page) as tab:
        assert not tab.locator('[data-part="altered"]').is_visible()
