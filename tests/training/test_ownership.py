"""The trainer that started last owns the run directory."""

import json
import multiprocessing
import os
import socket
import threading
from pathlib import Path

import pytest

from abet.errors import CheckpointError
from abet.storage import ABSENT, StorageRefused, open_storage
from abet.training.copying import Copier
from abet.training.ownership import LOCK, LostOwnership, Owner, Ownership, RemoteOwnership
from tests.s3_server import S3Server
from tests.storage.conftest import scripted
from tests.storage.scripted import Scripted, storage_at

__all__ = ["scripted"]  # a fixture
UNMET = (412, "PreconditionFailed")


def test_each_start_raises_the_generation_and_the_newest_wins(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = Ownership.take(run)
    first.check()
    second = Ownership.take(run)
    second.check()
    assert (first.owner.generation, second.owner.generation) == (1, 2)
    with pytest.raises(LostOwnership) as caught:
        first.check()
    assert caught.value.exit_code == 3
    for part in (socket.gethostname(), str(os.getpid()), second.owner.started, "generation 2"):
        assert part in str(caught.value)


def test_the_owner_stands_in_a_file_of_the_run(tmp_path: Path) -> None:
    ownership = Ownership.take(tmp_path)
    assert json.loads((tmp_path / "owner.json").read_text()) == ownership.owner.model_dump(mode="json")
    assert list(ownership.owner.model_dump()) == ["generation", "host", "pid", "started", "uncopied"]


def test_a_loser_enters_no_exclusive_block(tmp_path: Path) -> None:
    first, second = Ownership.take(tmp_path), Ownership.take(tmp_path)
    with pytest.raises(LostOwnership), first.exclusive():
        raise AssertionError("entered")
    with second.exclusive():
        pass


def test_a_damaged_owner_file_lets_the_next_start_in_and_keeps_older_trainers_out(tmp_path: Path) -> None:
    for _ in range(3):
        old = Ownership.take(tmp_path)
    (tmp_path / "owner.json").write_text('{"generation": 0}')
    old.check()  # nobody else has come
    new = Ownership.take(tmp_path)
    new.check()
    assert new.owner.generation < old.owner.generation
    with pytest.raises(LostOwnership):
        old.check()


def hold(run: Path, held: "multiprocessing.synchronize.Event") -> None:
    with Ownership.take(run).exclusive():
        held.set()
        threading.Event().wait()


def test_the_lock_of_a_killed_process_blocks_nobody(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=hold, args=(tmp_path, held))
    process.start()
    assert held.wait(20)
    process.kill()
    process.join()
    assert (tmp_path / LOCK).exists()
    assert Ownership.take(tmp_path).owner.generation == 2


def test_a_start_waits_for_the_commit_of_another_trainer(tmp_path: Path) -> None:
    order = []
    first = Ownership.take(tmp_path)

    def start() -> None:
        Ownership.take(tmp_path)
        order.append("started")

    with first.exclusive():
        thread = threading.Thread(target=start)
        thread.start()
        thread.join(0.2)
        order.append("committed")
    thread.join()
    assert order == ["committed", "started"]


def test_the_generations_of_many_starts_at_once_differ(tmp_path: Path) -> None:
    taken: list[Ownership] = []
    threads = [threading.Thread(target=lambda: taken.append(Ownership.take(tmp_path))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ownership.owner.generation for ownership in taken) == list(range(1, 13))
    winners = [ownership for ownership in taken if ownership.owner.generation == 12]
    for ownership in taken:
        if ownership in winners:
            ownership.check()
        else:
            with pytest.raises(CheckpointError):
                ownership.check()


# --- generations that an old copy of the file does not know of


def test_a_generation_is_never_given_twice_though_the_file_is_an_old_copy(tmp_path: Path) -> None:
    Ownership.take(tmp_path)
    (tmp_path / "checkpoints" / "step-00000010-g0005").mkdir(parents=True)
    assert Ownership.take(tmp_path).owner.generation == 6


def test_the_same_holds_of_a_run_in_s3(s3: S3Server) -> None:
    storage = open_storage(s3.place("run"), s3.settings)
    RemoteOwnership.take(storage)
    storage.write("checkpoints/step-00000010-g0005/manifest.json", b"", expect=ABSENT)
    owner = RemoteOwnership.take(storage).owner
    assert (owner.generation, owner.uncopied) == (6, ())


def test_the_owner_names_the_trainers_since_which_the_run_in_s3_has_gained_nothing(s3: S3Server) -> None:
    storage = open_storage(s3.place("run"), s3.settings)
    first, second = (RemoteOwnership.take(storage).owner for _ in range(2))
    assert (first.uncopied, second.uncopied) == ((), (first.name,))
    storage.write("checkpoints/step-00000010-g0002/model.safetensors", b"", expect=ABSENT)
    third = RemoteOwnership.take(storage).owner
    assert third.uncopied == (first.name, second.name)
    storage.write("checkpoints/step-00000010-g0002/manifest.json", b"", expect=ABSENT)
    assert RemoteOwnership.take(storage).owner.uncopied == (second.name, third.name)


@pytest.mark.faults
def test_a_server_that_refuses_every_condition_is_said_to_do_so(scripted: Scripted, tmp_path: Path) -> None:
    storage, scripted.puts = storage_at(scripted), [UNMET] * 100
    with pytest.raises(StorageRefused, match=r"owner\.json.*does not honour.*`abet doctor`"):
        RemoteOwnership.take(storage)
    (tmp_path / "config.yaml").write_text("a: 1")
    copier = Copier(
        ownership=RemoteOwnership(storage, Owner.after(0)), run=tmp_path, keep_last=1, versions={}, there={}
    )
    with pytest.raises(StorageRefused, match=r"config\.yaml.*does not honour.*`abet doctor`"):
        copier.describe()
