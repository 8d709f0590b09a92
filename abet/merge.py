"""Adding up the shards of one evaluation into ``metrics.json``, ``curves.json`` and, with protocols, ``images.json``.

    abet merge runs/eval --dataset road_anomaly

Counts are integers and every figure comes from their sum, so the shards' number and order leave no trace.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abet.component_shards import DESCRIPTION as COMPONENTS
from abet.component_shards import METRICS, write_figures
from abet.errors import DataError, UsageError
from abet.files import read_json, write_json
from abet.metrics.curves import curves
from abet.metrics.image_table import image_table
from abet.metrics.pixel import PixelState
from abet.metrics.protocols import ProtocolState, summarise_protocols
from abet.metrics.ranking import summarise
from abet.metrics.reference import ReferenceState
from abet.mirror import Mirror, mirrored
from abet.places import Place, S3Uri
from abet.progress import note
from abet.run import COMPONENTS_NAME, CONFIG, DESCRIPTION, evaluation_config, evaluation_dir, read_config
from abet.scores import SCORES
from abet.shard_check import checked_shard, whole
from abet.shard_set import AGAIN, name_missing, numbered
from abet.shards import ForeignShard, ShardError, ShardResult
from abet.site import SiteConfig
from abet.text import counted

IMAGES = "images.json"
UNDEFINED = {"auroc": None, "ap": None, "fpr95": None, "non_finite": None, "reference_protocol": None}


def merge(run: Path, dataset: str, *, sha256: str | None = None) -> dict[str, Any]:
    """Merge all shards of ``dataset`` below ``run``, write the figures, and return ``metrics.json``'s content.

    Components that were counted for these very figures are kept; of others it is said that they are left out. One
    shard is in memory at a time. ``sha256`` is that of the weights that the evaluation should be of.

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
    total = _total(run, dataset, config)
    if total.images != total.fingerprint["images"]:
        raise DataError(
            f"{folder}: the shards hold {total.images} of {counted(total.fingerprint['images'], 'image')}; "
            "remove them and evaluate again"
        )
    shown = {key: curves(state) for key, state in total.pixel.items()}
    write_json(folder / "curves.json", {"schema": 1, "dataset": dataset, "scores": shown})
    table = folder / IMAGES
    table.unlink(missing_ok=True)  # of an evaluation before this one
    if total.protocols:
        write_json(table, {"schema": 1, "dataset": dataset, **image_table(total.pixel, total.protocols)})
    figures = _metrics(config, total)
    metrics, reason = write_figures(folder, lambda: figures)
    if reason:
        note(f"note: {reason}")
    return metrics


def merge_in(run: Place, dataset: str, site: SiteConfig, *, sha256: str | None = None) -> dict[str, Any]:
    """The same for a run that may lie in S3: its figures are published there, ``metrics.json`` last."""
    with mirrored(run, site) as mirror:
        folder = evaluation_dir(mirror.folder, dataset)
        while True:
            _pull(mirror, dataset)
            metrics = merge(mirror.folder, dataset, sha256=sha256)
            mirror.push(folder / "curves.json")
            if (folder / IMAGES).exists():
                mirror.push(folder / IMAGES)
            else:
                mirror.remove(folder / IMAGES)  # of an evaluation before this one
            if mirror.replace(folder / METRICS):
                return metrics


def _pull(mirror: Mirror, dataset: str) -> None:
    """Fetch what is merged.

    ``metrics.json`` comes before the listing: if its version is still that one in the end, nobody who counted
    components after the listing has added them meanwhile.
    """
    if not isinstance(mirror.place, S3Uri):
        return
    below = f"{evaluation_dir(Path(), dataset).as_posix()}/"
    mirror.pull((below + METRICS).__eq__)
    names = mirror.pull(lambda name: name in (CONFIG, f"evaluation/{CONFIG}"))
    there = [name.removeprefix(below) for name in names if name.startswith(below)]
    if evaluation_config(mirror.folder).exists():  # else `merge` says that nothing is evaluated here
        wanted = {below + name for name in (DESCRIPTION, *numbered(mirror.place, dataset, there)[1].values())}
        wanted |= {below + name for name in there if name == COMPONENTS or COMPONENTS_NAME.fullmatch(name)}
        mirror.pull(wanted.__contains__)


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
        **{key: fingerprint[key] for key in ("ood_definition", "fitted_sha256", "plugins") if key in fingerprint},
        "images": total.images,
        "checkpoint": config["checkpoint"],
        "pixels": total.pixels,
        "scores": entries,
        "list_sha256": fingerprint["list_sha256"],
        "num_classes": fingerprint["num_classes"],
        "abet": fingerprint["abet"],
        **({"paired_differences": pairs} if pairs else {}),
    }


def _total(run: Path, dataset: str, config: Mapping[str, Any]) -> ShardResult:
    """All shards added up. Raises DataError that names every shard that is missing, damaged or of something else."""
    folder = evaluation_dir(run, dataset)
    count, there = numbered(run, dataset, [path.name for path in folder.glob("shard-*.npz")])
    wanted = _wanted(folder, dataset, config)
    total: ShardResult | None = None
    faults: dict[str, ShardError] = {}
    for number in sorted(there):
        try:
            shard = checked_shard(folder / there[number], wanted=wanted)
        except ShardError as error:
            faults[there[number]] = error
            continue
        # Without what the evaluation says of itself, the first shard speaks for all
        wanted = whole(shard.fingerprint)
        total = shard if total is None else _add(total, shard)
    missing = name_missing(count, there)
    if missing or faults or total is None:
        raise DataError(_faults(folder, count, missing, faults))
    return total


def _wanted(folder: Path, dataset: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What the fingerprints of all shards must hold: what the evaluation says that they share, if it is still there."""
    shared: dict[str, Any] = {}
    if (path := folder / DESCRIPTION).exists():
        shared = {key: value for key, value in whole(read_json(path)).items() if key not in ("data_root", "started")}
    return {**shared, "dataset": dataset, "checkpoint_sha256": config["checkpoint"]["sha256"]}


def _faults(folder: Path, count: int, missing: str, faults: Mapping[str, ShardError]) -> str:
    shards = counted(count, "shard")
    lines = [f"{folder}: {missing or f'{len(faults)} of {shards} cannot be added up'}"]
    lines += [f"{name}: {error.reason}" for name, error in faults.items()]
    foreign = [name for name, error in faults.items() if isinstance(error, ForeignShard)]
    first = f"remove {', '.join(foreign)} first: " if foreign else ""
    return "\n  ".join(lines) + ("\n" if faults else "; ") + first + AGAIN


def _add(total: ShardResult, shard: ShardResult) -> ShardResult:
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
        plugin = total.fingerprint.get("plugins", {}).get(key)  # need not be installed where shards are merged
        absent = f"a score of {plugin}, without a reference formula" if plugin else SCORES[key].reference_absent
        return {**entry, "reference_protocol": None, "reference_protocol_reason": absent}
    return {**entry, "reference_protocol": total.reference[key].summarise()}
