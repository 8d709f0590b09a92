"""Whether a shard's file is what its place says: whole, of this evaluation, and of its own number.

    shard = checked_shard(path, wanted=whole(evaluation.fingerprint))

A file that is damaged may be replaced by whoever evaluates that shard again; one that is whole and of something else
was put there by somebody, and nobody here removes it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from abet.run import SHARD_NAME
from abet.shards import USUAL, ForeignShard, ShardResult, read_shard

HASH: Final = re.compile(r"[0-9a-f]{64}")


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Which of the ``wanted`` entries a fingerprint has not, by name, with both values."""
    there = whole(found)
    return [
        f"{key} {_shown(there.get(key))} there, {_shown(wanted[key])} here" for key in changed_entries(found, wanted)
    ]


def changed_entries(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The same, their names alone."""
    there = whole(found)
    return [key for key, value in wanted.items() if there.get(key) != value]


def all_differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The same, and what the fingerprint has beside them."""
    return differences(found, {**dict.fromkeys(found), **USUAL, **wanted})


def whole(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """A fingerprint with all that goes without saying."""
    return {**USUAL, **fingerprint}


def _shown(value: object) -> str:
    """A value as it stands in a message: of a hash, so much as is needed to tell it from others."""
    return value[:12] if isinstance(value, str) and HASH.fullmatch(value) else repr(value)


def checked_shard(path: Path, *, wanted: Mapping[str, Any]) -> ShardResult:
    """The shard at ``path``, whose name says its number; ``wanted`` are entries that its fingerprint must have.

    Raises:
        DamagedShard: the file is not whole.
        ForeignShard: it is another shard, or of another evaluation, or of another version of abet.
    """
    shard = read_shard(path)
    match = SHARD_NAME.fullmatch(path.name)
    assert match is not None
    place, held = (int(match[1]), int(match[2])), (shard.shard, shard.fingerprint["shards"])
    wrong = [] if place == held else [f"holds shard {held[0]:03d} of {held[1]:03d}"]
    if changed := differences(shard.fingerprint, wanted):
        wrong.append(f"is of another evaluation (different: {'; '.join(changed)})")
    if wrong:
        raise ForeignShard(path, " and ".join(wrong))
    return shard
