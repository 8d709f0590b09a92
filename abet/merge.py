"""Adding up the shards of one evaluation into ``metrics.json`` and ``curves.json``.

    abet merge runs/eval --dataset road_anomaly

Counts are integers and every figure comes from their sum, so the shards' number and order leave no trace.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from abet.errors import DataError
from abet.evaluate import ShardResult, read_shard
from abet.files import write_json
from abet.metrics.curves import curves
from abet.metrics.pixel import PixelState
from abet.metrics.ranking import summarise
from abet.metrics.reference import ReferenceState
from abet.run import SHARD_NAME, evaluation_dir, read_config
from abet.scores import SCORES

UNDEFINED = {"auroc": None, "ap": None, "fpr95": None, "non_finite": None, "reference_protocol": None}


def merge(run: Path, dataset: str) -> dict[str, Any]:
    """Merge all shards of ``dataset`` below ``run``, write the figures, and return ``metrics.json``'s content.

    Raises:
        DataError: shards are missing, damaged or of different evaluations; names each.
    """
    config = read_config(run)
    folder = evaluation_dir(run, dataset)
    shards = [read_shard(path) for path in _complete_set(folder, run, dataset)]
    _same_evaluation(folder, shards)
    first = shards[0].fingerprint
    states = {key: _merged_pixels(shards, key) for key in first["scores"] if key not in shards[0].missing}
    metrics = {
        "schema": 1,
        "dataset": dataset,
        "split": first["split"],
        "images": sum(shard.images for shard in shards),
        "checkpoint": config["checkpoint"],
        "pixels": {name: sum(shard.pixels[name] for shard in shards) for name in ("id", "ood", "void")},
        "scores": {key: _entry(key, shards, states.get(key)) for key in first["scores"]},
        "list_sha256": first["list_sha256"],
        "num_classes": first["num_classes"],
        "abet": first["abet"],
    }
    shown = {key: curves(state) for key, state in states.items()}
    write_json(folder / "curves.json", {"schema": 1, "dataset": dataset, "scores": shown})
    write_json(folder / "metrics.json", metrics)
    return metrics


def _complete_set(folder: Path, run: Path, dataset: str) -> list[Path]:
    """The shard files in order of their number. Raises DataError unless one whole set, and no other, is there."""
    found: dict[int, dict[int, Path]] = {}
    for path in sorted(folder.glob("shard-*.npz")):
        if match := SHARD_NAME.fullmatch(path.name):
            found.setdefault(int(match[2]), {})[int(match[1])] = path
    if not found:
        raise DataError(f"{folder}: no shards; run `abet evaluate --dataset {dataset} --output {run}` first")
    if len(found) > 1:
        sizes = " and of ".join(str(count) for count in sorted(found))
        raise DataError(f"{folder}: holds shards of {sizes}; remove one set, they would count images twice")
    (count, paths), *_ = found.items()
    missing = [f"{number}/{count}" for number in range(1, count + 1) if number not in paths]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {count} shards missing: {', '.join(missing)}; "
            f"run `abet evaluate` with --shard {missing[0]}" + (" and so on" if len(missing) > 1 else "")
        )
    return [paths[number] for number in sorted(paths)]


def _same_evaluation(folder: Path, shards: Sequence[ShardResult]) -> None:
    first = shards[0]
    for shard in shards[1:]:
        changed = [key for key in first.fingerprint if shard.fingerprint.get(key) != first.fingerprint[key]]
        if changed:
            raise DataError(
                f"{folder}: shards {first.shard} and {shard.shard} are of different evaluations "
                f"(different: {', '.join(changed)}); remove one and evaluate it again"
            )


def _merged_pixels(shards: Sequence[ShardResult], key: str) -> PixelState:
    return PixelState.merge(*(shard.pixel[key] for shard in shards))


def _entry(key: str, shards: Sequence[ShardResult], state: PixelState | None) -> dict[str, Any]:
    if state is None:
        return {**UNDEFINED, "reason": shards[0].missing[key]}
    entry = summarise(state)
    if key not in shards[0].reference:
        return {**entry, "reference_protocol": None, "reference_protocol_reason": SCORES[key].reference_absent}
    reference = ReferenceState.merge(*(shard.reference[key] for shard in shards))
    return {**entry, "reference_protocol": reference.summarise()}
