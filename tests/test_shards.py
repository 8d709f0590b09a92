"""A shard's file: whole or recognised as not; the same bytes from whoever writes it."""

import errno
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from abet import arrays, files, shards
from abet.errors import DataError
from abet.run import shard_path
from abet.shard_check import checked_shard
from abet.shards import BINNED, DamagedShard, ForeignShard, ShardResult, read_shard, shard_bytes, write_shard
from tests.shard_files import noticed_flips, put, result


def content(shard: ShardResult) -> tuple[Any, ...]:
    """All that a shard says, as values that can be compared."""
    states = [
        (kind, key, each) for kind in ("pixel", "reference", "protocols") for key, each in getattr(shard, kind).items()
    ]
    arrays = sorted(
        (kind, key, name, array.dtype.str, array.shape, array.tobytes())
        for kind, key, state in states
        for name, array in state.to_arrays().items()
    )
    return shard.fingerprint, shard.shard, shard.images, shard.pixels, shard.missing, arrays


@pytest.fixture(scope="module")
def written() -> bytes:
    return shard_bytes(result([0, 1], 1, 1, total=2, protocols=True))


def test_a_shard_survives_its_file_and_the_same_counts_are_the_same_bytes(written: bytes, tmp_path: Path) -> None:
    (tmp_path / "shard-001-of-001.npz").write_bytes(written)
    assert content(read_shard(tmp_path / "shard-001-of-001.npz")) == content(
        result([0, 1], 1, 1, total=2, protocols=True)
    )
    assert shard_bytes(result([0, 1], 1, 1, total=2, protocols=True)) == written


@pytest.mark.parametrize("part", ["anywhere", "between the arrays", "at the end"])
def test_a_flipped_bit_is_noticed_or_changes_nothing(part: str, written: bytes, tmp_path: Path) -> None:
    """The archive's own lists of what it holds have no checksum: they are where a flip could go unnoticed."""
    rng = np.random.default_rng(0)
    headers = [place for place in range(len(written)) if written.startswith((b"PK\x03\x04", b"PK\x01\x02"), place)]
    places = {
        "anywhere": rng.integers(0, len(written), 120),
        "between the arrays": rng.choice(headers, 120) + rng.integers(0, 60, 120),
        "at the end": len(written) - 1 - rng.integers(0, 22, 60),
    }[part]
    path, whole = tmp_path / "shard-001-of-001.npz", result([0, 1], 1, 1, total=2, protocols=True)
    path.write_bytes(written)
    assert content(read_shard(path)) == content(whole)
    bits = [8 * place + int(rng.integers(8)) for place in places]
    noticed = noticed_flips(path, bits, lambda path: content(read_shard(path)), DamagedShard)
    assert noticed > len(places) / 4


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.9, 0.999])
def test_a_file_that_was_copied_in_part_is_noticed(keep: float, written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "shard-001-of-001.npz"
    path.write_bytes(written[: int(len(written) * keep)])
    with pytest.raises(DamagedShard, match=r"shard-001-of-001\.npz: damaged shard.*--only-missing"):
        read_shard(path)
    path.write_bytes(written[: len(written) // 2].ljust(len(written), b"\0"))
    with pytest.raises(DamagedShard):
        read_shard(path)


def test_a_file_without_one_of_its_arrays_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "shard-001-of-001.npz"
    for kind, key in (("pixel", "msp"), ("reference", "msp"), ("protocols", "energy")):
        one = result([0, 1], 1, 1, total=2, protocols=True)
        del getattr(one, kind)[key]
        write_shard(path, one)
        with pytest.raises(DamagedShard, match="not all scores"):
            read_shard(path)
    one = result([0, 1], 1, 1, total=2, protocols=True)
    one.pixels["id"] += 1
    write_shard(path, one)
    with pytest.raises(DamagedShard, match="the same pixels"):
        read_shard(path)


PLUGINS = {"msp": "abet_extra 1.2", "energy": "abet_extra 1.2"}
"""Whether one has a reference, only its package knows, which need not be installed where shards are merged."""


def test_a_plug_in_without_a_reference_has_no_bins(tmp_path: Path) -> None:
    one = result([0, 1], 1, 1, total=2, plugins=PLUGINS)
    del one.reference["msp"]
    write_shard(tmp_path / "shard-001-of-001.npz", one)
    assert read_shard(tmp_path / "shard-001-of-001.npz").reference == {}


def change(path: Path, kept: Callable[[str], bool], header: Callable[[dict[str, Any]], object] = id) -> None:
    """Write a shard's file anew with the arrays whose names are kept, and its header as changed."""
    arrays = {name: array for name, array in np.load(path).items() if kept(name)}
    values = json.loads(arrays["header"].tobytes())
    header(values)
    np.savez(path, **{**arrays, "header": np.frombuffer(json.dumps(values).encode(), np.uint8)})


@pytest.mark.parametrize("plugins", [None, PLUGINS])
def test_reference_bins_that_get_lost_are_noticed_whoever_brought_the_score(
    plugins: dict[str, str] | None, tmp_path: Path
) -> None:
    path = tmp_path / "shard-001-of-001.npz"
    write_shard(path, result([0, 1], 1, 1, total=2, **({"plugins": plugins} if plugins else {})))
    change(path, lambda _: True)
    assert set(read_shard(path).reference) == {"msp"}
    change(path, lambda name: not name.startswith("reference.msp."))
    with pytest.raises(DamagedShard, match=r"shard-001-of-001\.npz: .*not all scores hold the reference's bins"):
        read_shard(path)


def test_bins_of_a_plug_in_that_should_have_none_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "shard-001-of-001.npz"
    write_shard(path, result([0, 1], 1, 1, total=2, plugins=PLUGINS))
    change(path, lambda _: True, lambda header: header[BINNED].clear())
    with pytest.raises(DamagedShard, match="reference's bins"):
        read_shard(path)


def test_a_plug_in_s_file_from_before_its_bins_were_named_is_read(tmp_path: Path) -> None:
    path = tmp_path / "shard-001-of-001.npz"
    write_shard(path, result([0, 1], 1, 1, total=2, plugins=PLUGINS))
    change(path, lambda _: True, lambda header: header.pop(BINNED))
    assert set(read_shard(path).reference) == {"msp"}


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_a_machine_that_cannot_read_is_no_damage(
    error: Exception, written: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shard-001-of-001.npz"
    path.write_bytes(written)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(type(error)):
        read_shard(path)
    monkeypatch.undo()
    monkeypatch.setattr(arrays, "read_array", lambda *_, **__: fail())
    with pytest.raises(MemoryError if isinstance(error, MemoryError) else DamagedShard):
        read_shard(path)


def test_another_format_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, 1, 1, format=2, abet="9.0")
    path = shard_path(tmp_path, "road_anomaly", 1, 1)
    with pytest.raises(ForeignShard, match=r"shard of format 2 \(abet 9\.0\), not 1 .*; .*remove it and evaluate"):
        read_shard(path)
    monkeypatch.setattr(shards, "FORMAT", 2)
    assert read_shard(path).images == 8


def test_a_shard_of_something_else_than_its_place_says_is_told_apart(tmp_path: Path) -> None:
    put(tmp_path, 2, 1)
    path = shard_path(tmp_path, "road_anomaly", 1, 2)
    fingerprint = read_shard(path).fingerprint
    assert checked_shard(path, wanted=fingerprint).images == 4
    with pytest.raises(ForeignShard, match=r"another evaluation \(different: scores \['msp', 'energy'\] there"):
        checked_shard(path, wanted=fingerprint | {"scores": ["msp"]})
    moved = path.rename(path.with_name("shard-002-of-002.npz"))
    with pytest.raises(ForeignShard, match=r"shard-002-of-002\.npz: holds shard 001 of 002; .*remove it"):
        checked_shard(moved, wanted=fingerprint)


# --- several writers


FORK = multiprocessing.get_context("fork")


def write_often(path: Path, one: ShardResult, start: Any) -> None:
    start.wait()
    for _ in range(20):
        write_shard(path, one)


def test_of_two_processes_that_write_at_once_nobody_sees_half(tmp_path: Path) -> None:
    path, one, start = tmp_path / "shard-001-of-001.npz", result([0, 1], 1, 1, total=2, protocols=True), FORK.Barrier(3)
    writers = [FORK.Process(target=write_often, args=(path, one, start)) for _ in range(2)]
    for writer in writers:
        writer.start()
    start.wait()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            seen.add(path.read_bytes())
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen | {path.read_bytes()} == {shard_bytes(one)}
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def die_before(step: str, path: Path, one: ShardResult) -> None:
    setattr(files, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    write_shard(path, one)


@pytest.mark.parametrize("step", ["flush", "_publish"])
def test_a_writer_that_dies_leaves_nothing_that_counts(step: str, tmp_path: Path) -> None:
    from abet.merge import merge
    from tests.shard_files import begin

    run = begin(tmp_path / "run")
    put(run, 2, 1)
    path = shard_path(run, "road_anomaly", 2, 2)
    writer = FORK.Process(target=die_before, args=(step, path, result([1, 3, 5, 7], 2, 2, total=8)))
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert not path.exists()
    assert len(list(path.parent.iterdir())) == 2, "what it had written lies there"
    with pytest.raises(DataError, match="1 of 2 shards missing: 2/2"):
        merge(run, "road_anomaly")
    put(run, 2, 2)
    assert merge(run, "road_anomaly")["images"] == 8
