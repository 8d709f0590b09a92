"""Which shards of an evaluation are there, by their names alone. No torch import.

missing_shards(parse_place("s3://models/abet/finetune"), "road_anomaly", 8, site)  # [3, 7]
"""

from collections.abc import Iterable

from abet.errors import DataError
from abet.places import Place
from abet.run import SHARD_NAME, evaluation_dir, shard_name
from abet.site import SiteConfig
from abet.storage import open_storage


def missing_shards(run: Place, dataset: str, shards: int, site: SiteConfig) -> list[int]:
    """Numbers (1-based) of those of ``shards`` shards that ``run`` does not hold; nothing is read."""
    names = {entry.name for entry in open_storage(evaluation_dir(run, dataset), site.s3).list("shard-")}
    return [number for number in range(1, shards + 1) if shard_name(number, shards) not in names]


def complete_set(run: Place, dataset: str, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are shards, in order of their number.

    Raises:
        DataError: they are not one whole set; names what is missing.
    """
    folder = evaluation_dir(run, dataset)
    found: dict[int, dict[int, str]] = {}
    for name in sorted(names):
        if match := SHARD_NAME.fullmatch(name):
            found.setdefault(int(match[2]), {})[int(match[1])] = name
    if not found:
        raise DataError(f"{folder}: no shards; run `abet evaluate --dataset {dataset} --output {run}` first")
    if len(found) > 1:
        sizes = " and of ".join(str(count) for count in sorted(found))
        raise DataError(f"{folder}: holds shards of {sizes}; remove one set, they would count images twice")
    (count, there), *_ = found.items()
    missing = [f"{number}/{count}" for number in range(1, count + 1) if number not in there]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {count} shards missing: {', '.join(missing)}; "
            f"run `abet evaluate` with --shard {missing[0]}" + (" and so on" if len(missing) > 1 else "")
        )
    return [there[number] for number in sorted(there)]
