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
