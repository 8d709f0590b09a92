"""What ``abet evaluate --protocols`` adds, as tables for a terminal of 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.box import SIMPLE
from rich.table import Column, Table

from abet.metrics import bootstrap, per_image, smiyc
from abet.metrics.reference import META_OOD_PROTOCOL
from abet.report.table import percent

FIGURES: Final = {"auroc": "AUROC", "ap": "AP", "fpr95": "FPR95", "best_f1": "F1"}
BESIDE: Final = {smiyc.PROTOCOL: "SMIYC", per_image.PROTOCOL: "image"}
"""The protocols whose figures stand beside the exact ones, and their headings."""
POINT: Final = 0.01
"""A figure that is further than this from the exact one is marked."""

Entries = Mapping[str, Mapping[str, Any]]


def print_protocols(metrics: Mapping[str, Any]) -> None:
    """The protocols of a metrics.json but for the components, if any: figures in percent beside the exact ones."""
    from abet.cli.tables import console

    entries = {key: entry for key, entry in metrics["scores"].items() if entry.get("protocols")}
    if not entries:
        return
    out = console()
    for table in (_beside_the_exact(entries, metrics["dataset"]), _intervals(entries)):
        out.print(table)
    for note in (f"* more than a point from the exact figure; {_meanings()}", *_meta_ood(entries)):
        out.print(note, markup=False, soft_wrap=True)


def _meanings() -> str:
    return "; ".join(f"{heading}: {protocol}" for protocol, heading in BESIDE.items()) + "; F1: the best of the set"


def _beside_the_exact(entries: Entries, dataset: str) -> Table:
    """A row for each score; for each figure a column of every protocol that has it."""
    columns = [
        (figure, protocol)
        for figure in FIGURES
        for protocol in ("", *BESIDE)
        if any(_value(entry, protocol, figure) is not None for entry in entries.values())
    ]
    headings = [f"{FIGURES[figure]}\n{BESIDE.get(protocol, 'exact')}" for figure, protocol in columns]
    table = _table(f"{dataset} by protocol, in percent", headings)
    for key, entry in entries.items():
        table.add_row(key, *(_cell(entry, protocol, figure) for figure, protocol in columns))
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    columns = [Column(heading, justify="right", no_wrap=True) for heading in headings]
    return Table(Column("score"), *columns, title=title, box=SIMPLE, padding=0, show_edge=False)


def _value(entry: Mapping[str, Any], protocol: str, figure: str) -> float | None:
    """A figure of a protocol; of none, the exact one. None where it is not defined, or not of this protocol."""
    found = (entry["protocols"].get(protocol) or {}) if protocol else entry
    value = found.get(figure)
    return value["value"] if isinstance(value, Mapping) else value


def _cell(entry: Mapping[str, Any], protocol: str, figure: str) -> str:
    value, exact = _value(entry, protocol, figure), _value(entry, "", figure)
    if value is None:
        return "n/a"
    return ("*" if exact is not None and abs(value - exact) > POINT else "") + percent(value)


def _intervals(entries: Entries) -> Table:
    """Of the exact figures, over images."""
    found = {key: entry["protocols"].get(bootstrap.PROTOCOL) or {} for key, entry in entries.items()}
    confidence = next((entry["confidence"] for entry in found.values() if entry), 0.95)
    names = [name for name in FIGURES if name != "best_f1"]
    title = f"{100 * confidence:.0f}% intervals of the exact figures over images"
    table = _table(title, [FIGURES[name] for name in names])
    for key, entry in found.items():
        table.add_row(key, *(_ends(entry.get(name)) for name in names))
    return table


def _ends(interval: Mapping[str, float] | None) -> str:
    return "n/a" if interval is None else f"{percent(interval['low'])} .. {percent(interval['high'])}"


def _meta_ood(entries: Entries) -> list[str]:
    """Meta-OoD's figures are nearly always the reference's, which stand in the first table."""
    names = {"auroc": "AUROC", "auprc": "AUPRC", "fpr95": "FPR95"}
    other, same = [], 0
    for key, entry in entries.items():
        found, reference = entry["protocols"].get(META_OOD_PROTOCOL), entry["reference_protocol"] or {}
        if found is None:
            continue
        changed = {title: found.get(name) for name, title in names.items() if found.get(name) != reference.get(name)}
        unlike = [f"{title} {_plain(value)}" for title, value in changed.items()]
        same += not unlike
        other += [f"{key} {', '.join(unlike)}"] if unlike else []
    lines = [f"{META_OOD_PROTOCOL}: as the reference" + (f", but for {'; '.join(other)}" if other else "")]
    return lines if same or other else []


def _plain(value: float | None) -> str:
    return "n/a" if value is None else percent(value)
