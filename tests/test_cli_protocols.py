"""What the terminal says of an evaluation with protocols: figures beside the exact ones, and what comes next."""

import json
from pathlib import Path
from typing import Any

import pytest

from abet.cli.protocol_tables import print_protocols
from tests.conftest import Cli
from tests.report.fake_runs import edit_metrics, make_run
from tests.trees import make_road_anomaly

SET = "road_anomaly"


@pytest.fixture
def metrics(tmp_path: Path) -> dict[str, Any]:
    """Of an evaluation with protocols; of ``abet`` Meta-OoD's figures are the reference's."""

    def change(metrics: dict[str, Any]) -> None:
        for key, entry in metrics["scores"].items():
            meta = dict(entry["reference_protocol"]) | ({} if key == "abet" else {"fpr95": 0.4321})
            entry["protocols"]["meta-ood-100-bins"] = meta

    return edit_metrics(make_run(tmp_path / "a", scores=("abet", "msp"), protocols=True), change)


def rows_of(text: str) -> list[list[str]]:
    """The lines of the tables that begin with a score."""
    return [line.split() for line in text.splitlines() if line.split()[:1] in (["abet"], ["msp"])]


def test_every_figure_stands_beside_the_exact_one(metrics: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    print_protocols(metrics)
    shown = rows_of(capsys.readouterr().out)[:2]
    for row, (key, entry) in zip(shown, metrics["scores"].items(), strict=True):
        smiyc, mean = (entry["protocols"][name] for name in ("smiyc-quantile-bins", "per-image-mean"))
        auroc, ap, fpr95 = ([entry[name]["value"], mean[name]["value"]] for name in ("auroc", "ap", "fpr95"))
        wanted = [*auroc, ap[0], smiyc["ap"], ap[1], fpr95[0], smiyc["fpr95"], fpr95[1], smiyc["best_f1"]]
        assert [row[0], *(cell.strip("*") for cell in row[1:])] == [key, *(f"{100 * value:.2f}" for value in wanted)]


def test_a_figure_more_than_a_point_off_is_marked(metrics: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    exact = metrics["scores"]["abet"]["ap"]["value"] = 0.5
    for off, marked in ((0.009, False), (-0.0101, True), (0.0101, True)):
        metrics["scores"]["abet"]["protocols"]["smiyc-quantile-bins"]["ap"] = exact + off
        print_protocols(metrics)
        out = capsys.readouterr().out
        assert (f"*{100 * (exact + off):.2f}" in out) == marked
    assert "* more than a point from the exact figure; SMIYC: smiyc-quantile-bins; image: per-image-mean" in out


def test_intervals_and_what_meta_ood_has_of_its_own(
    metrics: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    print_protocols(metrics)
    out = capsys.readouterr().out
    ends = metrics["scores"]["msp"]["protocols"]["image-bootstrap"]["ap"]
    assert f"{100 * ends['low']:.2f} .. {100 * ends['high']:.2f}" in out
    assert "meta-ood-100-bins: as the reference, but for msp FPR95 43.21" in out


def test_a_terminal_of_80_columns_shows_every_score_and_figure(
    metrics: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    print_protocols(metrics)
    tables = [line.rstrip() for line in capsys.readouterr().out.splitlines() if not line.startswith(("*", "meta"))]
    rule = max(line.count("─") for line in tables)
    assert rule + len("react_energy") - len("score") <= 80


def test_what_is_undefined_or_was_not_measured_is_no_error(
    metrics: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    entry = metrics["scores"]["abet"]["protocols"]
    entry["smiyc-quantile-bins"] |= {"ap": None, "reason": "no OOD pixel"}
    entry["image-bootstrap"]["auroc"] = None
    entry["per-image-mean"]["fpr95"] |= {"value": None}
    del entry["meta-ood-100-bins"]
    print_protocols(metrics)
    assert [row.count("n/a") for row in rows_of(capsys.readouterr().out) if row[0] == "abet"] == [2, 1]
    for entry in metrics["scores"].values():
        del entry["protocols"]
    print_protocols(metrics)
    assert capsys.readouterr().out == ""


def test_both_passes_say_what_comes_next_once_and_at_the_end(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path
) -> None:
    make_road_anomaly(tmp_path / "ra", count=1)
    usual = ("evaluate", "--checkpoint", learned_checkpoint, "--dataset", SET, "--data-root", tmp_path / "ra")
    usual = (*usual, "--scores", "abet", "--samples", 0, "--output", tmp_path / "run")
    finished = cli(*usual, "--components")
    assert finished.code == 0, finished.err
    assert finished.err.count("next: abet report") == 1
    assert finished.err.splitlines()[-1].startswith("next: abet report")
    assert "test 1/1: 1 image, " in finished.err
    assert "1 score on" in finished.err
    assert finished.out.index("by protocol") < finished.out.index("components of road_anomaly (test, 1 image)")
    assert "1 of 1 shard is there and kept" in cli(*usual, "--protocols", "--only-missing").err
    merged = cli("merge", tmp_path / "run", "--dataset", SET)
    assert merged.err.splitlines()[-1].startswith("next: abet report")
    assert "by protocol" in merged.out
    assert merged.out.count("components of road_anomaly") == 1
    held = json.loads((tmp_path / "run/evaluation" / SET / "metrics.json").read_text())
    assert "smiyc-components" in held["scores"]["abet"]["protocols"]
