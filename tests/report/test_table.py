"""The comparison table: digits, brackets, the best of a column, reasons for what is missing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abet.report.runs import label_runs, load_run
from abet.report.table import COLUMNS, Table, comparison, percent, spread
from tests.report.fake_runs import SCORES, edit_metrics, make_run


def table_of(*paths: Path) -> Table:
    runs = [load_run(path) for path in paths]
    return comparison(runs, label_runs(runs), "road_anomaly")


def test_a_row_per_run_and_score_with_every_figure_of_metrics_json(tmp_path: Path):
    path = make_run(tmp_path / "a")
    metrics = edit_metrics(path, lambda metrics: None)
    rows = table_of(path, make_run(tmp_path / "b", scores=("msp",))).rows
    assert [row.score for row in rows] == [*SCORES, "msp"]
    for row in rows[: len(SCORES)]:
        figures = metrics["scores"][row.score]
        reference = figures["reference_protocol"]
        exact = [figures[name]["value"] for name in ("auroc", "ap", "fpr95")]
        expected = [*exact, *(reference[name] for name in ("auroc", "auprc", "fpr95"))]
        assert [cell.value for cell in row.cells] == expected
        assert [cell.text for cell in row.cells] == [f"{100 * value:.2f}" for value in expected]
        assert all(repr(value) in cell.detail for value, cell in zip(expected, row.cells, strict=True))


def test_best_is_high_or_low_as_the_column_says_and_ties_share_it(tmp_path: Path):
    first, second = make_run(tmp_path / "a", scores=("abet", "msp")), make_run(tmp_path / "b", scores=("abet",))
    rows = table_of(first, second).rows
    for index, column in enumerate(COLUMNS):
        values = [row.cells[index].value for row in rows]
        best = (max if column.better > 0 else min)(values)
        assert [row.cells[index].best for row in rows] == [value == best for value in values]
    assert rows[0].cells[0].best
    assert rows[2].cells[0].best, "both abet rows hold the same figures"


def test_a_single_value_is_not_the_best_of_anything(tmp_path: Path):
    (row,) = table_of(make_run(tmp_path / "a", scores=("abet",))).rows
    assert not any(cell.best for cell in row.cells)


def test_a_run_that_does_not_name_the_usual_split_compares_with_one_that_does(tmp_path: Path):
    first, second = make_run(tmp_path / "a", scores=("abet", "msp")), make_run(tmp_path / "b", scores=("abet",))
    edit_metrics(second, lambda metrics: metrics.update(split=None))
    edit_metrics(first, lambda metrics: metrics.update(split="test"))
    assert all(cell.compares for row in table_of(first, second).rows for cell in row.cells)


@pytest.mark.parametrize(
    "change", [{"ood_definition": "image"}, {"images": 1}, {"pixels": {"id": 9, "ood": 9, "void": 9}}]
)
def test_runs_on_other_pixels_or_by_another_definition_have_no_best(tmp_path: Path, change):
    first, second = make_run(tmp_path / "a", scores=("abet", "msp")), make_run(tmp_path / "b", scores=("abet",))
    edit_metrics(second, lambda metrics: metrics.update(change))
    cells = [cell for row in table_of(first, second).rows for cell in row.cells]
    assert not any(cell.best or cell.compares for cell in cells)


@pytest.mark.parametrize(("other", "compare"), [("a" * 64, True), ("b" * 64, False), (None, True)])
def test_runs_on_other_files_of_the_same_names_have_no_best_where_both_say_which(tmp_path: Path, other, compare):
    first, second = make_run(tmp_path / "a", scores=("abet", "msp")), make_run(tmp_path / "b", scores=("abet",))
    edit_metrics(first, lambda metrics: metrics.update(list_sha256="a" * 64))
    edit_metrics(second, lambda metrics: metrics.update({} if other is None else {"list_sha256": other}))
    cells = [cell for row in table_of(first, second).rows for cell in row.cells]
    assert {cell.compares for cell in cells} == {compare}
    assert any(cell.best for cell in cells) is compare


def test_missing_figures_point_to_one_footnote_per_reason(tmp_path: Path):
    path = make_run(tmp_path / "a", scores=("abet", "energy", "msp"))
    empty = {"auroc": None, "ap": None, "fpr95": None, "non_finite": None, "reference_protocol": None}

    def change(metrics):
        metrics["scores"]["abet"] = {**empty, "reason": "needs the cosine"}
        metrics["scores"]["energy"] |= {"reference_protocol": None, "reference_protocol_reason": "no formula"}
        metrics["scores"]["msp"]["fpr95"] |= {"threshold": None, "reason": "the score is inf"}
        metrics["scores"]["msp"]["reference_protocol"] |= {"auprc": None, "reason": "too rare"}

    edit_metrics(path, change)
    table = table_of(path)
    abet, energy, msp = table.rows
    assert sorted(table.notes) == ["needs the cosine", "no formula", "the score is inf", "too rare"]
    assert {table.notes[cell.note - 1] for cell in [*abet.cells, abet.threshold]} == {"needs the cosine"}
    assert [cell.note is None for cell in energy.cells] == [True] * 3 + [False] * 3
    assert table.notes[energy.cells[3].note - 1] == "no formula"
    assert table.notes[msp.threshold.note - 1] == "the score is inf"
    assert [cell.text == "n/a" for cell in msp.cells] == [False, False, False, False, True, False]
    assert table.notes[msp.cells[4].note - 1] == "too rare"


def test_scores_that_were_not_finite_are_footnoted(tmp_path: Path):
    path = make_run(tmp_path / "a")
    edit_metrics(path, lambda metrics: metrics["scores"]["msp"].update(non_finite={"id": 12345, "ood": 6}))
    table = table_of(path)
    noted = {row.score: [table.notes[note - 1] for note in row.notes] for row in table.rows}
    assert "12,345 ID and 6 OOD" in noted.pop("msp")[0]
    assert not any(noted.values())


def test_pixels_that_the_reference_drops_are_shown_as_shares(tmp_path: Path):
    path = make_run(tmp_path / "a", scores=("abet", "energy", "entropy"))

    def change(metrics):
        metrics["pixels"] = {"id": 1000_000, "ood": 1000, "void": 0}
        for key, dropped in (("abet", (250_000, 0)), ("energy", (1, 500)), ("entropy", (0, 0))):
            metrics["scores"][key]["reference_protocol"]["dropped"] = dict(zip(("id", "ood"), dropped, strict=True))

    edit_metrics(path, change)
    assert [row.dropped for row in table_of(path).rows] == ["25.0 / 0", "<0.1 / 50.0", "0 / 0"]


@pytest.mark.parametrize(
    ("bracket", "shown"),
    [
        ((0.5, 0.5, 0.5), ""),
        ((0.5, 0.49996, 0.50004), ""),
        ((0.5, 0.4999, 0.5), "±0.01"),
        ((0.5, 0.5, 0.500101), "±0.02"),
        ((0.9, 0.22, 0.9), "±68.00"),
    ],
)
def test_the_bracket_shows_when_rounding_does_not_hide_it(bracket: tuple[float, float, float], shown: str):
    assert spread(*bracket) == shown


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_shown_bracket_contains_the_proven_one(first: float, second: float, third: float):
    low, value, high = sorted((first, second, third))
    text = spread(value, low, high)
    if text:
        shown, half_width = float(percent(value)), float(text.removeprefix("±"))
        assert shown - half_width <= 100 * low + 1e-10
        assert 100 * high <= shown + half_width + 1e-10
    else:
        assert high - low < 0.0001


def test_percent_has_two_decimals():
    assert [percent(x) for x in (0.0, 1.0, 0.123456)] == ["0.00", "100.00", "12.35"]
