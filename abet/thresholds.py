"""The thresholds that a second pass takes from a first one, and whether they are still those. Nothing is imported.

changed = disagreements(components_json, metrics_json)
"""

from collections.abc import Mapping
from typing import Any, Final

SMIYC: Final = "smiyc-quantile-bins"
"""The protocol whose best F1 is the threshold for components (`abet.metrics.smiyc`)."""


def best_f1_threshold(metrics: Mapping[str, Any], key: str) -> float | None:
    """The threshold of the best pixel F1 of a score; None where the set defines none. Raises KeyError without one."""
    value = metrics["scores"][key]["protocols"][SMIYC]["best_f1_threshold"]
    return None if value is None else float(value)


def with_thresholds(metrics: Mapping[str, Any]) -> list[str]:
    """The scores of ``metrics.json`` that have the protocol, in their order."""
    return [key for key, entry in metrics["scores"].items() if SMIYC in entry.get("protocols", {})]


def disagreements(description: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """In what ``components.json`` is of another evaluation than ``metrics.json``; nothing where they agree."""
    now = {
        **{key: metrics.get(key) for key in ("dataset", "split", "images", "list_sha256", "num_classes", "abet")},
        "ood_definition": metrics.get("ood_definition"),
        "checkpoint_sha256": metrics["checkpoint"]["sha256"],
    }
    changed = [key for key, value in now.items() if description.get(key) != value]
    for key, used in description["thresholds"].items():
        try:
            found = best_f1_threshold(metrics, key)
        except KeyError:
            changed.append(f"no {SMIYC} of {key}")
            continue
        if found != used:
            changed.append(f"threshold of {key}: {used} counted, {found} now")
    return changed
