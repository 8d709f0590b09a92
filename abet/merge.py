"""Adding up the shards of one evaluation into ``metrics.json``, ``curves.json`` and, with protocols, ``images.json``.

    abet merge runs/eval --dataset road_anomaly

Counts are integers and every figure comes from their sum, so the shards' number and order leave no trace.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abet.errors import DataError, UsageError
from abet.files import write_json
from abet.metrics.curves import curves
from abet.metrics.image_table import image_table
from abet.metrics.pixel import PixelState
from abet.metrics.protocols import ProtocolState, summarise_protocols
from abet.metrics.ranking import summarise
from abet.metrics.reference import ReferenceState
from abet.mirror import mirrored
from abet.places import Place, S3Uri
from abet.run import CONFIG, SHARD_NAME, evaluation_config, evaluation_dir, read_config
from abet.scores import SCORES
from abet.shard_set import complete_set
from abet.shards import ShardResult, read_shard
from abet.site import SiteConfig

IMAGES = "images.json"
UNDEFINED = {"auroc": None, "ap": None, "fpr95": None, "non_finite": None, "reference_protocol": None}


def merge(run: Path, dataset: str, *, sha256: str | None = None) -> dict[str, Any]:
    """Merge all shards of ``dataset`` below ``run``, write the figures, and return ``metrics.json``'s content.

    One shard is in memory at a time. ``sha256`` is that of the weights that the evaluation should be of.

    Raises:
        UsageError: it is of other weights.
        DataError: shards are missing, damaged or of different evaluations; names each.
    """
    config = read_config(run)
    found = config["checkpoint"]
    if sha256 not in (None, found["sha256"]):
        raise UsageError(
            f"{run}: what is evaluated here is {found['uri']} (sha256 {found['sha256'][:12]}), and not the checkpoint "
            f"that was asked for (sha256 {sha256}): evaluate that into another --output"
        )
    folder = evaluation_dir(run, dataset)
    total: ShardResult | None = None
    there = [path.name for path in folder.glob("shard-*.npz")]
    for name in complete_set(run, dataset, there):
        path = folder / name
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
    table = folder / IMAGES
    table.unlink(missing_ok=True)  # of an evaluation before this one
    if total.protocols:
        write_json(table, {"schema": 1, "dataset": dataset, **image_table(total.pixel, total.protocols)})
    write_json(folder / "metrics.json", metrics)
    return metrics


def merge_in(run: Place, dataset: str, site: SiteConfig, *, sha256: str | None = None) -> dict[str, Any]:
    """The same for a run that may lie in S3: its figures are published there, ``metrics.json`` last."""
    with mirrored(run, site) as mirror:
        below = f"{evaluation_dir(Path(), dataset).as_posix()}/"
        if isinstance(run, S3Uri):
            names = mirror.pull(lambda name: name in (CONFIG, f"evaluation/{CONFIG}"))
            there = [name.removeprefix(below) for name in names if name.startswith(below)]
            if evaluation_config(mirror.folder).exists():  # else `merge` says that nothing is evaluated here
                wanted = {below + name for name in complete_set(run, dataset, there)}
                mirror.pull(wanted.__contains__)
        metrics = merge(mirror.folder, dataset, sha256=sha256)
        folder = evaluation_dir(mirror.folder, dataset)
        made = (folder / name for name in ("curves.json", IMAGES, "metrics.json"))
        mirror.push(*(path for path in made if path.exists()))
    return metrics


def _metrics(config: Mapping[str, Any], total: ShardResult) -> dict[str, Any]:
    fingerprint = total.fingerprint
    protocols, pairs = summarise_protocols(total.protocols, total.reference)
    entries = {key: _entry(key, total) for key in fingerprint["scores"]}
    for key, named in protocols.items():
        entries[key]["protocols"] = named
    return {
        "schema": 1,
        "dataset": fingerprint["dataset"],
        "split": fingerprint["split"],
        **{key: fingerprint[key] for key in ("ood_definition",) if key in fingerprint},
        "images": total.images,
        "checkpoint": config["checkpoint"],
        "pixels": total.pixels,
        "scores": entries,
        "list_sha256": fingerprint["list_sha256"],
        "num_classes": fingerprint["num_classes"],
        "abet": fingerprint["abet"],
        **({"paired_differences": pairs} if pairs else {}),
    }


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
    keys = {**total.fingerprint, **shard.fingerprint}
    changed = [key for key in keys if shard.fingerprint.get(key) != total.fingerprint.get(key)]
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
        protocols={key: ProtocolState.merge(state, shard.protocols[key]) for key, state in total.protocols.items()},
    )


def _entry(key: str, total: ShardResult) -> dict[str, Any]:
    if key in total.missing:
        return {**UNDEFINED, "reason": total.missing[key]}
    entry = summarise(total.pixel[key])
    if key not in total.reference:
        return {**entry, "reference_protocol": None, "reference_protocol_reason": SCORES[key].reference_absent}
    return {**entry, "reference_protocol": total.reference[key].summarise()}
