"""One browser for all tests of a process, and pages that several test files look at."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from abet.report.page import render_page, write_report
from abet.report.runs import load_run
from tests.report.fake_runs import make_run
from tests.report.page_reader import Page

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def absent(reason: str) -> None:
    """Skip on a machine without a browser; on CI there must be one."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; CI must have it")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    executable = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
    if executable is None:
        absent("no chromium on PATH (apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "abet", images=3)


@pytest.fixture(scope="session")
def source(run_path: Path) -> str:
    return render_page([load_run(run_path)])


@pytest.fixture(scope="session")
def page(source: str) -> Page:
    return Page(source)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run with protocols beside one without: its folder and the page of both."""
    folder = tmp_path_factory.mktemp("viewer")
    first = make_run(folder / "one", images=4, scores=("abet", "msp", "energy"), protocols=True)
    second = make_run(folder / "two", images=4, scores=("abet", "msp"), quality=3.0, seed=9)
    write_report([load_run(first), load_run(second)], folder / "report.html")
    return first, folder / "report.html"
