"""After a sync the target is the source: for any tree, after any edit, and wherever it was interrupted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abet.errors import DataError, UsageError
from abet.files import temporary_beside, write_json
from abet.places import S3Uri
from abet.site import S3Settings
from abet.storage import LocalStorage, Storage, open_storage
from abet.sync import sync
from abet.sync.manifest import MANIFEST
from tests.conftest import Cli
from tests.s3_server import S3Server

ROOT = Path(__file__).parents[1]
MTIME_NS = 1_700_000_000 * 10**9


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


Tree = dict[str, bytes]


def write(folder: Path, tree: Tree) -> None:
    for name, content in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def contents(storage: Storage) -> Tree:
    return {entry.name: storage.read(entry.name)[0] for entry in storage.list() if entry.name != MANIFEST}


TREE: Tree = {"a": b"1", "b/c": b"22", "b/d.png": b"", "ä ö/x y": b"4444", "z/z/z/z": b"5" * 100_000}


@pytest.fixture
def source(tmp_path: Path) -> LocalStorage:
    write(tmp_path / "source", TREE)
    return LocalStorage(tmp_path / "source")


@pytest.fixture(params=["local", "s3"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return LocalStorage(tmp_path / "target")
    s3 = request.getfixturevalue("s3")
    return open_storage(S3Uri(s3.bucket(), "target"), s3.settings)


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
    bucket = s3.bucket()
    one, two = (open_storage(S3Uri(bucket, name), s3.settings) for name in ("one", "two"))
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
    remote = open_storage(S3Uri(s3.bucket(), "run"), s3.settings)
    write(tmp_path / "source", {"big": os.urandom(30 * 2**20), "small": b"1"})
    sync(LocalStorage(tmp_path / "source"), remote)
    sync(remote, LocalStorage(tmp_path / "back"))
    assert contents(LocalStorage(tmp_path / "back")) == contents(LocalStorage(tmp_path / "source"))


def test_an_object_that_arrives_damaged_is_refused_and_gets_no_name(s3: S3Server, tmp_path: Path):
    remote = open_storage(S3Uri(s3.bucket(), "run"), s3.settings)
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


# --- what is refused


class Lister(BaseHTTPRequestHandler):
    """A server whose bucket holds the keys that its `keys` says, as no decent server would."""

    keys: tuple[str, ...] = ()

    def do_GET(self) -> None:
        if "list-type" in self.path:
            items = "".join(f'<Contents><Key>{key}</Key><Size>1</Size><ETag>"1"</ETag></Contents>' for key in self.keys)
            body = f"<ListBucketResult>{items}</ListBucketResult>".encode()
        else:
            body = b"x"
        self.send_response(404 if MANIFEST in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Settings]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Lister) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield S3Settings(endpoint=f"http://127.0.0.1:{server.server_address[1]}", patience_seconds=1)
        server.shutdown()


@pytest.mark.parametrize(
    "key", ["run/../x", "run//x", "run/a/../../../x", "run/a/./b", "run/a\\b", "run/a/", "run/\u0085"]
)
def test_keys_that_leave_the_root_are_refused_before_anything_is_written(
    hostile: S3Settings, tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Lister, "keys", ("run/good", key))
    with pytest.raises(DataError, match="the name '") as refused:
        sync(open_storage(S3Uri("bucket", "run"), hostile), LocalStorage(tmp_path / "target"))
    assert refused.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keys", [("a", "a/b"), ("x/y/z", "x/y"), ("x", "x/y/z")])
def test_a_name_that_is_file_and_folder_is_refused_before_anything_is_written(
    hostile: S3Settings, tmp_path: Path, keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Lister, "keys", tuple(f"run/{key}" for key in ("0", *keys)))
    with pytest.raises(DataError, match="is a file in one place and a folder in the other"):
        sync(open_storage(S3Uri("bucket", "run"), hostile), LocalStorage(tmp_path / "target"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("one", "two"), [("a", "a/b"), ("a/b", "a")])
def test_a_file_where_the_target_has_a_folder_is_refused(tmp_path: Path, one: str, two: str):
    write(tmp_path / "source", {one: b"", "0": b""})
    write(tmp_path / "target", {two: b""})
    with pytest.raises(DataError, match="is a file in one place and a folder in the other"):
        sync(LocalStorage(tmp_path / "source"), LocalStorage(tmp_path / "target"))
    assert not (tmp_path / "target" / "0").exists()


def test_a_name_too_long_for_a_disk_is_refused_before_anything_is_written(
    hostile: S3Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Lister, "keys", ("run/a", "run/" + "b" * 240))
    with pytest.raises(DataError, match="a name of more than 220 bytes"):
        sync(open_storage(S3Uri("bucket", "run"), hostile), LocalStorage(tmp_path / "target"))
    assert list(tmp_path.iterdir()) == []


def test_links_that_leave_the_source_and_links_to_nothing_are_refused(source: LocalStorage, target: Storage):
    for link in ("../elsewhere", "nothing"):
        (source.place / "link").symlink_to(link)
        (source.place.parent / "elsewhere").mkdir(exist_ok=True)
        with pytest.raises(DataError, match="'link' is"):
            sync(source, target)
        (source.place / "link").unlink()
    assert target.list() == []


def test_half_written_files_are_left_out(source: LocalStorage, target: Storage):
    temporary_beside(source.place / "b" / "e.npz").write_bytes(b"half")
    sync(source, target)
    assert contents(target) == TREE


def test_an_empty_source_is_refused(target: Storage, tmp_path: Path):
    sync_from = LocalStorage(tmp_path / "mistyped")
    target.write("precious", b"", expect=None)
    with pytest.raises(UsageError, match="holds no file"):
        sync(sync_from, target, delete=True)
    assert contents(target) == {"precious": b""}


@pytest.mark.parametrize(("one", "two"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a", "link/b")])
def test_a_place_within_the_other_is_refused(tmp_path: Path, one: str, two: str):
    write(tmp_path, {"a/b/c": b""})
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(UsageError, match="the same place, or one lies in the other"):
        sync(LocalStorage(tmp_path / one), LocalStorage(tmp_path / two))
    remote = S3Settings(endpoint="http://127.0.0.1:1")
    if "link" not in two:
        with pytest.raises(UsageError, match="the same place, or one lies in the other"):
            sync(open_storage(S3Uri("bucket", one), remote), open_storage(S3Uri("bucket", two), remote))


def test_too_small_a_disk_is_refused_before_anything_is_written(tmp_path: Path):
    write(tmp_path / "source", {"a": b"1"})
    with (tmp_path / "source" / "sparse").open("wb") as file:
        file.truncate(8 * 10**12)
    with pytest.raises(UsageError, match=r"target: 8000.0 GB are to be copied there, [0-9.]+ GB are free; free some"):
        sync(LocalStorage(tmp_path / "source"), LocalStorage(tmp_path / "target"))
    assert not (tmp_path / "target").exists()


# --- any tree, any edit, any interruption

NAMES = st.lists(st.sampled_from(["a", "b", "c.png", "ä"]), min_size=1, max_size=3).map("/".join)
TREES = st.dictionaries(NAMES, st.binary(max_size=3), min_size=1, max_size=6).filter(
    lambda tree: not any(one.startswith(f"{two}/") for one in tree for two in tree)
)


def replace(folder: Path, tree: Tree) -> None:
    """Make the folder hold just this tree, touching only what differs."""
    storage = LocalStorage(folder)
    there = contents(storage)
    storage.delete(name for name in there if name not in tree)
    write(folder, {name: content for name, content in tree.items() if there.get(name) != content})


@settings(max_examples=60)
@given(trees=st.lists(TREES, min_size=1, max_size=4), foreign=TREES)
def test_after_any_edits_the_target_is_the_source(
    trees: list[Tree], foreign: Tree, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("any")
    source, target = LocalStorage(folder / "source"), LocalStorage(folder / "target")
    for tree in trees:
        replace(folder / "source", tree)
        for name, content in foreign.items():  # somebody else is at it, too
            if name in contents(target):
                target.write(name, content, expect=None)
        there = contents(target)
        clash = any(a.startswith(f"{b}/") or b.startswith(f"{a}/") for a in tree for b in there)
        if clash:
            target.delete(there)
        report = sync(source, target, delete=True)
        assert contents(target) == tree
        assert set(report.copied) >= {name for name in tree if contents(target)[name] != there.get(name)} - {
            name for name in tree if clash
        }
        assert sync(source, target, delete=True).copied == ()


class FullDisk(LocalStorage):
    """A folder on a disk that has room for so many files."""

    room = 0

    def upload(self, source: Path, name: str) -> str:
        if self.room <= 0:
            raise OSError(28, "No space left on device", name)
        type(self).room -= 1
        return super().upload(source, name)


@pytest.mark.parametrize("room", range(len(TREE)))
def test_what_was_complete_before_a_failure_is_not_copied_again(source: LocalStorage, tmp_path: Path, room: int):
    FullDisk.room = room
    with pytest.raises(OSError, match="No space left"):
        sync(source, FullDisk(tmp_path / "target"))
    there = contents(LocalStorage(tmp_path / "target"))
    assert len(there) == room
    assert sorted(sync(source, LocalStorage(tmp_path / "target")).copied) == sorted(TREE.keys() - there.keys())
    assert contents(LocalStorage(tmp_path / "target")) == TREE


KILLED = """
import sys
from pathlib import Path
from abet.places import parse_place
from abet.site import S3Settings
from abet.storage import open_storage
from abet.sync import sync
settings = S3Settings.model_validate_json(sys.argv[3])
sync(open_storage(parse_place(sys.argv[1]), settings), open_storage(parse_place(sys.argv[2]), settings))
"""


@pytest.mark.faults
@pytest.mark.parametrize("after_files", [1, 7, 20, 45])
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_killed_sync_goes_on_where_it_was(s3: S3Server, tmp_path: Path, after_files: int, way: str):
    tree = {f"{number:02d}": os.urandom(300_000) for number in range(60)}
    write(tmp_path / "source", tree)
    remote = open_storage(S3Uri(s3.bucket(), "run"), s3.settings)
    source, target = LocalStorage(tmp_path / "source"), remote
    if way == "down":
        sync(source, remote)
        source, target = remote, LocalStorage(tmp_path / "target")
    command = [sys.executable, "-c", KILLED, str(source.place), str(target.place), s3.settings.model_dump_json()]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(target.list()) < after_files:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was too fast to be killed: take more files"
    there = contents(target)
    assert all(tree[name] == content for name, content in there.items())
    report = sync(source, target)
    assert contents(target) == tree
    # a file may be complete whose line in the journal is missing: one for each thread
    assert len(report.copied) <= len(tree) - len(there) + 8
    assert sync(source, target).copied == ()


def test_two_at_once_lose_nothing(source: LocalStorage, target: Storage, tmp_path: Path):
    other = {f"other/{number}": b"%d" % number for number in range(20)}
    write(tmp_path / "other", other)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: sync(one, target), [source, LocalStorage(tmp_path / "other")]))
    assert contents(target) == TREE | other
    assert sync(source, target).copied == sync(LocalStorage(tmp_path / "other"), target).copied == ()


# --- the command


def test_the_command_lists_then_copies_then_has_nothing_to_do(source: LocalStorage, tmp_path: Path, cli: Cli):
    target = tmp_path / "target"
    dry = cli("sync", source.place, target, "--dry-run")
    assert dry.out == "".join(f"copy  {name}\n" for name in sorted(TREE))
    assert "5 files would be copied (0.1 MB), 0 kept, 0 would be deleted" in dry.err
    assert not target.exists()
    assert "5 files copied (0.1 MB), 0 kept, 0 deleted" in cli("sync", source.place, target).err
    (source.place / "a").unlink()
    assert cli("sync", source.place, target, "--delete", "--dry-run").out == "delete  a\n"
    assert "0 files copied (0.0 MB), 4 kept, 1 deleted" in cli("sync", source.place, target, "--delete").err
    assert contents(LocalStorage(target)) == contents(source)


def test_the_command_reaches_s3_as_the_site_file_says(source: LocalStorage, s3: S3Server, cli: Cli):
    Path("abet.site.yaml").write_text(f"s3: {{endpoint: '{s3.endpoint}'}}\n")
    uri = f"s3://{s3.bucket()}/data"
    assert cli("sync", source.place, uri).code == 0
    assert cli("sync", uri, "back").code == 0
    assert contents(LocalStorage(Path("back"))) == TREE
    assert cli("sync", source.place, "s3://wrong-bucket/data").code == 2


def test_the_command_refuses_what_is_no_place(cli: Cli):
    result = cli("sync", "gs://bucket/x", "y")
    assert result.code == 2
    assert "expected a path on this machine or s3://bucket/prefix" in result.err
