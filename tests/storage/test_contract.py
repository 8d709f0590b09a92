"""What both storages promise, on a real folder and a real S3 server."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from abet.errors import DataError
from abet.places import S3Uri
from abet.storage import ABSENT, Conflict, Entry, NotFound, Storage, open_storage, require_writable

ROOT = Path(__file__).parents[2]
PART = 8 * 2**20


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage of each kind; its place holds a space and a letter beyond ASCII."""
    if request.param == "local":
        return open_storage(tmp_path / "a place ü")
    s3 = request.getfixturevalue("s3")
    return open_storage(s3.place("a place ü/run"), s3.settings)


def names(storage: Storage, prefix: str = "") -> list[str]:
    return [entry.name for entry in storage.list(prefix)]


def test_an_empty_storage_lists_nothing(storage: Storage):
    assert storage.list() == storage.list("checkpoints/") == []


def test_what_is_written_is_read_and_listed_with_one_version(storage: Storage):
    version = storage.write("runs/ä b/owner.json", b"{}", expect=None)
    assert storage.read("runs/ä b/owner.json") == (b"{}", version)
    assert storage.list() == [Entry("runs/ä b/owner.json", 2, version)]


def test_an_empty_object_is_an_object(storage: Storage):
    version = storage.write("empty", b"", expect=ABSENT)
    assert storage.read("empty") == (b"", version)
    assert names(storage) == ["empty"]


def test_absent_is_a_condition(storage: Storage):
    version = storage.write("a", b"1", expect=ABSENT)
    with pytest.raises(Conflict, match="somebody else wrote it"):
        storage.write("a", b"2", expect=ABSENT)
    assert storage.read("a") == (b"1", version)


def test_a_version_is_a_condition(storage: Storage):
    first = storage.write("a", b"1", expect=None)
    second = storage.write("a", b"2", expect=first)
    assert first != second
    with pytest.raises(Conflict):
        storage.write("a", b"3", expect=first)
    assert storage.read("a") == (b"2", second)


def test_the_version_of_what_is_gone_is_a_conflict(storage: Storage):
    version = storage.write("a", b"1", expect=None)
    storage.delete(["a"])
    with pytest.raises(Conflict, match="it is gone"):
        storage.write("a", b"2", expect=version)
    assert storage.list() == []


def test_the_same_bytes_written_by_two_are_a_conflict_too(storage: Storage):
    storage.write("a", b"1", expect=ABSENT)
    with pytest.raises(Conflict):
        storage.write("a", b"1", expect=ABSENT)


@pytest.mark.parametrize("expected", ["absent", "version"])
def test_of_16_threads_one_wins(storage: Storage, expected: str):
    expect = ABSENT if expected == "absent" else storage.write("a", b"before", expect=ABSENT)
    barrier = threading.Barrier(16)

    def race(number: int) -> bool:
        barrier.wait()
        try:
            storage.write("a", b"%d" % number, expect=expect)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(race, range(16)))
    assert won.count(True) == 1
    assert storage.read("a")[0] == b"%d" % won.index(True)


COUNTER = """
import sys
from pathlib import Path
from abet.places import parse_place
from abet.site import S3Settings
from abet.storage import Conflict, open_storage
storage = open_storage(parse_place(sys.argv[1]), S3Settings.model_validate_json(sys.argv[2]))
for _ in range(int(sys.argv[3])):
    while True:
        content, version = storage.read("count")
        try:
            storage.write("count", b"%d" % (int(content) + 1), expect=version)
            break
        except Conflict:
            pass
"""


@pytest.mark.faults
def test_processes_that_count_together_lose_no_count(storage: Storage, request: pytest.FixtureRequest):
    storage.write("count", b"0", expect=ABSENT)
    remote = isinstance(storage.place, S3Uri)
    settings = request.getfixturevalue("s3").settings.model_dump_json() if remote else "{}"
    processes = [
        subprocess.Popen([sys.executable, "-c", COUNTER, str(storage.place), settings, "10"], cwd=ROOT)
        for _ in range(4)
    ]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert storage.read("count")[0] == b"40"


@pytest.mark.faults
def test_listing_is_sorted_relative_and_complete_beyond_a_page(storage: Storage):
    wanted = ["a", *(f"many/{number:04d}" for number in range(1100)), "z/a/b"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: storage.write(name, b"", expect=None), wanted))
    assert names(storage) == wanted


def test_a_prefix_is_a_plain_string(storage: Storage):
    for name in ("a/b", "a/c/d", "ab", "b"):
        storage.write(name, b"", expect=None)
    assert names(storage, "a") == ["a/b", "a/c/d", "ab"]
    assert names(storage, "a/") == ["a/b", "a/c/d"]
    assert names(storage, "a/c/") == ["a/c/d"]
    assert names(storage, "nothing/") == []


def test_names_sort_as_text_whatever_is_a_folder(storage: Storage):
    # "-" and "." sort before "/", which a walk from folder to folder gets wrong
    for name in ("a/b", "a-b", "a.b", "a0"):
        storage.write(name, b"", expect=None)
    assert names(storage) == ["a-b", "a.b", "a/b", "a0"]


HOSTILE = ["", "/", "/a", "../a", "a/../b", "a/..", "..", ".", "a/./b", "a//b", "a/", "a\\b", "a\nb", "a\0b", "a\x7fb"]


@pytest.mark.parametrize("name", [*HOSTILE, "\udcff", "ä" * 600])
def test_names_that_leave_the_place_or_break_terminals_are_refused(storage: Storage, name: str, tmp_path: Path):
    file = tmp_path / "file"
    file.write_bytes(b"")
    for use in (
        lambda: storage.read(name),
        lambda: storage.write(name, b"", expect=None),
        lambda: storage.upload(file, name),
        lambda: storage.download(name, tmp_path / "target"),
        lambda: storage.delete([name]),
    ):
        with pytest.raises(DataError, match="the name '"):
            use()
    assert storage.list() == []
    assert sorted(path.name for path in tmp_path.iterdir() if path != storage.place) == ["file"]


@pytest.mark.parametrize("prefix", ["/", "../", "a/../", "a//", "..", "a/../b"])
def test_a_prefix_that_leaves_the_place_is_refused(storage: Storage, prefix: str):
    with pytest.raises(DataError, match="the name '"):
        storage.list(prefix)


@pytest.mark.parametrize("size", [0, 1, 100_000, PART, PART + 1, 3 * PART + 12345])
def test_files_of_any_size_come_back_identical(storage: Storage, size: int, tmp_path: Path):
    source, target = tmp_path / "source.bin", tmp_path / "new folder" / "target.bin"
    source.write_bytes(os.urandom(size))
    version = storage.upload(source, "deep/down/file.bin")
    assert storage.list() == [Entry("deep/down/file.bin", size, version)]
    assert storage.download("deep/down/file.bin", target) == version
    assert target.read_bytes() == source.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["target.bin"]


def test_an_upload_replaces_what_was_there_and_gives_it_another_version(storage: Storage, tmp_path: Path):
    (tmp_path / "new").write_bytes(b"newer")
    storage.write("a", b"old", expect=None)
    before = storage.list()[0].version
    storage.upload(tmp_path / "new", "a")
    assert storage.read("a")[0] == b"newer"
    assert storage.list()[0].version not in {before, ABSENT}


def test_a_version_from_a_listing_is_a_condition_too(storage: Storage, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"1")
    storage.upload(tmp_path / "file", "a")
    storage.write("a", b"2", expect=storage.list()[0].version)
    assert storage.read("a")[0] == b"2"


def test_what_is_absent_is_not_found_and_leaves_no_file(storage: Storage, tmp_path: Path):
    storage.write("folder/there", b"", expect=None)
    for name in ("nothing", "folder", "folder/there/below"):
        with pytest.raises(NotFound, match=name) as raised:
            storage.read(name)
        assert raised.value.exit_code == 3
        with pytest.raises(NotFound, match=name):
            storage.download(name, tmp_path / "targets" / "target")
    assert list((tmp_path / "targets").iterdir()) == [] if (tmp_path / "targets").exists() else True


def test_an_absent_object_leaves_the_file_that_was_there(storage: Storage, tmp_path: Path):
    (tmp_path / "target").write_bytes(b"before")
    with pytest.raises(NotFound):
        storage.download("nothing", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"before"


def test_deleting_twice_is_no_error(storage: Storage):
    for name in ("a/b/c", "a/d", "e"):
        storage.write(name, b"", expect=None)
    storage.delete(["a/b/c", "never/there", "e"])
    storage.delete(["a/b/c"])
    assert names(storage) == ["a/d"]


def test_a_writable_storage_is_left_as_it_was(storage: Storage):
    storage.write("a", b"", expect=None)
    require_writable(storage)
    assert names(storage) == ["a"]
