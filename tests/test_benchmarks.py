"""Benchmarks run from a checkout and write their own report."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FOLDER / script), *map(str, options)], capture_output=True, text=True, check=False
    )


@pytest.mark.faults
@pytest.mark.parametrize("script", ["centroids.py", "head.py", "metrics.py", "storage.py"])
def test_measuring_nothing_is_refused(script):
    result = run(script, "--repeats", 0)
    assert result.returncode == 2
    assert "'0' is no integer of at least 1" in result.stderr


def test_less_than_one_image_is_refused():
    result = run("metrics.py", "--pixels", 50_000)
    assert result.returncode == 2
    assert "--pixels 50000: less than one image, which has 2097152" in result.stderr


@pytest.fixture
def metrics(monkeypatch):
    """benchmarks/metrics.py as a module."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module("metrics")
    for name in ("metrics", "common"):
        del sys.modules[name]


def test_the_report_compares_with_the_same_pixels_and_tells_how_memory_grows(metrics, monkeypatch):
    answers = {
        "images alone": {"seconds": 0.0, "peak_mib": 50.0},
        "scikit-learn": {"seconds": 30.0, "peak_mib": 900.0, "figures": {"auroc": 0.5, "ap": 0.5}},
        "abet": {
            "seconds": 0.5,
            "peak_mib": 200.0,
            "figures": {"auroc": 0.5, "ap": 0.25},
            "brackets": {"auroc": [0.4, 0.6], "ap": [0.1, 0.3]},
        },
    }

    def measured(name, pixels, repeats=1):
        larger = pixels // 1_000_000
        return answers[name] | {
            "pixels": pixels,
            "seconds": answers[name]["seconds"] * larger,
            "peak_mib": 199 + larger,
        }

    monkeypatch.setattr(metrics, "measure", measured)
    text = metrics.report(1_000_000, [10, 20], 3)
    assert "| times scikit-learn's pixels/s at 1,000,000 |" in text
    assert "| abet, 20 times the pixels | 20,000,000 | 10.00 | 2.00 M | 60.0 | 219 |" in text
    assert "- Peak memory +9 MiB at 10 times the pixels." in text
    assert "- auroc: bracket 2.0e-01 wide, scikit-learn's figure inside." in text
    assert "- ap: bracket 2.0e-01 wide, scikit-learn's figure OUTSIDE." in text
    columns = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert columns == {8}


def test_the_report_on_storage_names_a_tool_that_could_not_be_had(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    storage = importlib.import_module("storage")
    times = {"upload": {"abet sync": [2.0, 1.0, 9.0], "aws s3": [3.0, 4.0, 5.0]}}
    tools = [SimpleNamespace(name=name, version="1", remark="its remark") for name in ("abet sync", "aws s3")]
    text = storage.report(times, tools, ["s5cmd could not be installed"], "a machine", 3)
    assert "| upload | 2.00 | 4.00 | 2.00 |" in text
    assert "- aws s3 1: its remark." in text
    assert "- s5cmd could not be installed" in text
    for name in ("storage", "common"):
        del sys.modules[name]


def test_the_report_on_centroids_compares_what_agrees_with_it(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    centroids = importlib.import_module("centroids")
    for name, pixels in (("HEIGHT", 200), ("WIDTH", 300), ("TILE", 64)):
        monkeypatch.setattr(centroids, name, pixels)
    text = centroids.report(maps=1, repeats=1, files=2)
    assert "Labels of 200 x 300 pixels (1, synthetic)" in text
    assert text.count("\n| ") == 4 + 4
    assert "| 32 | " in text
    answers = iter([np.zeros((1, 3)), np.ones((1, 3)), np.zeros((1, 3))])
    monkeypatch.setattr(centroids, "CONTESTANTS", dict.fromkeys(centroids.CONTESTANTS, lambda *_: next(answers)))
    with pytest.raises(AssertionError, match="disagree"):
        centroids.compare([None], 1)
    for name in ("centroids", "common"):
        del sys.modules[name]
