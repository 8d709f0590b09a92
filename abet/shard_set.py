"""Which shards of an evaluation are there, by their names alone. No torch import.

missing_shards(parse_place("s3://models/abet/finetune"), "road_anomaly", 8, site)  # [3, 7]
"""

from collections.abc import Callable, Collection, Iterable
from typing import Final

from abet.errors import DataError, UsageError
from abet.files import parse_json
from abet.places import Place
from abet.run import DESCRIPTION, SHARD_NAME, evaluation_dir, shard_name
from abet.site import SiteConfig
from abet.storage import NotFound, open_storage
from abet.text import counted

AGAIN: Final = "the same `abet evaluate` with --only-missing in place of --shard evaluates these alone"


def missing_shards(
    run: Place, dataset: str, shards: int, site: SiteConfig, *, named: Callable[[int, int], str] = shard_name
) -> list[int]:
    """Numbers (1-based) of those of ``shards`` shards that ``run`` does not hold; nothing is read.

    named: of a shard's number and their count; `component_name` for those of the second pass.
    """
    prefix = named(1, shards).partition("-")[0]
    names = {entry.name for entry in open_storage(evaluation_dir(run, dataset), site.s3).list(f"{prefix}-")}
    return [number for number in range(1, shards + 1) if named(number, shards) not in names]


def shards_of(run: Place, dataset: str, site: SiteConfig) -> int:
    """How many shards the evaluation of ``dataset`` was begun with.

    Raises:
        UsageError: none was begun there.
    """
    folder = evaluation_dir(run, dataset)
    try:
        content, _ = open_storage(folder, site.s3).read(DESCRIPTION)
    except NotFound:
        raise UsageError(
            f"--only-missing: no evaluation of {dataset} was begun in {run}; begin it with --shard 1/N, or leave "
            "--only-missing out to evaluate all images in one piece"
        ) from None
    shards = parse_json(content, source=folder / DESCRIPTION).get("shards")
    if not isinstance(shards, int) or shards < 1:
        raise DataError(f"{folder / DESCRIPTION}: damaged, it names no number of shards; evaluate into a new --output")
    return shards


def numbered(run: Place, dataset: str, names: Iterable[str]) -> tuple[int, dict[int, str]]:
    """How many shards the evaluation has, by those of ``names`` that are shards, and which there are by number.

    Raises:
        DataError: there is none, or they are of several sets.
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
        few = min(found.values(), key=len)
        raise DataError(
            f"{folder}: holds shards of {sizes}; remove one set, they would count images twice "
            f"({', '.join(few[number] for number in sorted(few))} are the fewer)"
        )
    ((count, there),) = found.items()
    return count, there


def name_missing(count: int, there: Collection[int]) -> str:
    """Which of ``count`` shards are missing; empty for none."""
    missing = [f"{number}/{count}" for number in range(1, count + 1) if number not in there]
    return f"{len(missing)} of {counted(count, 'shard')} missing: {', '.join(missing)}" if missing else ""


def complete_set(run: Place, dataset: str, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are shards, in order of their number.

    Raises:
        DataError: they are not one whole set; names what is missing.
    """
    count, there = numbered(run, dataset, names)
    if missing := name_missing(count, there):
        raise DataError(f"{evaluation_dir(run, dataset)}: {missing}; {AGAIN}")
    return [there[number] for number in sorted(there)]
