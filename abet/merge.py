"""Adding up the shards of one evaluation into ``metrics.json`` and ``curves.json``.

    abet merge runs/eval --dataset road_anomaly

Counts are integers and every figure comes from their sum, so the shards' number and order leave no trace.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abet.errors import DataError
from abet.files import write_json
from abet.metrics.curves import curves
from abet.metrics.pixel import PixelState
from abet.metrics.ranking import summarise
from abet.metrics.reference import ReferenceState
from abet.run import SHARD_NAME, evaluation_dir, read_config
from abet.scores import SCORES
from abet.shards import ShardResult, read_shard

UNDEFINED = {"auroc": None, "ap": None, "fpr95": None, "non_finite": None, "reference_protocol": None}


def merge(run: Path, dataset: str) -> dict[str, Any]:
    """Merge all shards of ``dataset`` below ``run``, write the figures, and return ``metrics.json``'s content.

    One shard is in memory at a time.

    Raises:
        DataError: shards are missing, damaged or of different evaluations; names each.
    """
    config = read_config(run)
    folder = evaluation_dir(run, dataset)
    total: ShardResult | None = None
    for path in _complete_set(folder, run, dataset):
        shard = read_shard(path)
        _require_place(path, shard, dataset, config)
        total = shard if total is None else _add(folder, total, shard)
    assert total is not None
    if total.images != total.fingerprint["images"]:
        raise DataError(
            f"{folder}: the shards hold {total.images} images of {total.fingerprint['images']}; "
            "remove them and evaluate again"
        )
    metrics = _metrics(config, total)
    shown = {key: curves(state) for key, state in total.pixel.items()}
    write_json(folder / "curves.json", {"schema": 1, "dataset": dataset, "scores": shown})
    write_json(folder / "metrics.json", metrics)
    return metrics


def _metrics(config: Mapping[str, Any], total: ShardResult) -> dict[str, Any]:
    fingerprint = total.fingerprint
    return {
        "schema": 1,
        "dataset": fingerprint["dataset"],
        "split": fingerprint["split"],
        "images": total.images,
        "checkpoint": config["checkpoint"],
        "pixels": total.pixels,
        "scores": {key: _entry(key, total) for key in fingerprint["scores"]},
        "list_sha256": fingerprint["list_sha256"],
        "num_classes": fingerprint["num_classes"],
        "abet": fingerprint["abet"],
    }


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


def _require_place(path: Path, shard: ShardResult, dataset: str, config: Mapping[str, Any]) -> None:
    """Raises DataError for a shard that stands under another name, data set or checkpoint than its own."""
    match = SHARD_NAME.fullmatch(path.name)
    assert match is not None
    named, held = f"shard {match[1]} of {match[2]}", f"shard {shard.shard:03d} of {shard.fingerprint['shards']:03d}"
    expected = {"dataset": dataset, "checkpoint_sha256": config["checkpoint"]["sha256"]}
    wrong = [
        f"{key} {shard.fingerprint.get(key)}" for key, value in expected.items() if shard.fingerprint[key] != value
    ]
    if named != held or wrong:
        raise DataError(f"{path}: holds {', '.join([held, *wrong])}: it was copied here; remove it and evaluate again")


def _add(folder: Path, total: ShardResult, shard: ShardResult) -> ShardResult:
    changed = [key for key in total.fingerprint if shard.fingerprint.get(key) != total.fingerprint[key]]
    if changed:
        raise DataError(
            f"{folder}: shard {shard.shard} is of another evaluation than those before it "
            f"(different: {', '.join(changed)}); remove one and evaluate it again"
        )
    return ShardResult(
        fingerprint=total.fingerprint,
        shard=shard.shard,
        images=total.images + shard.images,
        pixels={name: count + shard.pixels[name] for name, count in total.pixels.items()},
        missing=total.missing,
        pixel={key: PixelState.merge(state, shard.pixel[key]) for key, state in total.pixel.items()},
        reference={key: ReferenceState.merge(state, shard.reference[key]) for key, state in total.reference.items()},
    )


def _entry(key: str, total: ShardResult) -> dict[str, Any]:
    if key in total.missing:
        return {**UNDEFINED, "reason": total.missing[key]}
    entry = summarise(total.pixel[key])
    if key not in total.reference:
        return {**entry, "reference_protocol": None, "reference_protocol_reason": SCORES[key].reference_absent}
    return {**entry, "reference_protocol": total.reference[key].summarise()}
