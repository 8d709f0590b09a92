"""The page keeps below its limit: maps become smaller, then fewer."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from abet.errors import UsageError
from abet.report.fit import fit
from abet.report.maps import Kept, choices
from abet.report.page import render_page
from abet.report.runs import load_run
from tests.report.fake_runs import make_run
from tests.report.page_reader import Page


def test_the_page_keeps_below_its_limit(tmp_path: Path):
    runs = [load_run(make_run(tmp_path / name, images=3, scores=("abet", "msp"), size=(144, 256))) for name in "ab"]
    unlimited = render_page(runs)
    whole = len(unlimited.encode())
    pictures = sum(len(script) for script in Page(unlimited).scripts[2:-2])
    for share, images in ((0.7, 3), (0.3, 3), (0.05, 0)):
        limit = int(whole - (1 - share) * pictures)
        source = render_page(runs, max_megabytes=limit / 1e6)
        assert len(source.encode()) <= limit
        ids = [script.get("id", "") for script in Page(source).attributes("script")]
        assert sum(name.startswith("image-") for name in ids) >= images, "maps shrink before images go"


def test_a_page_that_cannot_fit_names_the_option(run_path: Path):
    with pytest.raises(UsageError, match=r"--max-megabytes 1\b"):
        render_page([load_run(run_path)], max_megabytes=1)


def test_no_page_is_made_that_an_estimate_shows_to_be_too_large(tmp_path: Path):
    runs = [load_run(make_run(tmp_path / "a", images=3, scores=("abet", "msp"), size=(288, 512)))]
    chosen = {"road_anomaly": choices(runs, "road_anomaly")}
    sizes: list[int] = []

    def render(kept: Mapping[str, Kept]) -> str:
        sizes.append(len(json.dumps({name: dict(one.blocks) for name, one in kept.items()})))
        return "x" * sizes[-1]

    fit(runs, chosen, render, 10**9)
    whole = sizes[-1]
    sizes.clear()
    limit = int(whole * 0.95)
    assert len(fit(runs, chosen, render, limit)) <= limit
    assert all(size <= limit for size in sizes)


@pytest.mark.parametrize("limit", [math.inf, math.nan, -math.inf])
def test_a_limit_that_is_no_number_is_refused(run_path: Path, limit: float):
    with pytest.raises(UsageError, match=rf"--max-megabytes {limit}: a finite number of 10\^6 bytes, such as 25$"):
        render_page([load_run(run_path)], max_megabytes=limit)
