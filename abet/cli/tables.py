"""Results as tables for a terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Column, Table

from abet.files import read_json
from abet.run import evaluation_dir
from abet.text import counted

if TYPE_CHECKING:
    from abet.data.layout import DatasetSpec

LOG_WIDTH_COLUMNS = 160
COLUMNS = {"IoU": "iou", "precision": "precision", "recall": "recall", "share of pixels": "share"}
"""Of the table of classes, by their keys in the JSON."""
OVERALL = {
    "mIoU": "miou",
    "pixel accuracy": "accuracy",
    "mean class accuracy": "mean_class_accuracy",
    "frequency-weighted IoU": "frequency_weighted_iou",
}
"""The figures below it."""


def console() -> Console:
    """Stdout, wide enough for whole tables when it is a file or a pipe."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=LOG_WIDTH_COLUMNS)


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """The content of a metrics.json: figures in percent with half the width of their bracket."""
    pixels = metrics["pixels"]
    title = (
        f"{metrics['dataset']} ({metrics['split']}, {counted(metrics['images'], 'image')}; pixels: "
        f"{pixels['id']:,} ID, {pixels['ood']:,} OOD, {pixels['void']:,} void), in percent"
    )
    table = Table("score", "AUROC", "AP", "FPR95", "threshold", "reference: AUROC", "AUPRC", "FPR95", title=title)
    notes: list[str] = []
    missing: dict[str, list[str]] = {}
    for key, entry in metrics["scores"].items():
        reference = entry["reference_protocol"] or {}
        shown = [_percent(entry[name]) for name in ("auroc", "ap", "fpr95")]
        threshold = (entry["fpr95"] or {}).get("threshold")
        paper = [_plain(reference.get(name)) for name in ("auroc", "auprc", "fpr95")]
        table.add_row(key, *shown, "" if threshold is None else f"{threshold:.6g}", *paper)
        if entry.get("reason"):
            missing.setdefault(entry["reason"], []).append(key)
        broken = entry["non_finite"] or {}
        if any(broken.values()):
            notes.append(
                f"{key}: not a finite number in {broken['id']:,} ID and {broken['ood']:,} OOD pixels; NaN ranks above "
                "every number, infinities at their ends"
            )
    if _no_number(metrics):
        notes.append("no score is a number anywhere: the weights are damaged or training diverged")
    notes += [f"n/a: {', '.join(keys)}: {reason}" for reason, keys in missing.items()]
    notes += definition_lines(metrics)
    notes.append("± where half the proven bracket is 0.005 or more; metrics.json holds low and high of every figure")
    console().print(table)
    for note in notes:
        console().print(note, markup=False, soft_wrap=True)


def print_calibration(found: Mapping[str, Any]) -> None:
    """A set's entry of calibration.json: thresholds in raw units, figures in percent, each with its interval."""
    from abet.calibration import definition_words
    from abet.metrics.operating import FIGURES

    told = definition_words(found["dataset"], found.get("ood_definition"))
    told += "; papers TEST on it" if found["tested_on"] else ""
    title = f"calibrated on {found['dataset']} ({found['split']}, {counted(found['images'], 'image')}{told})"
    table = Table("score", "", "threshold", "TPR", "FPR", "precision", "F1", "component F1", title=title)
    notes = []
    for key, points in found["scores"].items():
        for name, point in points.items():
            if point["threshold"] is None:
                table.add_row(key, name, "n/a")
                notes.append(f"{key} {name}: {point['reason']}")
                continue
            if "note" in point:
                notes.append(f"{key} {name}: {point['note']}")
            cells = [_range(point[figure], 100, ".1f") for figure in FIGURES]
            table.add_row(key, name, _range(point["threshold"], 1, ".4g"), *cells)
    notes.append("figures in percent; in brackets 95% intervals over images: of the threshold, were it chosen on other")
    notes[-1] += " images, and of the figures on other images at the threshold as it is"
    if "note" in found:
        notes.append(f"note: {found['note']}")
    console().print(table)
    for note in notes:
        console().print(note, markup=False, soft_wrap=True)


def _range(figure: Mapping[str, float | None], factor: float, form: str) -> str:
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    if value is None:
        return "n/a"
    shown = f"{factor * value:{form}}"
    return shown if low is None or high is None else f"{shown} \\[{factor * low:{form}}, {factor * high:{form}}]"


def print_components(metrics: Mapping[str, Any]) -> None:
    """Components of a metrics.json, if any: figures in percent, counts, and how many were left out by size."""
    from abet.data.registry import named_definition
    from abet.metrics.components import PROTOCOL

    found = {
        key: entry["protocols"][PROTOCOL]
        for key, entry in metrics["scores"].items()
        if PROTOCOL in entry.get("protocols", {})
    }
    if not found:
        return
    first = next(iter(found.values()))
    images = f"{metrics['split']}, {counted(metrics['images'], 'image')}"
    if definition := named_definition(metrics["dataset"], metrics.get("ood_definition")):
        images += f", definition {definition}"
    title = f"components of {metrics['dataset']} ({images}), {_sizes(first)}, in percent"
    table = Table("score", "threshold", "sIoU", "PPV", "F1", "objects", "predictions", title=title)
    notes = []
    for key, entry in found.items():
        threshold = "" if entry["threshold"] is None else f"{entry['threshold']:.6g}"
        cells = [_plain(entry[name]) for name in ("siou", "ppv", "f1")]
        small = entry.get("too_small", {})
        counts = [_counted(entry.get(name), small.get(name)) for name in ("objects", "predictions")]
        table.add_row(key, threshold, *cells, *counts)
        if entry.get("reason"):
            notes.append(f"{key}: {entry['reason']}")
    notes.append("(+n): left out, smaller than the minimum")
    console().print(table)
    for note in notes:
        console().print(note, markup=False, soft_wrap=True)


def _sizes(entry: Mapping[str, Any]) -> str:
    minimum = entry["minimum_pixels"]
    return f"{entry['track']}: objects from {minimum['object']} pixels on, predictions from {minimum['prediction']}"


def _counted(number: int | None, small: int | None) -> str:
    return "" if number is None else f"{number:,}" + (f" (+{small:,})" if small else "")


def _no_number(metrics: Mapping[str, Any]) -> bool:
    """Whether no score that was evaluated is a finite number in any pixel."""
    counts = [entry["non_finite"] for entry in metrics["scores"].values() if entry["non_finite"]]
    pixels = {kind: metrics["pixels"][kind] for kind in ("id", "ood")}
    return bool(counts) and all(each == pixels for each in counts)


def definition_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What counted as ID, OOD and void, of ``dataset`` and ``ood_definition``; no line for one not known here."""
    from abet.data.registry import known_definition

    found = known_definition(metrics["dataset"], metrics.get("ood_definition"))
    return [f"definition {found}"] if found else []


def print_sets(sets: Mapping[str, "DatasetSpec"]) -> None:
    """One row for each data set: its splits with their images, and what its pixels are by default."""
    from abet.data.info import split_lines

    table = Table(
        Column("set", no_wrap=True),
        Column("images", no_wrap=True),
        "ID",
        "OOD",
        "void",
        "definitions",
        title="data sets; abet data info SET says more",
    )
    for name, spec in sets.items():
        rows = spec.definitions
        meaning = (rows[0].id, rows[0].ood, rows[0].void) if rows else ("(learned from)", "", "")
        table.add_row(name, "\n".join(split_lines(spec)), *meaning, "\n".join(row.name for row in rows))
    console().print(table)


def print_validation(result: Mapping[str, Any]) -> None:
    """The content of a file of `abet validate`: a row per class and the figures over all, in percent."""
    if not result["pixels"]:
        console().print(f"no figures: {result['reason']}", markup=False, soft_wrap=True)
        return
    part = "" if result["images"] == result["split_images"] else f"{result['images']} of "
    images = part + counted(result["split_images"], "image")
    title = f"{result['dataset']} ({result['split']}, {images}, {result['pixels']:,} labelled pixels)"
    table = Table("class", *(Column(name, justify="right") for name in COLUMNS), title=f"{title}, in percent")
    for row in result["classes"]:
        table.add_row(row["name"], *(_plain(row[name]) for name in COLUMNS.values()))
    console().print(table)
    for name, key in OVERALL.items():
        console().print(f"{name}: {_plain(result[key])}", markup=False)


def _plain(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.2f}"


def _percent(figure: Mapping[str, float] | None) -> str:
    if figure is None or figure["value"] is None:
        return "n/a"
    half = 50 * (figure["high"] - figure["low"])
    return f"{100 * figure['value']:.2f}" + (f" ± {half:.1g}" if half >= 0.005 else "")


class ScoreRow(NamedTuple):
    """One score of one run, defined on a data set."""

    run: str
    score: str
    entry: Mapping[str, Any]
    """Its part of metrics.json."""


def defined_scores(runs: Sequence[Path], dataset: str) -> list[ScoreRow]:
    """Every score with figures on ``dataset``, in the order of the runs. Raises DataError where none is evaluated."""
    rows = [
        ScoreRow(run.name, key, entry)
        for run in runs
        for key, entry in read_json(evaluation_dir(run, dataset) / "metrics.json")["scores"].items()
    ]
    return [row for row in rows if row.entry["auroc"] is not None and row.entry["auroc"]["value"] is not None]


def print_comparison(runs: Sequence[Path], dataset: str) -> None:
    """One row for each score of each run on a data set, in percent, the best of each figure marked."""
    rows = defined_scores(runs, dataset)
    best = {
        name: choose((row.entry[name]["value"] for row in rows), default=None)
        for name, choose in (("auroc", max), ("ap", max), ("fpr95", min))
    }
    table = Table("run", "score", "AUROC", "AP", "FPR95", title=f"{dataset}, in percent; * best")
    for row in rows:
        marks = ("*" if row.entry[name]["value"] == best[name] else " " for name in best)
        cells = (f"{_percent(row.entry[name])}{mark}" for name, mark in zip(best, marks, strict=True))
        table.add_row(row.run, row.score, *cells)
    console().print(table)
    console().print("± is half the proven bracket; where none is shown it is below 0.005", markup=False)
