"""The figures of the protocols in the tables for a paper: those of metrics.json, as the page shows them."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from abet.report.formats import Format, render_table
from abet.report.page import render_page
from abet.report.runs import load_run
from tests.report.fake_runs import edit_metrics, make_run
from tests.report.page_reader import Page

COMPONENTS = {
    "protocol": "smiyc-components",
    "threshold": -3.25,
    "minimum_pixels": {"prediction": 50, "object": 10},
    "siou": 0.4321,
    "siou_predictions": 0.2468,
    "ppv": 0.5512,
    "f1": 0.3307,
    "tau": [0.25],
    "f1_at": [0.5],
    "objects": 9,
    "predictions": 13,
    "too_small": {"objects": 1, "predictions": 31},
    "track": "obstacle-track",
}
META = {
    "auroc": 0.811,
    "auprc": 0.422,
    "fpr95": 0.533,
    "tpr": 0.9501,
    "threshold": 0.44,
    "threshold_of": "normalised score",
    "dropped": {"id": 3, "ood": 1},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A run evaluated with protocols, of which ``abet`` has components and Meta-OoD's figures too."""
    made = make_run(tmp_path / "a", scores=("abet", "msp"), protocols=True)

    def add(metrics: dict[str, Any]) -> None:
        metrics["scores"]["abet"]["protocols"] |= {"smiyc-components": COMPONENTS, "meta-ood-100-bins": META}

    edit_metrics(made, add)
    return made


def table(kind: Format, *paths: Path, **options: Any) -> str:
    return render_table([load_run(path) for path in paths], kind, **options)


def scores_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = edit_metrics(path, lambda metrics: None)["scores"]
    return found


def rows_of(text: str) -> dict[tuple[str, str], dict[str, str]]:
    """CSV by score and protocol."""
    return {(row["score"], row["protocol"]): row for row in csv.DictReader(io.StringIO(text))}


def tables_of(text: str) -> dict[str, dict[str, dict[str, str]]]:
    """Markdown: protocol -> score -> heading -> cell."""
    found = {}
    for part in text.split("#### ")[1:]:
        name, *lines = part.splitlines()
        rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        found[name] = {row[1]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}
    return found


def test_csv_has_a_row_for_each_protocol_with_every_digit(path: Path) -> None:
    rows, scores = rows_of(table("csv", path)), scores_of(path)
    own = {"exact-bracketed", "reference-100-bins"}
    assert set(rows) == {(key, name) for key, entry in scores.items() for name in (*own, *entry["protocols"])}
    for key, entry in scores.items():
        smiyc, mean = (entry["protocols"][name] for name in ("smiyc-quantile-bins", "per-image-mean"))
        row = rows[key, "smiyc-quantile-bins"]
        for name in ("ap", "fpr95", "tpr", "threshold", "prevalence", "best_f1", "best_f1_threshold"):
            assert float(row[name]) == smiyc[name]
        assert (row["dropped_id"], row["auroc"]) == ("0", "")
        row = rows[key, "per-image-mean"]
        for name in ("auroc", "ap", "fpr95"):
            assert [float(row[name + end]) for end in ("", "_low", "_high")] == [
                mean[name][end] for end in ("value", "low", "high")
            ]
        assert json.loads(row["conditions"]) == {"images": mean["images"], "left_out": mean["left_out"]}


def test_csv_has_components_intervals_and_the_kept_share_of_ood(path: Path) -> None:
    rows = rows_of(table("csv", path))
    row = rows["abet", "smiyc-components"]
    for name in ("siou", "siou_predictions", "ppv", "f1", "threshold"):
        assert float(row[name]) == COMPONENTS[name]
    wanted = {key: COMPONENTS[key] for key in ("minimum_pixels", "objects", "predictions", "too_small", "track")}
    assert json.loads(row["conditions"]) == wanted
    metrics = edit_metrics(path, lambda metrics: None)
    row, drawn = rows["msp", "image-bootstrap"], metrics["scores"]["msp"]["protocols"]["image-bootstrap"]
    assert (float(row["ap_interval_low"]), row["ap"], row["resamples"]) == (drawn["ap"]["low"], "", "1000")
    assert json.loads(row["conditions"])["ap_binning"] == drawn["ap"]["binning"]
    row, pixels = rows["abet", "meta-ood-100-bins"], metrics["pixels"]
    assert (float(row["ap"]), row["dropped_id"]) == (META["auprc"], "3")
    for name in ("meta-ood-100-bins", "reference-100-bins"):
        assert json.loads(rows["abet", name]["conditions"])["threshold_of"] == "normalised score"
    assert float(row["prevalence"]) == (pixels["ood"] - 1) / (pixels["ood"] - 1 + pixels["id"] - 3)


def test_a_figure_that_csv_has_no_column_for_gets_one(path: Path) -> None:
    entry = {"protocol": "tomorrow", "novelty": 0.125, "fpr95": None, "reason": "too new"}
    edit_metrics(path, lambda metrics: metrics["scores"]["abet"]["protocols"].update(tomorrow=entry))
    row = rows_of(table("csv", path))["abet", "tomorrow"]
    assert (row["novelty"], row["fpr95"], row["reason"]) == ("0.125", "", "too new")


def test_markdown_shows_what_papers_do_unless_told(path: Path) -> None:
    assert list(tables_of(table("md", path))) == ["exact-bracketed", "smiyc-quantile-bins", "smiyc-components"]
    assert "smiyc-quantile-bins" not in table("md", path, groups=("exact",))
    names = [*scores_of(path)["abet"]["protocols"]]
    assert list(tables_of(table("md", path, groups=("all",)))) == ["exact-bracketed, reference-100-bins", *names]


@pytest.mark.parametrize("kind", ["md", "latex"])
def test_the_figures_of_every_protocol_are_the_pages(path: Path, kind: Format) -> None:
    page, text = set(Page(render_page([load_run(path)])).cells), table(kind, path, groups=("all",))
    cells = {
        cell.strip(" *\\").removeprefix("textbf{").rstrip("}")
        for line in text.splitlines()
        for cell in line.split("|" if kind == "md" else "&")[2:]
    }
    for entry in scores_of(path)["abet"]["protocols"].values():
        for key in ("ap", "auprc", "best_f1", "siou", "ppv", "f1"):
            found = entry.get(key)
            value = found.get("value") if isinstance(found, dict) else found
            if value is not None:
                assert f"{100 * value:.2f}" in cells & page, (entry["protocol"], key)


def test_every_table_says_its_protocol_and_what_all_its_figures_were_taken_at(path: Path) -> None:
    def change(metrics: dict[str, Any]) -> None:
        metrics["scores"]["abet"]["protocols"]["smiyc-quantile-bins"]["tpr"] = 0.97

    edit_metrics(path, change)
    texts = table("md", path), table("latex", path)
    for name in ("exact-bracketed", "smiyc-quantile-bins", "smiyc-components"):
        assert all(f"Protocol {name}, in percent" in text for text in texts)
    assert "track obstacle-track" in texts[0]
    assert "minimum pixels prediction 50, object 10" in texts[0]
    assert "TPR used" not in texts[0], "it is another one in each row"


def test_scores_that_a_protocol_does_not_measure_are_named(path: Path) -> None:
    text = table("md", path)
    assert list(tables_of(text)["smiyc-components"]) == ["abet"]
    assert "Not measured by smiyc-components: a · abet-cityscapes on road_anomaly: msp." in text
    other = make_run(path.parent / "b", checkpoint="weights/b")
    assert "Not measured by smiyc-quantile-bins: b on road_anomaly." in table("md", path, other)


def test_a_figure_that_a_protocol_does_not_define_points_to_its_reason(path: Path) -> None:
    def change(metrics: dict[str, Any]) -> None:
        metrics["scores"]["abet"]["protocols"]["smiyc-components"] |= {
            "ppv": None,
            "reason": "there are no predictions",
        }

    edit_metrics(path, change)
    text = table("md", path, groups=("smiyc-components",))
    assert text.splitlines()[2].count("n/a<sup>1</sup>") == 1
    assert "<sup>1</sup> there are no predictions" in text


def test_a_set_without_a_protocol_leaves_its_cells_empty(path: Path) -> None:
    make_run(path, dataset="lost_and_found", scores=("abet",), protocols=True)
    found = tables_of(table("md", path))
    row = found["smiyc-components"]["abet"]
    assert (row["lost_and_found sIoU"], row["road_anomaly sIoU"]) == ("", "43.21")
    only = table("md", path, make_run(path.parent / "c"), datasets=("lost_and_found",), groups=("exact",))
    assert "lost_and_found AP" in only, "a run without that set does no harm"
