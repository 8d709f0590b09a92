"""The table for a paper: its rows and columns, the best of each, and text that LaTeX, GitHub and CSV readers take."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abet.errors import UsageError
from abet.report.formats import Format, render_table
from abet.report.markup import latex_text, markdown_text
from abet.report.runs import load_run
from tests.conftest import Cli
from tests.report.fake_runs import SCORES, edit_metrics, make_run

BOOTSTRAP = {
    "confidence": 0.95,
    "resamples": 1000,
    "auroc": {"low": 0.5, "high": 0.61239, "binning": 0.0},
    "ap": None,
    "fpr95": {"low": 0.25, "high": 0.75, "binning": 0.0},
}


def table(kind: Format, *paths: Path, **options: Any) -> str:
    return render_table([load_run(path) for path in paths], kind, **options)


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs, of which the first holds two sets."""
    first = make_run(tmp_path / "first_run", quality=2.0)
    make_run(tmp_path / "first_run", dataset="lost_and_found", scores=("abet", "msp"))
    return first, make_run(tmp_path / "second", checkpoint="weights/100%_plain", scores=("abet", "msp"))


def test_csv_holds_every_figure_with_all_its_digits(two: tuple[Path, Path]) -> None:
    rows = read_csv(table("csv", *two, groups=("exact", "reference")))
    assert len(rows) == 2 * (5 + 2 + 2)
    metrics = edit_metrics(two[0], lambda metrics: None)
    for row in rows[4 : 4 + 2 * len(SCORES)]:
        entry = metrics["scores"][row["score"]]
        assert (row["dataset"], row["split"], row["images"]) == ("road_anomaly", "test", "2")
        assert row["checkpoint_sha256"] == metrics["checkpoint"]["sha256"]
        pixels = dict(metrics["pixels"])
        if row["protocol"] == "exact-bracketed":
            figures = {name: entry[name]["value"] for name in ("auroc", "ap", "fpr95")}
            assert float(row["ap_low"]) == entry["ap"]["low"]
            assert float(row["tpr"]) == entry["fpr95"]["tpr"]
            assert float(row["threshold"]) == entry["fpr95"]["threshold"]
        else:
            assert row["protocol"] == "reference-100-bins"
            found = entry["reference_protocol"]
            figures = {"auroc": found["auroc"], "ap": found["auprc"], "fpr95": found["fpr95"]}
            assert float(row["tpr"]) == found["tpr"]
            assert float(row["threshold"]) == found["threshold"]
            assert row["dropped_id"] == "1234"
            pixels["id"] -= 1234
        assert {name: float(row[name]) for name in figures} == figures
        assert float(row["prevalence"]) == pixels["ood"] / (pixels["id"] + pixels["ood"])


def test_csv_says_why_a_figure_is_missing(two: tuple[Path, Path]) -> None:
    empty = {"auroc": None, "ap": None, "fpr95": None, "non_finite": None, "reference_protocol": None}
    edit_metrics(two[1], lambda metrics: metrics["scores"].update(abet={**empty, "reason": "no temperature, none"}))
    rows = read_csv(table("csv", two[1], groups=("exact", "reference")))
    assert [(row["auroc"], row["reason"]) for row in rows[:2]] == [("", "no temperature, none")] * 2


def test_markdown_shows_sets_side_by_side_and_the_best_in_bold(two: tuple[Path, Path]) -> None:
    lines = table("md", *two, scores=("abet", "msp")).splitlines()
    header, rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:6]]
    assert header[:2] == ["run", "score"]
    assert header[2:5] == ["lost_and_found AUROC", "lost_and_found AP", "lost_and_found FPR95"]
    assert rule[2:] == ["---:"] * 6
    assert [row[1] for row in rows] == ["abet", "msp"] * 2
    assert [row[2:5] for row in rows[2:]] == [["", "", ""]] * 2, "the second run does not hold that set"
    held = [edit_metrics(path, lambda metrics: None)["scores"][key] for path in two for key in ("abet", "msp")]
    for place, (name, best) in enumerate((("auroc", max), ("ap", max), ("fpr95", min)), start=5):
        values = [entry[name]["value"] for entry in held]
        for row, value in zip(rows, values, strict=True):
            text = f"{100 * value:.2f}"
            assert row[place].split(" ")[0] == (f"**{text}**" if value == best(values) else text)


def test_only_what_is_shown_competes(two: tuple[Path, Path]) -> None:
    (row,) = table("md", two[0], datasets=("road_anomaly",), scores=("msp",)).splitlines()[2:3]
    assert "**" not in row, "a single value is not the best of anything"
    assert "lost_and_found" not in table("md", *two, datasets=("road_anomaly",))


def test_intervals_stand_where_the_run_has_them(two: tuple[Path, Path]) -> None:
    def change(metrics: dict[str, Any]) -> None:
        metrics["scores"]["abet"]["protocols"] = {"image-bootstrap": BOOTSTRAP, "per-image-mean": {}}

    edit_metrics(two[1], change)
    text = table("md", *two, datasets=("road_anomaly",), scores=("abet",))
    first, second = text.splitlines()[2:4]
    assert "[" not in first
    assert "[50.00, 61.24]" in second
    assert "[25.00, 75.00]" in second
    assert "95% over 1,000 draws of images" in text
    row = read_csv(table("csv", two[1], scores=("abet",)))[0]
    assert (row["auroc_interval_high"], row["ap_interval_low"], row["confidence"]) == ("0.61239", "", "0.95")


def test_a_wide_bracket_shows_and_reference_columns_are_marked(two: tuple[Path, Path]) -> None:
    edit_metrics(two[1], lambda metrics: metrics["scores"]["abet"]["ap"].update(value=0.5, low=0.498, high=0.501))
    lines = table("md", two[1], scores=("abet",), groups=("exact", "reference")).splitlines()
    assert "50.00 ±0.20" in lines[2]
    assert "road_anomaly AUPRC (100 bins)" in lines[0]


def test_a_score_without_any_figure_is_left_out_and_named_with_its_reason(two: tuple[Path, Path]) -> None:
    empty = {"auroc": None, "ap": None, "fpr95": None, "non_finite": None, "reference_protocol": None}
    edit_metrics(two[1], lambda metrics: metrics["scores"].update(abet={**empty, "reason": "no temperature"}))
    text = table("md", *two, datasets=("road_anomaly",), scores=("abet", "msp"))
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + 3
    assert r"Left out: abet of second · 100%\_plain: no temperature." in text


def test_a_missing_figure_points_to_its_footnote(two: tuple[Path, Path]) -> None:
    def change(metrics: dict[str, Any]) -> None:
        metrics["scores"]["abet"] |= {"reference_protocol": None, "reference_protocol_reason": "no formula"}

    edit_metrics(two[1], change)
    text = table("md", two[1], groups=("exact", "reference"))
    assert text.splitlines()[2].count("n/a<sup>1</sup>") == 3
    assert "<sup>1</sup> no formula" in text


def test_runs_that_read_other_files_are_named(two: tuple[Path, Path]) -> None:
    edit_metrics(two[0], lambda metrics: metrics.update(list_sha256="a" * 64))
    assert "not the same" not in table("md", *two, datasets=("road_anomaly",)), "the other does not say"
    edit_metrics(two[1], lambda metrics: metrics.update(list_sha256="b" * 64))
    for kind in ("md", "latex"):
        text = table(kind, *two, datasets=("road_anomaly",)).replace("\\_", "_")
        assert "road_anomaly is not the same for all runs (other files): test" in text


def test_sets_read_in_two_ways_are_named(two: tuple[Path, Path]) -> None:
    edit_metrics(two[1], lambda metrics: metrics.update(ood_definition="image"))
    text = table("md", *two, datasets=("road_anomaly",))
    assert "road_anomaly is not the same for all runs" in text
    assert "**" not in text
    assert "best of a column" not in text
    assert "definition image" in text


@pytest.mark.parametrize(("kind", "mark"), [("md", "**"), ("latex", r"\textbf")])
def test_a_table_speaks_of_bold_only_where_a_cell_is(two: tuple[Path, Path], kind: Format, mark: str) -> None:
    edit_metrics(two[1], lambda metrics: metrics["scores"]["abet"].update(protocols={"image-bootstrap": BOOTSTRAP}))
    for options in ({"scores": ("abet",)}, {"groups": ("image-bootstrap",)}):
        text = table(kind, two[1], **options)
        assert (mark in text, "in bold" in text) == (False, False), options
    text = table(kind, two[1])
    assert (mark in text, "in bold" in text) == (True, True)


def test_latex_is_one_tabular_whose_rows_fit_its_columns(two: tuple[Path, Path]) -> None:
    text = table("latex", *two, scores=("abet", "max_logit"))
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    rows = body.strip().split("\n")
    assert [len(re.split(r"(?<!\\)&", row)) for row in rows] == [len(columns)] * 3
    assert all(row.endswith(r" \\") for row in rows)
    assert rows[0].startswith(r"first\_run \textperiodcentered{} abet-cityscapes & abet &")
    assert r"100\%\_plain" in text
    assert re.search(r"\\textbf\{\d+\.\d\d\}", body)
    assert r"\cmidrule(lr){3-5} \cmidrule(lr){6-8}" in text
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_no_name_can_break_out_of_a_cell(name: str) -> None:
    latex = re.sub(r"\\(textbackslash|text\w+)\{\}|\\[{}$&#%_]|\{\[\}|\$\\pm\$", "", latex_text(name))
    assert not re.search(r"[\\{}$&#%_^~<>|\n\[]", latex)
    markdown = markdown_text(name)
    assert "\n" not in markdown
    assert not re.search(r"(?<!\\)(\\\\)*[|`*<]", re.sub(r"\\[|`*<]", "", markdown))


def test_unknown_names_are_refused(two: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="unknown score of these runs 'mps': did you mean 'msp'"):
        table("md", *two, scores=("mps",))
    with pytest.raises(UsageError, match="unknown data set of these runs 'fishyscapes_static'"):
        table("md", *two, datasets=("fishyscapes_static",))
    with pytest.raises(UsageError, match="unknown group of columns of these runs 'smiyc-components'"):
        table("md", *two, groups=("smiyc-components",))


# --- the command


def test_the_command_prints_or_writes_the_table(cli: Cli, two: tuple[Path, Path], tmp_path: Path) -> None:
    options = ("--scores", "msp,abet", "--dataset", "road_anomaly", "--columns", "reference,exact")
    shown = cli("report", *two, "--format", "md", *options)
    assert (shown.code, shown.out.count("\n| ")) == (0, 5)
    written = cli("report", *two, "--format", "md", *options, "--output", tmp_path / "new" / "table.md")
    assert (written.code, written.out) == (0, "")
    assert (tmp_path / "new" / "table.md").read_text() == shown.out
    assert not Path("report.html").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--format", "html"), "'html' is not one of"),
        (("--format", "md", "--matrix", "m.png"), "give one of them"),
        (("--format", "md", "--images", "a"), "--images would do nothing"),
        (("--format", "md", "--maps", "abet"), "--maps would do nothing"),
        (("--format", "md", "--max-megabytes", 3), "--max-megabytes would do nothing"),
        (("--format", "md", "--device", "cpu"), "--device would do nothing"),
        (("--format", "md", "--data-root", "x"), "--data-root would do nothing"),
        (("--matrix", "m.png", "--maps", "abet"), "--maps would do nothing"),
        (("--output", "r.html", "--scores", "abet"), "--scores would do nothing"),
        (("--columns", "exact"), "add --format"),
        (("--format", "md", "--columns", "exakt"), "did you mean 'exact'"),
        (("--format", "md", "--dataset", "road_anomally"), "did you mean 'road_anomaly'"),
        (("--format", "md", "--scores", ","), "names no score"),
    ],
)
def test_bad_usage_exits_2(cli: Cli, two: tuple[Path, Path], more: tuple[str, ...], said: str) -> None:
    finished = cli("report", *two, *more)
    assert (finished.code, said in finished.err) == (2, True), finished.err
