"""Any tree, any edit, and wherever it was interrupted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abet.storage import Entry, LocalStorage, Storage, open_storage
from abet.sync import SourceChanged, sync
from abet.sync.manifest import MANIFEST
from abet.sync.plan import listing
from tests.s3_server import S3Server
from tests.sync.trees import TREE, Tree, contents, write

ROOT = Path(__file__).parents[2]

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


@pytest.mark.faults
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
    remote = open_storage(s3.place("run"), s3.settings)
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


class Restless(LocalStorage):
    """A folder that somebody writes to as soon as it has been listed."""

    then: Callable[[], object]

    def list(self, prefix: str = "") -> list[Entry]:
        found = super().list(prefix)
        self.then()
        return found


@pytest.mark.parametrize("way", ["replaced", "removed"])
def test_a_file_that_changes_on_the_way_out_of_a_folder_is_worth_another_try(
    source: LocalStorage, target: Storage, way: str
):
    restless, path = Restless(source.place), source.place / "b/c"
    restless.then = path.unlink if way == "removed" else lambda: path.write_bytes(b"newer")
    with pytest.raises(SourceChanged, match="'b/c' changed while it was copied") as changed:
        sync(restless, target)
    assert changed.value.exit_code == 1
    assert MANIFEST not in {entry.name for entry in target.list()}
    sync(source, target)
    assert contents(target) == contents(source)


@pytest.mark.parametrize("way", ["replaced", "removed"])
def test_a_file_that_changes_on_the_way_out_of_s3_is_worth_another_try(
    source: LocalStorage, s3: S3Server, tmp_path: Path, way: str
):
    remote, target = open_storage(s3.place("run"), s3.settings), LocalStorage(tmp_path / "target")
    sync(source, remote)
    listed = listing(remote)
    if way == "removed":
        remote.delete(["b/c"])
    else:
        remote.write("b/c", b"newer", expect=None)
    with pytest.raises(SourceChanged, match="'b/c' changed while it was copied") as changed:
        sync(remote, target, entries=listed)
    assert changed.value.exit_code == 1
    assert not (target.place / "b/c").exists()
    sync(remote, target)
    assert contents(target) == contents(remote)
