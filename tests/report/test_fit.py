"""The page keeps below its limit: maps become smaller, then fewer."""

from pathlib import Path

import pytest

from abet.errors import UsageError
from abet.report.page import render_page
from abet.report.runs import load_run
from tests.report.fake_runs import make_run
from tests.report.page_reader import Page


def test_the_page_keeps_below_its_limit(tmp_path: Path):
    runs = [load_run(make_run(tmp_path / name, images=3, scores=("abet", "msp"), size=(144, 256))) for name in "ab"]
    whole = len(render_page(runs).encode())
    pictures = sum(len(script) for script in Page(render_page(runs)).scripts[2:-2])
    for share, images in ((0.7, 3), (0.3, 3), (0.05, 0)):
        limit = int(whole - (1 - share) * pictures)
        source = render_page(runs, max_megabytes=limit / 1e6)
        assert len(source.encode()) <= limit
        ids = [script.get("id", "") for script in Page(source).attributes("script")]
        assert sum(name.startswith("image-") for name in ids) >= images, "maps shrink before images go"


def test_a_page_that_cannot_fit_names_the_option(run_path: Path):
    with pytest.raises(UsageError, match=r"--max-megabytes 1\b"):
        render_page([load_run(run_path)], max_megabytes=1)
