"""Whoever merges may wait for shards that other jobs compute, but never for ever."""

import threading
import time
from pathlib import Path

import pytest

from abet.errors import DataError
from abet.shard_wait import await_shards, clear_failure, note_failure
from abet.site import SiteConfig
from tests.conftest import Cli

SITE = SiteConfig()


def put(run: Path, *numbers: int, of: int = 2) -> None:
    folder = run / "evaluation" / "road_anomaly"
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"shard-{number:03d}-of-{of:03d}.npz").touch()


def wait(run: Path, seconds: float = 20) -> None:
    await_shards(run, "road_anomaly", SITE, minutes=seconds / 60, look_seconds=0.02)


def test_shards_that_come_later_are_waited_for(tmp_path: Path) -> None:
    threading.Timer(0.1, put, (tmp_path, 1)).start()
    threading.Timer(0.3, put, (tmp_path, 2)).start()
    start = time.monotonic()
    wait(tmp_path)
    assert time.monotonic() - start > 0.25


def test_the_wait_ends_and_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no shards; .* waited for 0\.001"):
        wait(tmp_path, 0.06)
    put(tmp_path, 2)
    with pytest.raises(DataError, match=r"1 of 2 shards missing: 1/2; .*They were waited for"):
        wait(tmp_path, 0)


def test_a_shard_that_has_failed_for_good_ends_the_wait_at_once(tmp_path: Path) -> None:
    put(tmp_path, 1)
    note_failure(tmp_path, "road_anomaly", 2, 2, SITE, code=3, reason="a.png: no label")
    with pytest.raises(DataError, match=r"shard 2/2 has failed for good \(exit code 3: a.png: no label\); mend that"):
        wait(tmp_path)
    clear_failure(tmp_path, "road_anomaly", 2, 2, SITE)
    put(tmp_path, 2)
    wait(tmp_path)


def test_what_was_told_of_a_failure_does_not_end_the_next_wait(tmp_path: Path) -> None:
    note_failure(tmp_path, "road_anomaly", 2, 2, SITE, code=3, reason="a.png: no label")
    with pytest.raises(DataError, match="shard 2/2 has failed for good"):
        wait(tmp_path)
    put(tmp_path, 1)
    threading.Timer(0.2, put, (tmp_path, 2)).start()
    wait(tmp_path)


def test_a_failure_that_counts_later_is_waited_for_until_then(tmp_path: Path) -> None:
    put(tmp_path, 1)
    start = time.time()
    note_failure(tmp_path, "road_anomaly", 2, 2, SITE, code=None, reason="its last try is over", after=start + 0.5)
    with pytest.raises(DataError, match=r"shard 2/2 has failed for good \(its last try is over\)"):
        wait(tmp_path)
    assert time.time() - start >= 0.5


def test_shards_of_two_sets_are_said_at_once(tmp_path: Path) -> None:
    put(tmp_path, 1)
    put(tmp_path, 1, of=4)
    with pytest.raises(DataError, match="holds shards of 2 and of 4"):
        wait(tmp_path)


def test_a_failure_before_the_shard_that_came_after_all_is_forgotten(tmp_path: Path) -> None:
    note_failure(tmp_path, "road_anomaly", 2, 2, SITE, code=1, reason="x")
    put(tmp_path, 1, 2)
    wait(tmp_path)


def test_the_command_waits_when_it_is_told_to_and_exits_3(tmp_path: Path, cli: Cli) -> None:
    note_failure(tmp_path, "road_anomaly", 2, 2, SITE, code=3, reason="a.png: no label")
    finished = cli("merge", tmp_path, "--dataset", "road_anomaly", "--wait-minutes", 1)
    assert finished.code == 3
    assert "shard 2/2 has failed for good" in finished.err
