"""Data sets in S3 are copied to a node once, whoever asks at the same time and whatever was killed before."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from abet.errors import UsageError
from abet.places import S3Uri
from abet.site import S3Settings, SiteConfig
from abet.staging import stage, staged_root
from abet.storage import Entry, S3Storage, Storage, StorageRefused, open_storage
from abet.sync import SourceChanged
from abet.sync.manifest import MANIFEST
from tests.s3_server import S3Server

ROOT = Path(__file__).parents[1]
TREE = {f"images/{number:03d}.png": b"%d" % number * 1000 for number in range(20)} | {"list.txt": b"x"}


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def site(s3: S3Server, tmp_path: Path) -> SiteConfig:
    return SiteConfig(scratch=tmp_path / "scratch", s3=s3.settings)


@pytest.fixture
def storage(s3: S3Server) -> Storage:
    """A data set in S3."""
    storage = open_storage(s3.place("sets/anomaly"), s3.settings)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: storage.write(item[0], item[1], expect=None), TREE.items()))
    return storage


def place_of(storage: Storage) -> S3Uri:
    assert isinstance(storage.place, S3Uri)
    return storage.place


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".abet")
    }


def inodes(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_where_it_is(tmp_path: Path):
    assert stage(tmp_path / "anything", SiteConfig(scratch=tmp_path / "scratch"), what="x") == tmp_path / "anything"
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_is_copied_below_scratch_under_its_name(storage: Storage, site: SiteConfig):
    folder = stage(place_of(storage), site, what="anomaly")
    assert folder.parent.parent == site.scratch_folder / "data"
    assert folder.parent.name.startswith("anomaly-")
    assert files(folder) == TREE


def test_each_server_and_place_has_its_own_copy(site: SiteConfig):
    other = SiteConfig(scratch=site.scratch, s3=S3Settings(endpoint="http://other:1"))
    folders = {
        staged_root(place, of)
        for place in (S3Uri("a-b", "x"), S3Uri("a-b", "y/x"), S3Uri("x-x"))
        for of in (site, other)
    }
    assert len(folders) == 6


def test_a_second_start_asks_for_one_listing_alone(
    storage: Storage, site: SiteConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = stage(place_of(storage), site, what="anomaly")
    before = inodes(folder)
    asked = recorded_requests(monkeypatch)
    capsys.readouterr()
    assert stage(place_of(storage), site, what="anomaly") == folder
    assert asked == ["ListObjectsV2"]
    assert inodes(folder) == before
    assert capsys.readouterr().err == ""


def recorded_requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all S3 operations from now on."""
    from botocore.client import BaseClient

    asked: list[str] = []
    original = BaseClient._make_api_call

    def call(client: BaseClient, operation: str, arguments: dict[str, object]) -> object:
        asked.append(operation)
        return original(client, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return asked


def copies(storage: Storage, site: SiteConfig) -> list[Path]:
    """The folders that stand for states of the place, the newest last."""
    found = [path for path in staged_root(place_of(storage), site).iterdir() if path.is_dir()]
    return sorted(found, key=lambda path: path.stat().st_ctime_ns)


CHANGED = {name: content for name, content in TREE.items() if name != "images/000.png"} | {
    "list.txt": b"y",
    "images/new.png": b"new",
}


def change(storage: Storage) -> None:
    """From TREE to CHANGED."""
    storage.write("list.txt", b"y", expect=None)
    storage.write("images/new.png", b"new", expect=None)
    storage.delete(["images/000.png"])


def test_a_changed_bucket_gets_a_folder_of_its_own_and_nobody_changes_the_one_in_use(
    storage: Storage, site: SiteConfig, monkeypatch: pytest.MonkeyPatch
):
    folder = stage(place_of(storage), site, what="anomaly")
    before = inodes(folder)
    change(storage)
    asked = recorded_requests(monkeypatch)
    newer = stage(place_of(storage), site, what="anomaly")
    assert newer != folder
    assert files(newer) == CHANGED
    assert files(folder) == TREE
    assert inodes(folder) == before
    # what both have in common is on the disk once, and was not fetched again
    shared = TREE.keys() & CHANGED.keys() - {"list.txt"}
    assert {name for name in shared if (newer / name).samefile(folder / name)} == shared
    assert asked.count("GetObject") == 3  # the two files, and the manifest that the bucket does not have


def test_where_links_do_not_work_files_are_copied_on_the_disk(
    storage: Storage, site: SiteConfig, monkeypatch: pytest.MonkeyPatch
):
    folder = stage(place_of(storage), site, what="anomaly")
    change(storage)

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    asked = recorded_requests(monkeypatch)
    newer = stage(place_of(storage), site, what="anomaly")
    assert files(newer) == CHANGED
    assert not (newer / "images/001.png").samefile(folder / "images/001.png")
    assert asked.count("GetObject") == 3


def test_what_nobody_reads_any_more_is_removed_by_the_next_that_copies(storage: Storage, site: SiteConfig):
    with reader(storage, site) as old:
        change(storage)
        with reader(storage, site) as new:
            assert files(old) == TREE
            assert copies(storage, site) == [old, new]
        storage.write("list.txt", b"z", expect=None)
        newest = stage(place_of(storage), site, what="anomaly")
        assert copies(storage, site) == [old, newest]
        assert files(old) == TREE
    storage.write("list.txt", b"last", expect=None)
    last = stage(place_of(storage), site, what="anomaly")
    assert copies(storage, site) == [newest, last]  # this process reads that one
    names = {path.name.partition(".")[0] for path in staged_root(place_of(storage), site).iterdir()}
    assert names == {"", newest.name, last.name}


@contextmanager
def reader(storage: Storage, site: SiteConfig) -> Iterator[Path]:
    """Another process that reads the data set; the folder that it got."""
    process = staging_process(storage, site, then="sys.stdin.read()")
    assert process.stdout is not None
    yield Path(process.stdout.readline().removesuffix("\n"))
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("way", ["replaced", "removed"])
def test_a_bucket_that_changes_while_it_is_copied_is_looked_at_again(
    storage: Storage, site: SiteConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], way: str
):
    def change_list() -> None:
        if way == "replaced":
            storage.write("list.txt", b"y", expect=None)
        else:
            storage.delete(["list.txt"])

    at_each_listing(monkeypatch, change_list, times=1)
    folder = stage(place_of(storage), site, what="anomaly")
    wanted = TREE | {"list.txt": b"y"}
    if way == "removed":
        del wanted["list.txt"]
    assert files(folder) == wanted
    assert f"anomaly: {storage.place} changes while it is copied; looking again" in capsys.readouterr().err


def test_a_bucket_that_changes_all_the_time_may_be_tried_again_later(
    storage: Storage, site: SiteConfig, monkeypatch: pytest.MonkeyPatch
):
    numbers = iter(range(1000))
    at_each_listing(monkeypatch, lambda: storage.write("list.txt", b"%d" % next(numbers), expect=None), times=1000)
    with pytest.raises(SourceChanged, match=r"'list.txt' changed while it was copied; run the same command") as changed:
        stage(place_of(storage), site, what="anomaly")
    assert changed.value.exit_code == 1


def at_each_listing(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object], *, times: int) -> None:
    """Let somebody else write right after each of the first listings of a bucket."""
    original = S3Storage.list
    left = iter(range(times))

    def listed(storage: S3Storage, prefix: str = "") -> list[Entry]:
        found = original(storage, prefix)
        if next(left, None) is not None:
            then()
        return found

    monkeypatch.setattr(S3Storage, "list", listed)


@pytest.mark.parametrize("lost", ["images/003.png", MANIFEST])
def test_what_a_sweeper_of_scratch_disks_removed_is_fetched_again(storage: Storage, site: SiteConfig, lost: str):
    folder = stage(place_of(storage), site, what="anomaly")
    (folder / lost).unlink()
    stage(place_of(storage), site, what="anomaly")
    assert files(folder) == TREE


def test_nothing_there_is_said(s3: S3Server, site: SiteConfig):
    with pytest.raises(UsageError, match=r"anomaly: s3://.*/nothing holds no file; correct `data:` in the site file"):
        stage(s3.place("nothing"), site, what="anomaly")
    with pytest.raises(StorageRefused, match="there is no bucket 'wrong-bucket'"):
        stage(S3Uri("wrong-bucket", "x"), site, what="anomaly")


def test_too_small_a_disk_is_said_before_copying(storage: Storage, site: SiteConfig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(
        UsageError, match=r"are to be copied there, 0.0 GB are free; .* set `scratch:` in the site file"
    ):
        stage(place_of(storage), site, what="anomaly")
    assert copies(storage, site) == []


STAGE = """
import sys
from pathlib import Path
from abet.places import parse_place
from abet.site import S3Settings, SiteConfig
from abet.staging import stage
site = SiteConfig(scratch=Path(sys.argv[2]), s3=S3Settings.model_validate_json(sys.argv[3]))
print(stage(parse_place(sys.argv[1]), site, what="anomaly"), flush=True)
"""


def staging_process(storage: Storage, site: SiteConfig, *, then: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STAGE + then, str(storage.place), str(site.scratch), site.s3.model_dump_json()],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.faults
def test_of_two_processes_one_copies_and_the_other_waits(storage: Storage, site: SiteConfig, tmp_path: Path):
    (tmp_path / "big").write_bytes(os.urandom(40 * 2**20))
    storage.upload(tmp_path / "big", "big")
    said = [process.communicate(timeout=60) for process in [staging_process(storage, site) for _ in range(2)]]
    (folder,) = copies(storage, site)
    assert [out for out, _ in said] == [f"{folder}\n"] * 2
    assert sum("copying s3://" in err for _, err in said) == 1
    assert files(folder) == TREE | {"big": (tmp_path / "big").read_bytes()}


@pytest.mark.faults
@pytest.mark.parametrize("after_files", [0, 1, 10, 30])
def test_a_killed_copy_is_continued(storage: Storage, site: SiteConfig, after_files: int):
    more = {f"more/{number}": os.urandom(1_000_000) for number in range(30)}
    for name, content in more.items():
        storage.write(name, content, expect=None)
    root = staged_root(place_of(storage), site)
    process = staging_process(storage, site)
    while process.poll() is None and len(list(root.rglob("[!.]*.png")) + list(root.rglob("more/[!.]*"))) <= after_files:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was too fast to be killed: take more files"
    before = inodes(copies(storage, site)[0])
    folder = stage(place_of(storage), site, what="anomaly")
    assert files(folder) == TREE | more
    after = inodes(folder)
    assert not [path for path in after if ".partial" in path]
    # complete, but perhaps not in the journal: one file for each thread
    again = [path for path, inode in before.items() if ".partial" not in path and after[path] != inode]
    assert len(again) <= 8
