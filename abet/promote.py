"""Promotion: naming the checkpoint that later jobs take when none is given. No torch import.

    newest_promoted(site)  # what `abet evaluate` takes
    newest_promoted(site, num_classes=PRETRAINING_CLASSES)  # what fine-tuning starts from

Each promotion is a small file of its own below ``<artifacts>/promoted/``, written once and never changed; of those
with the wanted number of classes the newest one (by its own number) counts.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

import yaml

from abet.errors import CheckpointError, UsageError
from abet.labels import CITYSCAPES, MAPILLARY
from abet.mirror import remote_run_of
from abet.places import Place, S3Uri, parse_place
from abet.run import CONFIG, run_of
from abet.site import S3Settings, SiteConfig
from abet.storage import ABSENT, Conflict, NotFound, Storage, open_storage

FOLDER = "promoted"
DETECTOR_CLASSES: Final = len(CITYSCAPES)
"""Of what is evaluated on the OOD sets."""
PRETRAINING_CLASSES: Final = len(MAPILLARY)
"""Of what fine-tuning starts from."""


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """One promoted checkpoint."""

    number: int
    checkpoint: Place
    sha256: str
    """Of its weights when they were promoted."""
    num_classes: int = DETECTOR_CLASSES
    """Records that do not say are of detectors."""
    head: str | None = None
    dataset: str | None = None
    """What it was trained on, where a run of ours says so."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What is to be promoted: the record without its number."""

    checkpoint: Place
    sha256: str
    num_classes: int
    head: str
    dataset: str | None

    def to_bytes(self) -> bytes:
        """The record's text; equal candidates give equal bytes."""
        record: dict[str, str | int | None] = {
            "checkpoint": str(self.checkpoint if isinstance(self.checkpoint, S3Uri) else self.checkpoint.resolve()),
            "sha256": self.sha256,
            "num_classes": self.num_classes,
            "head": self.head,
            "dataset": self.dataset,
        }
        return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def promotions(artifacts: Place, s3: S3Settings) -> list[Promotion]:
    """All promotions below ``artifacts``, oldest first. Raises CheckpointError for a damaged record."""
    storage = open_storage(artifacts / FOLDER, s3)
    names = [entry.name for entry in storage.list() if re.fullmatch(r"[0-9]+\.json", entry.name)]
    return sorted((_read(storage, name) for name in names), key=lambda promotion: promotion.number)


def promote(candidate: Candidate, artifacts: Place, s3: S3Settings) -> Place:
    """Record ``candidate`` as the newest promotion and return the record's place."""
    storage = open_storage(artifacts / FOLDER, s3)
    number = max((promotion.number for promotion in promotions(artifacts, s3)), default=0) + 1
    while True:
        name = f"{number:06d}.json"
        try:
            storage.write(name, candidate.to_bytes(), expect=ABSENT)
        except Conflict:  # another promotion took that number meanwhile
            number += 1
        else:
            return artifacts / FOLDER / name


def find_promoted(site: SiteConfig, num_classes: int = DETECTOR_CLASSES) -> Promotion | None:
    """The same, or None where there is none. Raises CheckpointError for a damaged record."""
    found = promotions(site.artifacts, site.s3)
    return next((promotion for promotion in reversed(found) if promotion.num_classes == num_classes), None)


def newest_promoted(site: SiteConfig, num_classes: int = DETECTOR_CLASSES) -> Promotion:
    """The promoted checkpoint of ``num_classes`` classes to use when none is named.

    Raises:
        UsageError: there is none; says how to get one.
        CheckpointError: a damaged record.
    """
    found = find_promoted(site, num_classes)
    if found is not None:
        return found
    where = f"of {num_classes} classes is promoted below {site.artifacts}"
    if num_classes == PRETRAINING_CLASSES:
        raise UsageError(
            f"no pre-trained checkpoint: give --snapshot PLACE (make: SNAPSHOT=PLACE), or promote one with `abet "
            f"checkpoint promote PLACE` (none {where})"
        )
    raise UsageError(
        "no checkpoint: name one (--checkpoint PLACE, of `abet validate` the first argument; make: CHECKPOINT=PLACE), "
        f"put `checkpoint:` into the site file, or promote one with `abet checkpoint promote PLACE` (none {where}); "
        "docs/weights.md says where the published "
        "ones are obtained"
    )


def trained_on(checkpoint: Place, site: SiteConfig) -> str | None:
    """The data set that a checkpoint was trained on, where it belongs to a run of `abet train`; else None."""
    run = remote_run_of(checkpoint, site) if isinstance(checkpoint, S3Uri) else run_of(checkpoint.absolute())
    if run is None:
        return None
    try:
        content, _ = open_storage(run, site.s3).read(CONFIG)
        dataset = yaml.safe_load(content)["data"]["dataset"]
    except (NotFound, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):  # the record can do without
        return None
    return dataset if isinstance(dataset, str) else None


def _read(storage: Storage, name: str) -> Promotion:
    content, _ = storage.read(name)
    try:
        record = json.loads(content)
        checkpoint, sha256 = record["checkpoint"], record["sha256"]
        if not isinstance(checkpoint, str) or not isinstance(sha256, str):
            raise TypeError
        return Promotion(
            number=int(name.removesuffix(".json")),
            checkpoint=parse_place(checkpoint),
            sha256=sha256,
            num_classes=_whole(record.get("num_classes", DETECTOR_CLASSES)),
            head=record.get("head"),
            dataset=record.get("dataset"),
        )
    except (ValueError, KeyError, TypeError, RecursionError, UsageError):
        raise CheckpointError(f"{storage.place / name}: not a promotion record; remove it") from None


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value
