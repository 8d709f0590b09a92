"""The figures of runs as rows of CSV: one for each run, set, score and protocol; fractions with every digit."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from abet.report.protocols import Entry, conditions_of, figures_of
from abet.report.records import ByKind, Interval, Metrics, ScoreFigures
from abet.report.runs import RunResults

EXACT: Final = "exact"
REFERENCE: Final = "reference"
"""Groups of figures that every evaluation has; any other is the name of a protocol."""

FIGURES: Final = ("auroc", "ap", "fpr95")
CSV_COLUMNS: Final = (
    *("run", "place", "checkpoint", "checkpoint_sha256", "dataset", "split", "ood_definition", "images", "score"),
    *("protocol", "prevalence", *(f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high"))),
    *("tpr", "threshold", *(f"{name}_interval_{end}" for name in FIGURES for end in ("low", "high"))),
    *("confidence", "resamples", "dropped_id", "dropped_ood", "non_finite_id", "non_finite_ood", "reason"),
    *("best_f1", "best_f1_threshold", "siou", "siou_predictions", "ppv", "f1", "conditions"),
)
"""Of every file; figures of a protocol that have none of these stand in further ones behind them."""
_SAME: Final = {"auprc": "ap"}
_CONDITIONS: Final = ("prevalence", "tpr", "threshold", "best_f1_threshold", "confidence", "resamples")


def csv_rows(
    runs: Sequence[RunResults], labels: Sequence[str], names: Sequence[str], groups: Sequence[str]
) -> Iterator[Mapping[str, object]]:
    """Rows of `CSV_COLUMNS`, of the data sets named and the protocols of these groups; what is undefined is None.

    ``conditions`` is a JSON object of what has no column: track, minimum sizes, images left out, and of what a
    threshold is one where it is not of the raw score.
    """
    for run, label in zip(runs, labels, strict=True):
        for name in names:
            if name not in run.datasets:
                continue
            metrics = run.datasets[name].metrics
            whose = {
                "run": label,
                "place": str(run.place),
                "checkpoint": metrics.checkpoint.uri,
                "checkpoint_sha256": metrics.checkpoint.sha256,
                **{key: getattr(metrics, key) for key in ("dataset", "split", "ood_definition", "images")},
            }
            for key, entry in metrics.scores.items():
                if EXACT in groups:
                    yield {**whose, "score": key, **_exact_row(metrics, entry)}
                if REFERENCE in groups:
                    yield {**whose, "score": key, **_reference_row(metrics, entry)}
                for group in groups:
                    if group in entry.protocols:
                        yield {**whose, "score": key, **_protocol_row(metrics, group, entry.protocols[group])}


def _exact_row(metrics: Metrics, entry: ScoreFigures) -> dict[str, object]:
    row: dict[str, object] = {"protocol": entry.protocol or "exact-bracketed", "reason": entry.reason}
    row["prevalence"] = prevalence(metrics.pixels.id, metrics.pixels.ood)
    for name in FIGURES:
        if (figure := getattr(entry, name)) is not None:
            row |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
            row["reason"] = row["reason"] or figure.reason
    if entry.fpr95 is not None:
        row |= {"tpr": entry.fpr95.tpr, "threshold": entry.fpr95.threshold}
    if (found := entry.intervals) is not None:
        row |= {"confidence": found.confidence, "resamples": found.resamples}
        for name in FIGURES:
            ends: Interval | None = getattr(found, name)
            row |= {} if ends is None else {f"{name}_interval_low": ends.low, f"{name}_interval_high": ends.high}
    if entry.non_finite is not None:
        row |= {"non_finite_id": entry.non_finite.id, "non_finite_ood": entry.non_finite.ood}
    return row | ({"dropped_id": 0, "dropped_ood": 0} if entry.auroc is not None else {})


def _reference_row(metrics: Metrics, entry: ScoreFigures) -> dict[str, object]:
    found = entry.reference_protocol
    row: dict[str, object] = {"protocol": (found.protocol if found else None) or "reference-100-bins"}
    if found is None:
        return row | {"reason": entry.reference_protocol_reason or entry.reason}
    kept = _kept(metrics, found.dropped)
    return row | {
        "prevalence": prevalence(*kept),
        "auroc": found.auroc,
        "ap": found.auprc,
        "fpr95": found.fpr95,
        "tpr": found.tpr,
        "threshold": found.threshold,
        "dropped_id": found.dropped.id,
        "dropped_ood": found.dropped.ood,
        "reason": found.reason,
        **({"conditions": json.dumps({"threshold_of": found.threshold_of})} if found.threshold_of else {}),
    }


def _protocol_row(metrics: Metrics, name: str, entry: Entry) -> dict[str, object]:
    row: dict[str, object] = {"protocol": name, "reason": entry.get("reason")}
    left: dict[str, Any] = {}
    for key, value in figures_of(entry):
        figure, more = _figure(_SAME.get(key, key), value)
        row, left = row | figure, left | more
    for key, value in conditions_of(entry):
        if key in _CONDITIONS:
            row[key] = value
        elif key == "dropped" and isinstance(value, Mapping):
            dropped = ByKind.model_validate(value)
            row = {"prevalence": prevalence(*_kept(metrics, dropped)), **row}
            row |= {"dropped_id": dropped.id, "dropped_ood": dropped.ood}
        else:
            left[key] = value
    return row | ({"conditions": json.dumps(left)} if left else {})


def _figure(column: str, value: Any) -> tuple[dict[str, object], dict[str, Any]]:
    """The columns of one figure, and what is said of it beside."""
    if not isinstance(value, Mapping):
        return {column: value}, {}
    bracket = column if "value" in value else f"{column}_interval"
    columns = {f"{bracket}_{end}": value[end] for end in ("low", "high") if end in value}
    columns |= {column: value["value"]} if "value" in value else {}
    beside = {key: part for key, part in value.items() if key not in ("value", "low", "high", *_CONDITIONS)}
    return columns, {f"{column}_{key}": part for key, part in beside.items()}


def _kept(metrics: Metrics, dropped: ByKind) -> tuple[int, int]:
    """ID and OOD pixels that the protocol counts."""
    return metrics.pixels.id - dropped.id, metrics.pixels.ood - dropped.ood


def prevalence(id_pixels: int, ood_pixels: int) -> float | None:
    """Share of the OOD pixels; None where there is no pixel."""
    return ood_pixels / (id_pixels + ood_pixels) if id_pixels + ood_pixels else None
