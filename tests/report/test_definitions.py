"""Runs of one set that read its labels by different definitions of OOD: each figure is of its own run's pixels."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from abet.labels import ID, OOD, VOID
from abet.report.page import render_page, write_report
from abet.report.runs import load_run
from tests.report.browsing import by_hand, opened, painted, threshold_of
from tests.report.fake_runs import make_run
from tests.report.page_reader import Page, block, codes_of

WHOLE = "image_all_objects"
DARKENED = """(rim) => {
  const copy = new OffscreenCanvas(rim.width, rim.height).getContext('2d', {willReadFrequently: true});
  copy.drawImage(rim, 0, 0);
  const pixels = copy.getImageData(0, 0, rim.width, rim.height).data;
  return pixels.filter((value, place) => place % 4 === 3 && value === 120).length;
}"""


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of the usual definition and one for which cars are OOD too and nothing is void."""
    folder = tmp_path_factory.mktemp("definitions")
    options = {"images": 4, "scores": ("abet",), "protocols": True}
    usual = make_run(folder / "one", **options)
    return usual, make_run(folder / "two", definition=WHOLE, quality=2.0, seed=5, **options)


@pytest.fixture(scope="module")
def mixed(paths: tuple[Path, Path]) -> Path:
    output = paths[0].parent / "report.html"
    write_report([load_run(path) for path in paths], output)
    return output


def labels_of(path: Path) -> list[NDArray[np.uint8]]:
    data = load_run(path).datasets["road_anomaly"]
    return [data.sample(name).label for name in data.samples]


def count_by_hand(path: Path, *, known: list[int], ood: list[int]) -> None:
    """Give each image of a run so many ID and OOD pixels, and a hundred false positives."""
    file = path / "evaluation/road_anomaly/images.json"
    table = json.loads(file.read_text())
    table["pixels"] = {"id": known, "ood": ood}
    table["scores"]["abet"]["false_positives"] = {"low": [100] * len(known), "high": [100] * len(known)}
    file.write_text(json.dumps(table))


def test_figures_of_an_image_go_with_the_pixels_that_their_own_run_counted(paths, mixed: Path):
    table = block(Page(mixed.read_text()), "page")["sets"][0]["table"]
    assert [figures["run"] for figures in table["figures"]] == [0, 1]
    for figures, path in zip(table["figures"], paths, strict=True):
        for kind, value in (("id", ID), ("ood", OOD)):
            counted = [int((label == value).sum()) for label in labels_of(path)]
            assert table["pixels"][figures["pixels"]][kind] == counted


def test_runs_that_counted_the_same_pixels_share_them(tmp_path: Path, paths):
    part = make_run(tmp_path / "part", images=2, scores=("abet", "msp"), protocols=True)
    table = block(Page(render_page([load_run(part), load_run(paths[0])])), "page")["sets"][0]["table"]
    (pixels,) = table["pixels"]
    assert pixels["id"] == [int((label == ID).sum()) for label in labels_of(paths[0])]
    assert {figures["pixels"] for figures in table["figures"]} == {0}


def test_the_image_table_shows_and_sorts_by_the_shares_of_the_chosen_run(browser, tmp_path: Path):
    names = {"one": None, "two": WHOLE}
    made = [
        make_run(tmp_path / name, images=4, protocols=True, scores=("abet",), definition=names[name]) for name in names
    ]
    count_by_hand(made[0], known=[8000, 4000, 2000, 1000], ood=[5, 6, 7, 8])
    count_by_hand(made[1], known=[1000, 2000, 4000, 8000], ood=[15, 16, 17, 18])
    write_report([load_run(path) for path in made], tmp_path / "report.html")
    wanted = {
        "one": [("3", "8", "10.00"), ("2", "7", "5.00"), ("1", "6", "2.50"), ("0", "5", "1.25")],
        "two": [("0", "15", "10.00"), ("1", "16", "5.00"), ("2", "17", "2.50"), ("3", "18", "1.25")],
    }
    with opened(browser, tmp_path / "report.html") as tab:
        rows = tab.locator(".imagetable tbody tr")
        for run, order in wanted.items():
            tab.locator('.imagetable [data-part="choice"]').select_option(label=f"abet · {run} · abet-cityscapes")
            shown = rows.evaluate_all(
                "(rows) => rows.map((row) => [row.dataset.image, row.cells[1].textContent, row.cells[5].textContent])"
            )
            assert list(map(tuple, shown)) == order
        tab.locator('.imagetable th[data-sort="ood"] button').click()
        assert rows.evaluate_all("(rows) => rows.map((row) => row.dataset.image)") == ["3", "2", "1", "0"]
        tab.locator('input[name="score"]').uncheck()
        assert {row.locator("td").first.inner_text() for row in rows.all()} == {""}, "of no run in particular"


def test_every_run_has_the_label_that_it_read_and_runs_that_agree_share_one(tmp_path: Path, paths, mixed: Path):
    page = Page(mixed.read_text())
    for image, labels in enumerate(zip(*map(labels_of, paths), strict=True)):
        pictures = block(page, f"image-0-{image}")
        assert len(pictures["labels"]) == 2
        for run, label in enumerate(labels):
            codes = codes_of(pictures["labels"][pictures["label_of"][str(run)]])
            for code, kind in enumerate((ID, OOD, VOID)):
                assert np.array_equal(codes == code, label == kind)
    # The fourth kept no maps of the second image: its label is that of the run that reads labels as it does
    runs = [*paths, make_run(tmp_path / "c", images=4), make_run(tmp_path / "d", images=4, samples=1, definition=WHOLE)]
    pictures = block(Page(render_page([load_run(path) for path in runs])), "image-0-1")
    assert pictures["label_of"] == {"0": 0, "1": 1, "2": 0, "3": 1}
    assert len(pictures["labels"]) == 2


def test_the_viewer_judges_every_run_by_the_label_that_it_read(browser, paths, mixed: Path):
    with opened(browser, mixed) as tab:
        name = tab.locator(".viewer").get_attribute("data-shown")
        side = tab.locator('[data-side="a"]')
        for path, run in zip(paths, ("one", "two"), strict=True):
            side.locator('[data-part="choice"]').select_option(label=f"abet · {run} · abet-cityscapes")
            counts = by_hand(path, name, "abet", threshold_of(tab))
            assert painted(tab) == counts
            label = load_run(path).datasets["road_anomaly"].sample(name).label
            false, known = counts["false"], int((label == ID).sum())
            said = side.locator('[data-part="counts"]').text_content()
            assert said.startswith(f"{false:,} of {known:,} ID pixels flagged ({100 * false / known:.1f} %)")
            assert (side.locator('[data-part="rim"]').evaluate(DARKENED) > 0) == bool((label == VOID).any())
        tab.locator('input[name="score"]').uncheck()
        assert not side.locator('[data-part="rim"]').is_visible(), "nobody knows whose it would be"
