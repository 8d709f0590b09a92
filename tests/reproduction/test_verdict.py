"""What is said of one figure: reproduced or not, by which of our figures, and why there is nothing to say."""

from typing import Any

import pytest

from abet.detector import NOT_FITTED
from abet.merge import UNDEFINED
from abet.report.records import Metrics
from abet.reproduction.table import PaperTable
from abet.reproduction.verdict import Cell, counts, judge_table

PAPER = {"auroc": 90.0, "auprc": 50.0, "fpr95": 20.0}


def table(paper: dict[str, float | None] | None = None, **row: Any) -> PaperTable:
    row = {"method": "M", "checkpoint": "plain", "score": "msp", "figures": {"road_anomaly": paper or PAPER}, **row}
    words = {"schema": 1, "paper": "p", "arxiv": "0", "version": "v1", "table": "1"}
    return PaperTable.model_validate(
        {**words, "sets": {"road_anomaly": {"split": "test", "images": 60}}, "rows": [row]}
    )


def metrics(
    *, exact: tuple[float, ...] = (0.9, 0.5, 0.2), reference: tuple[float, ...] | None = (0.9, 0.5, 0.2), **changes: Any
) -> Metrics:
    """Measured figures; ``entry`` and ``dropped`` change the score's own part."""
    entry: dict[str, Any] = {key: {"value": value} for key, value in zip(("auroc", "ap", "fpr95"), exact, strict=True)}
    entry["fpr95"]["tpr"] = 0.95
    if reference is not None:
        found = dict(zip(("auroc", "auprc", "fpr95"), reference, strict=True))
        entry["reference_protocol"] = {**found, "tpr": 0.934, "dropped": changes.pop("dropped", {"id": 0, "ood": 0})}
    entry |= changes.pop("entry", {})
    words = {"schema": 1, "dataset": "road_anomaly", "split": "test", "images": 60}
    pixels = {"id": 1000, "ood": 100, "void": 0}
    checkpoint = {"uri": "w", "sha256": "0"}
    return Metrics.model_validate(
        {**words, "checkpoint": checkpoint, "pixels": pixels, "scores": {"msp": entry}, **changes}
    )


def judged(paper_table: PaperTable, found: Metrics | None, **options: float) -> dict[str, Cell]:
    there = {} if found is None else {("plain", "road_anomaly"): found}
    absent = {("plain", "road_anomaly"): "no weights"} if found is None else {}
    return {cell.figure: cell for cell in judge_table(paper_table, there, absent, **options)}  # type: ignore[arg-type]


def test_the_protocols_figure_decides_and_the_exact_one_is_told() -> None:
    cells = judged(table(), metrics(reference=(0.9009, 0.5, 0.21), exact=(0.9, 0.468, 0.2)), tolerance_points=0.1)
    assert [cell.verdict for cell in cells.values()] == ["reproduced", "reproduced", "differs"]
    assert cells["auroc"].because == "by the protocol within 0.1 points; exact within 0.1 points"
    assert cells["auprc"].because == (
        "by the protocol within 0.1 points; exact 3.20 points lower; the protocol ranks by 100 bins"
    )
    assert cells["fpr95"].because == (
        "by the protocol 1.00 points higher; exact within 0.1 points; "
        "its point finds 93.40% of the OOD pixels, not 95.00%"
    )
    auprc = cells["auprc"]
    assert (auprc.paper, auprc.reference, auprc.exact) == (0.5, 0.5, 0.468)


def test_pixels_that_the_protocol_drops_are_named_where_it_matters() -> None:
    found = metrics(exact=(0.9, 0.468, 0.2), dropped={"id": 8, "ood": 1})
    cells = judged(table(), found)
    assert cells["auprc"].because.endswith("the protocol drops 0.8% of the ID pixels and 1% of the OOD pixels")
    assert "drops" not in cells["auroc"].because


@pytest.mark.parametrize(("off", "verdict"), [(0.1, "reproduced"), (-0.1, "reproduced"), (0.101, "differs")])
def test_the_tolerance_itself_is_within(off: float, verdict: str) -> None:
    found = metrics(reference=((90 + off) / 100, 0.5, 0.2))
    assert judged(table(), found, tolerance_points=0.1)["auroc"].verdict == verdict


def test_a_difference_that_rounds_to_the_tolerance_is_told_with_more_digits() -> None:
    cell = judged(table(), metrics(reference=((90 + 0.104) / 100, 0.5, 0.2)), tolerance_points=0.1)["auroc"]
    assert (cell.verdict, "0.1040 points higher" in cell.because) == ("differs", True), cell.because


@pytest.mark.parametrize(
    ("row", "found", "said"),
    [
        ({}, None, "no weights"),
        ({"score": "no_such"}, metrics(), "this version of abet has no score 'no_such'"),
        ({"score": "entropy"}, metrics(), "evaluated without 'entropy'"),
        ({"checkpoint": None, "score": None, "reason": "another network"}, metrics(), "another network"),
        ({}, metrics(entry={"auroc": None, "ap": None, "fpr95": None, "reason": "not fitted yet"}), "not fitted yet"),
        ({}, metrics(entry={**UNDEFINED, "reason": NOT_FITTED}), f"{NOT_FITTED}, then with another --output"),
    ],
)
def test_what_is_not_computed_has_its_reason(row: dict[str, Any], found: Metrics | None, said: str) -> None:
    cells = judged(table(**row), found).values()
    assert {(cell.verdict, cell.because) for cell in cells} == {("not computed", said)}


def test_another_number_of_images_is_shown_and_not_compared() -> None:
    cells = judged(table(), metrics(images=48))
    assert {cell.verdict for cell in cells.values()} == {"not compared"}
    assert cells["auroc"].because == "48 images were evaluated, the paper's set has 60"
    assert cells["auroc"].reference == 0.9


def test_a_figure_that_the_paper_or_the_protocol_lacks_is_not_compared() -> None:
    cells = judged(table({**PAPER, "auprc": None}, reason="not legible"), metrics())
    assert [cell.verdict for cell in cells.values()] == ["reproduced", "not compared", "reproduced"]
    assert cells["auprc"].because == "not legible"
    without = metrics(reference=None, entry={"reference_protocol_reason": "no formula there"})
    cells = judged(table(), without)
    assert cells["auroc"].because == "no figure by the paper's protocol: no formula there"
    assert cells["auroc"].exact == 0.9


def test_verdicts_are_counted() -> None:
    cells = list(judged(table(), metrics(reference=(0.9, 0.5, 0.9))).values())
    assert counts(cells) == {"reproduced": 2, "differs": 1, "not compared": 0, "not computed": 0}
