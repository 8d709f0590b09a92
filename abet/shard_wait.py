"""Waiting for shards that are computed elsewhere, by jobs that nobody here can ask. No torch import.

    await_shards(parse_place("s3://models/abet/finetune"), "road_anomaly", site, minutes=60)

A job whose shard will not come leaves ``failed-003-of-008.json`` beside the shards.
"""

import json
import re
import time
from contextlib import suppress
from typing import Final

from abet.errors import DataError
from abet.places import Place
from abet.progress import note
from abet.run import SHARD_NAME, evaluation_dir, shard_name
from abet.shard_set import complete_set
from abet.site import SiteConfig
from abet.storage import NotFound, Storage, open_storage
from abet.text import counted

FAILED_NAME: Final = re.compile(r"failed-(\d+)-of-(\d+)\.json")
LOOK_SECONDS: Final = 10.0
"""How often somebody who waits for shards looks."""
AGAIN: Final = "mend that, and submit the evaluation again: shards that are there are kept"


def note_failure(
    run: Place,
    dataset: str,
    shard: int,
    shards: int,
    site: SiteConfig,
    *,
    code: int | None,
    reason: str,
    after: float = 0,
) -> None:
    """Leave word in the run that a shard will not come: for whoever waits for it in `await_shards`.

    With ``after``, in seconds since the epoch, it counts from then on: a last try that is killed cannot say so itself.
    """
    content = json.dumps({"code": code, "reason": reason, "after": after}).encode()
    open_storage(evaluation_dir(run, dataset), site.s3).write(_failed_name(shard, shards), content, expect=None)


def clear_failure(run: Place, dataset: str, shard: int, shards: int, site: SiteConfig) -> None:
    """Take that word back: the shard is tried again."""
    open_storage(evaluation_dir(run, dataset), site.s3).delete([_failed_name(shard, shards)])


def await_shards(
    run: Place, dataset: str, site: SiteConfig, *, minutes: float, look_seconds: float = LOOK_SECONDS
) -> None:
    """Return when all shards are there.

    Raises:
        DataError: one has failed for good, shards of several sets are there, or the time is over; names each that is
            missing, and why. What is told of failures is removed with that: the next evaluation begins anew.
    """
    folder, deadline = evaluation_dir(run, dataset), time.monotonic() + 60 * minutes
    storage, told = open_storage(folder, site.s3), ""
    while True:
        names = [entry.name for entry in storage.list()]
        there = {name for name in names if SHARD_NAME.fullmatch(name)}
        notes = [name for name in names if FAILED_NAME.fullmatch(name) and _shard_of(name) not in there]
        failed = {name: why for name in notes if (why := _why(storage, name))}
        if failed:
            storage.delete(failed)
            raise DataError(f"{folder}: {'; '.join(failed.values())}; {AGAIN}")
        sizes = {match[2] for name in there if (match := SHARD_NAME.fullmatch(name))}
        try:
            complete_set(run, dataset, there)
            return
        except DataError as error:
            if len(sizes) > 1:  # no waiting cures that
                raise
            if time.monotonic() >= deadline:
                raise DataError(f"{error}. They were waited for {minutes:g} minutes") from None
            found = counted(len(there), "shard")
            waits = f"{found} there, waiting for the others" if there else "waiting for the first shard"
            told = _once(waits, told)
        time.sleep(min(look_seconds, max(0.0, deadline - time.monotonic())))


def _once(text: str, told: str) -> str:
    if text != told:
        note(text)
    return text


def _failed_name(shard: int, shards: int) -> str:
    return f"failed-{shard:03d}-of-{shards:03d}.json"


def _shard_of(failed: str) -> str:
    match = FAILED_NAME.fullmatch(failed)
    assert match is not None
    return shard_name(int(match[1]), int(match[2]))


def _why(storage: Storage, failed: str) -> str | None:
    """Why a shard will not come; None while it still may."""
    match = FAILED_NAME.fullmatch(failed)
    assert match is not None
    reason = "nobody knows why"
    with suppress(ValueError, KeyError, TypeError, NotFound):  # cut short, or taken back this moment
        said = json.loads(storage.read(failed)[0])
        if time.time() < said["after"]:
            return None
        reason = said["reason"] if said["code"] is None else f"exit code {said['code']}: {said['reason']}"
    return f"shard {int(match[1])}/{int(match[2])} has failed for good ({reason})"
