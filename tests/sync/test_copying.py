"""After a sync the target is the source, and nothing is copied twice."""

import os
from pathlib import Path

import pytest

from abet.errors import DataError
from abet.files import write_json
from abet.storage import LocalStorage, Storage, open_storage
from abet.sync import sync
from abet.sync.manifest import MANIFEST
from tests.s3_server import S3Server
from tests.sync.trees import TREE, contents, write

MTIME_NS = 1_700_000_000 * 10**9


def test_a_first_sync_copies_everything_and_a_second_one_nothing(source: LocalStorage, target: Storage):
    report = sync(source, target)
    assert report.copied == tuple(sorted(TREE))
    assert (report.kept, report.deleted, report.bytes) == ((), (), 100_007)
    assert contents(target) == TREE
    before = target.list()
    report = sync(source, target)
    assert (report.copied, report.kept, report.bytes) == ((), tuple(sorted(TREE)), 0)
    assert target.list() == before


def test_edits_are_copied_and_nothing_else(source: LocalStorage, target: Storage):
    sync(source, target)
    write(source.place, {"a": b"2", "b/c": b"longer", "new/file": b"n"})
    (source.place / "ä ö/x y").touch()  # the same content, later
    (source.place / "b/d.png").unlink()
    report = sync(source, target)
    assert report.copied == ("a", "b/c", "new/file")
    assert report.deleted == ()
    assert contents(target) == contents(source) | {"b/d.png": b""}


def test_deletion_is_asked_for(source: LocalStorage, target: Storage):
    sync(source, target)
    (source.place / "a").unlink()
    target.write("foreign", b"", expect=None)
    assert sync(source, target).deleted == ()
    assert "foreign" in contents(target)
    assert sync(source, target, delete=True).deleted == ("a", "foreign")
    assert contents(target) == contents(source)
    assert sync(source, target, delete=True).deleted == ()


def test_what_others_changed_in_the_target_is_copied_again(source: LocalStorage, target: Storage):
    sync(source, target)
    target.write("a", b"9", expect=None)  # of the same size
    target.write("b/c", b"longer", expect=None)
    target.delete(["z/z/z/z"])
    assert sync(source, target).copied == ("a", "b/c", "z/z/z/z")
    assert contents(target) == TREE


def test_a_dry_run_says_what_would_happen_and_changes_nothing(source: LocalStorage, target: Storage):
    first = sync(source, target, dry_run=True)
    assert target.list() == []
    assert first == sync(source, target)
    (source.place / "a").unlink()
    write(source.place, {"b/c": b"33"})
    before = target.list()
    planned = sync(source, target, delete=True, dry_run=True)
    assert (planned.copied, planned.deleted) == (("b/c",), ("a",))
    assert target.list() == before
    assert planned == sync(source, target, delete=True)


def test_a_change_that_hides_behind_size_and_time_is_found_by_checksum(source: LocalStorage, target: Storage):
    path = source.place / "a"
    os.utime(path, ns=(MTIME_NS, MTIME_NS))
    sync(source, target)
    with path.open("r+b") as file:
        file.write(b"2")
    os.utime(path, ns=(MTIME_NS, MTIME_NS))
    assert sync(source, target).copied == ()
    assert sync(source, target, checksum=True).copied == ("a",)
    assert contents(target)["a"] == b"2"
    assert sync(source, target, checksum=True).copied == ()


def test_a_copy_damaged_on_disk_is_found_by_checksum(source: LocalStorage, tmp_path: Path):
    target = LocalStorage(tmp_path / "target")
    sync(source, target)
    path = target.place / "a"
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert sync(source, target).copied == ()
    assert sync(source, target, checksum=True).copied == ("a",)


def test_a_sync_from_another_copy_of_the_same_files_copies_nothing(
    source: LocalStorage, target: Storage, tmp_path: Path
):
    sync(source, target)
    write(tmp_path / "copy", TREE)
    assert sync(LocalStorage(tmp_path / "copy"), target).copied == ()
    assert sync(source, target).copied == ()


def test_a_file_is_hashed_once(source: LocalStorage, tmp_path: Path):
    target = LocalStorage(tmp_path / "target")
    write(target.place, TREE)
    for place in (source.place, target.place):
        os.utime(place / "a", ns=(MTIME_NS, MTIME_NS))
    assert sync(source, target).copied == ()  # no manifest, so both sides were read
    target.delete([MANIFEST])
    with (target.place / "a").open("r+b") as file:  # whoever read it again would see this
        file.write(b"2")
    os.utime(target.place / "a", ns=(MTIME_NS, MTIME_NS))
    assert sync(source, target).copied == ()


def test_from_s3_to_s3_and_to_a_folder(source: LocalStorage, s3: S3Server, tmp_path: Path):
    one, two = (open_storage(s3.place(name), s3.settings) for name in ("one", "two"))
    here = LocalStorage(tmp_path / "here")
    for content in (b"1", b"3"):
        write(source.place, {"a": content})
        wanted = TREE | {"a": content}
        changed = tuple(sorted(TREE)) if content == b"1" else ("a",)
        for start, end in ((source, one), (one, two), (two, here)):
            assert sync(start, end).copied == changed
            assert contents(end) == wanted
            assert sync(start, end).copied == ()
    assert not list(here.place.rglob("*.partial*"))


def test_large_files_travel_both_ways(s3: S3Server, tmp_path: Path):
    remote = open_storage(s3.place("run"), s3.settings)
    write(tmp_path / "source", {"big": os.urandom(30 * 2**20), "small": b"1"})
    sync(LocalStorage(tmp_path / "source"), remote)
    sync(remote, LocalStorage(tmp_path / "back"))
    assert contents(LocalStorage(tmp_path / "back")) == contents(LocalStorage(tmp_path / "source"))


def test_an_object_that_arrives_damaged_is_refused_and_gets_no_name(s3: S3Server, tmp_path: Path):
    remote = open_storage(s3.place("run"), s3.settings)
    version = remote.write("a", b"damaged!", expect=None)
    record = {"bytes": 8, "sha256": "0" * 64, "source": "x:y", "version": version}
    write_json(tmp_path / "manifest", {"schema": 1, "files": {"a": record}})
    remote.upload(tmp_path / "manifest", MANIFEST)
    with pytest.raises(DataError, match=r"'a' has SHA-256 .*, but 0{64} was stored there; the object is damaged"):
        sync(remote, LocalStorage(tmp_path / "here"))
    assert list((tmp_path / "here").rglob("*")) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 2, "files": {}}', b'{"files": {"a": {}}}'])
def test_a_damaged_manifest_is_written_anew(
    source: LocalStorage, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
):
    target = LocalStorage(tmp_path / "target")
    sync(source, target)
    good = target.read(MANIFEST)[0]
    target.write(MANIFEST, content, expect=None)
    capsys.readouterr()
    assert sync(source, target).copied == ()
    assert f"{MANIFEST} is damaged" in capsys.readouterr().err
    assert target.read(MANIFEST)[0] == good
