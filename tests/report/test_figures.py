"""What a figure says of the runs that it draws."""

from pathlib import Path

import pytest

from abet.report.figures import curves_figure
from abet.report.looks import looks
from abet.report.runs import load_run
from tests.report.fake_runs import edit_metrics, make_run


def chances(paths: list[Path]) -> dict[str, float]:
    """By what stands at it, at which precision a line is drawn that a random score would follow."""
    runs = [load_run(path) for path in paths]
    labels = [path.name for path in paths]
    layout = curves_figure(runs, labels, "road_anomaly", looks(["abet"], ["abet"], dashed=True))["layout"]
    level = {shape["y0"] for shape in layout["shapes"] if shape["yref"] == "y2"}
    notes = {note["text"]: note["y"] for note in layout["annotations"] if note["yref"] == "y2"}
    assert level == set(notes.values())
    return notes


def share(path: Path) -> float:
    pixels = edit_metrics(path, lambda metrics: None)["pixels"]
    return float(pixels["ood"] / (pixels["ood"] + pixels["id"]))


def test_runs_over_the_same_pixels_share_their_line_of_chance(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / name) for name in "ab"]
    assert chances(paths) == {"chance": pytest.approx(share(paths[0]))}


def test_runs_over_different_pixels_have_a_line_of_chance_each(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / name, images=n) for name, n in (("a", 1), ("b<", 3), ("c", 1))]
    expected = {"chance (a, c)": pytest.approx(share(paths[0])), "chance (b&lt;)": pytest.approx(share(paths[1]))}
    assert share(paths[0]) != share(paths[1])
    assert chances(paths) == expected
