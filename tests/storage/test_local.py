"""What a folder has that S3 has not: links, half-written files, folders, permissions, and clocks that stand still."""

import errno
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from abet.errors import DataError
from abet.files import temporary_beside
from abet.storage import ABSENT, Conflict, LocalStorage, StorageRefused, local, require_writable


def names(folder: Path) -> list[str]:
    return [entry.name for entry in LocalStorage(folder).list()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one file ``inside/file``, and ``elsewhere/file`` beside it."""
    for folder in ("root/inside", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_bytes(b"1")
    return tmp_path / "root"


def test_a_link_within_the_folder_is_what_it_points_to(root: Path):
    (root / "link").symlink_to("inside/file")
    (root / "folder").symlink_to("inside")
    assert names(root) == ["folder/file", "inside/file", "link"]
    assert LocalStorage(root).read("folder/file")[0] == b"1"


def test_the_folder_itself_may_be_a_link(root: Path):
    (root.parent / "link").symlink_to(root)
    assert names(root.parent / "link") == ["inside/file"]
    LocalStorage(root.parent / "link").write("new/a", b"", expect=ABSENT)
    assert names(root) == ["inside/file", "new/a"]


@pytest.mark.parametrize("target", ["../elsewhere/file", "../elsewhere", "/", "..", "../beside"])
def test_a_link_that_leaves_the_folder_is_refused(root: Path, target: str):
    (root.parent / "beside").mkdir()
    (root / "link").symlink_to(target)
    with pytest.raises(DataError, match="'link' is or lies behind a link that leaves the folder"):
        names(root)


def test_nothing_is_written_read_or_deleted_through_a_link_that_leaves_the_folder(root: Path, tmp_path: Path):
    (root / "out").symlink_to("../elsewhere")
    (root / "link").symlink_to("../elsewhere/file")
    storage = LocalStorage(root)
    for use in (
        lambda: storage.write("out/file", b"2", expect=None),
        lambda: storage.upload(root / "inside/file", "out/new"),
        lambda: storage.download("out/file", tmp_path / "target"),
        lambda: storage.read("out/file"),
        lambda: storage.read("link"),
        lambda: storage.delete(["out/file"]),
        lambda: storage.list("out/"),
    ):
        with pytest.raises(DataError, match="leaves the folder"):
            use()
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "elsewhere").iterdir()] == [("file", b"1")]


@pytest.mark.parametrize(
    ("target", "reason"), [("nothing", "a link to nothing"), (".", "around it"), ("../inside", "around it")]
)
def test_links_to_nothing_and_in_circles_are_named(root: Path, target: str, reason: str):
    (root / "inside/link").symlink_to(target)
    with pytest.raises(DataError, match=f"'inside/link' is a link to .*{reason.removeprefix('a link to ')}"):
        names(root)


def test_half_written_files_and_locks_are_not_listed(root: Path):
    temporary_beside(root / "inside/other.npz").write_bytes(b"half")
    LocalStorage(root).write("inside/a", b"", expect=ABSENT)
    assert names(root) == ["inside/a", "inside/file"]
    assert len(list((root / "inside").iterdir())) == 4


def test_hidden_files_are_listed(root: Path):
    (root / ".hidden").write_bytes(b"")
    assert names(root) == [".hidden", "inside/file"]


def test_a_name_that_is_no_unicode_is_named(root: Path):
    (root / os.fsdecode(b"\xff.png")).write_bytes(b"")
    with pytest.raises(DataError, match=r"the name '\\udcff.png' is not valid Unicode; rename"):
        names(root)


def test_folders_that_become_empty_vanish_with_their_lock(root: Path):
    storage = LocalStorage(root)
    storage.write("a/b/c", b"", expect=ABSENT)
    storage.write("a/d", b"", expect=ABSENT)
    storage.delete(["a/b/c"])
    assert not (root / "a/b").exists()
    storage.delete(["a/d", "inside/file"])
    assert list(root.iterdir()) == []


def test_the_root_stays_when_it_becomes_empty(tmp_path: Path):
    storage = LocalStorage(tmp_path)
    storage.write("a", b"", expect=ABSENT)
    storage.delete(["a"])
    assert tmp_path.is_dir()


def test_two_contents_of_one_moment_have_two_versions(root: Path):
    storage = LocalStorage(root)
    version = storage.write("a", b"1", expect=ABSENT)
    future = 4_000_000_000 * 10**9  # the clock was set back since
    os.utime(root / "a", ns=(future, future))
    seen = {version, storage.read("a")[1]}
    for number in range(50):
        seen.add(storage.write("a", b"%d" % (number % 10), expect=storage.read("a")[1]))
    assert len(seen) == 52


def test_a_file_where_a_folder_is_needed_is_not_writable(root: Path):
    with pytest.raises(StorageRefused, match=r"cannot be written .*; get permission for it or choose another place"):
        require_writable(LocalStorage(root / "inside" / "file"))


def test_a_folder_is_no_object_to_delete(root: Path):
    LocalStorage(root).delete(["inside"])
    assert names(root) == ["inside/file"]


def test_a_first_write_has_one_winner_where_locks_do_not_reach(root: Path, monkeypatch: pytest.MonkeyPatch):
    """As on a network file system between machines; each looks, then all write."""

    @contextmanager
    def unlocked(folder: Path) -> Iterator[None]:
        folder.mkdir(parents=True, exist_ok=True)
        yield
        everyone.wait()  # whoever has written holds its result until all have

    everyone = threading.Barrier(8)
    monkeypatch.setattr(local, "locked", unlocked)
    looked, stat = threading.Barrier(8), local._stat
    seen = threading.local()

    def stat_with_all(path: Path) -> os.stat_result | None:
        found = stat(path)
        if not getattr(seen, "once", False):
            seen.once = True
            looked.wait()
        return found

    monkeypatch.setattr(local, "_stat", stat_with_all)

    def claim(number: int) -> bool:
        try:
            LocalStorage(root).write("owner", b"%d" % number, expect=ABSENT)
        except Conflict:
            everyone.wait()
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(claim, range(8)))
    assert sum(won) == 1
    assert (root / "owner").read_bytes() == b"%d" % won.index(True)
    assert sorted(path.name for path in root.iterdir()) == ["inside", "owner"]


def test_a_first_write_works_without_hard_links(root: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    version = LocalStorage(root).write("owner", b"1", expect=ABSENT)
    assert LocalStorage(root).read("owner") == (b"1", version)
    with pytest.raises(Conflict):
        LocalStorage(root).write("owner", b"2", expect=ABSENT)
