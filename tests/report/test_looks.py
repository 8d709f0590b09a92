"""Scores of a page can be told apart: in the curves, in the filter, with and without colour vision."""

import json
from pathlib import Path

import pytest

from abet.report.looks import PALETTE, look, looks, swatch
from abet.report.page import SCORES_AT_FIRST, render_page
from abet.report.runs import load_run
from tests.report.fake_runs import make_run
from tests.report.page_reader import Page, block


@pytest.mark.parametrize("dashed", [True, False])
def test_no_two_of_many_scores_look_alike(dashed: bool) -> None:
    found = [look(number, dashed=dashed) for number in range(100)]
    assert len({(one.colour, one.symbol, one.fill, one.rim) for one in found}) == 100
    assert len({swatch(one.colour, one.dash, one) for one in found}) == 100


def test_of_24_scores_no_marker_comes_twice() -> None:
    """Whatever colours are seen: the shape, and whether it is filled, hollow or ringed."""
    found = [look(number, dashed=True) for number in range(24)]
    fills = [("hollow" if one.fill == "#ffffff" else "ringed" if one.rim != one.fill else "full") for one in found]
    assert len({(one.symbol, fill) for one, fill in zip(found, fills, strict=True)}) == 24


def contrast(one: str, other: str) -> float:
    """WCAG's ratio of two colours ``#rrggbb``, from 1 (none) to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_rim_of_a_marker_is_seen_on_its_filling() -> None:
    found = [one for number in range(24) if (one := look(number, dashed=True)).rim != one.fill]
    assert len(found) == 16
    assert all(contrast(one.rim, one.fill) > 1.8 for one in found)


def test_two_scores_of_one_colour_differ_in_shape_and_in_filling_or_dash() -> None:
    for number in range(16 - len(PALETTE)):
        one, other = look(number, dashed=True), look(number + len(PALETTE), dashed=True)
        assert one.colour == other.colour
        assert one.symbol != other.symbol
        assert one.fill != other.fill
        assert one.dash != other.dash


def test_what_is_shown_at_first_has_a_colour_each_wherever_it_stands() -> None:
    keys = [f"score_{number}" for number in range(20)]
    first = keys[::2][:SCORES_AT_FIRST]
    found = looks(keys, first, dashed=True)
    assert list(found) == keys
    assert len({found[key].colour for key in first}) == SCORES_AT_FIRST == len(PALETTE)


def test_the_page_draws_every_line_as_the_looks_say(tmp_path: Path) -> None:
    keys = tuple(f"score_{number}" for number in range(16))
    page = Page(render_page([load_run(make_run(tmp_path / "a", images=1, scores=keys))]))
    expected = looks(keys, block(page, "page")["shown"], dashed=True)
    figure = json.loads(page.scripts[0])[0]
    assert {trace["meta"]["score"] for trace in figure["data"]} == set(keys)
    for trace in figure["data"]:
        wanted = expected[trace["meta"]["score"]]
        assert (trace["line"]["color"], trace["line"]["dash"]) == (wanted.colour, wanted.dash)
        assert trace["marker"] | wanted.marker() == trace["marker"]
    drawn = [path for path in page.attributes("path") if "fill" in path]
    assert [(path["fill"], path["stroke"]) for path in drawn] == [(expected[k].fill, expected[k].rim) for k in keys]
