"""Promotion: naming the checkpoint that later jobs take when none is given.

Each promotion is a small file of its own below ``<artifacts>/promoted/``, written once and never changed; the newest
one (by its number) counts.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from abet.errors import CheckpointError, UsageError
from abet.files import read_json, write_json

FOLDER = "promoted"


@dataclass(frozen=True)
class Promotion:
    """One promoted checkpoint."""

    number: int
    checkpoint: Path
    sha256: str


def promotions(artifacts: Path) -> list[Promotion]:
    """All promotions, oldest first. Raises DataError for a damaged record."""
    found = []
    for path in (artifacts / FOLDER).glob("*.json"):
        if not re.fullmatch("[0-9]+", path.stem):
            continue
        record = read_json(path)
        if not isinstance(record.get("checkpoint"), str) or not isinstance(record.get("sha256"), str):
            raise CheckpointError(f"{path}: not a promotion record; remove it")
        found.append(Promotion(int(path.stem), Path(record["checkpoint"]), record["sha256"]))
    return sorted(found, key=lambda promotion: promotion.number)


def promote(checkpoint: Path, sha256: str, artifacts: Path) -> Path:
    """Record ``checkpoint`` as the newest promotion and return the record's path."""
    record = {"checkpoint": str(checkpoint.resolve()), "sha256": sha256}
    number = max((p.number for p in promotions(artifacts)), default=0) + 1
    while True:
        path = artifacts / FOLDER / f"{number:06d}.json"
        write_json(path, record, keep_existing=True)
        if read_json(path) == record:
            return path
        number += 1  # another promotion took that number meanwhile


def newest_promoted(artifacts: Path) -> Promotion:
    """The checkpoint to use when none is named. Raises UsageError, with how to get one, when there is none."""
    found = promotions(artifacts)
    if not found:
        raise UsageError(
            f"no checkpoint: give --checkpoint PATH (make: CHECKPOINT=PATH) or `checkpoint:` in the site file, or "
            f"promote one with `abet checkpoint promote PATH` (none is promoted below {artifacts}); docs/weights.md "
            "says where the published ones are obtained"
        )
    return found[-1]
