"""A start that another one overtakes before its first step: its folder stays, and it says that it lost the run."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from abet.config import load_recipe
from abet.distributed import Topology
from abet.site import SiteConfig
from abet.storage import open_storage
from abet.training import remote_run
from abet.training.job import TrainJob, plan_job
from abet.training.ownership import LostOwnership, RemoteOwnership
from abet.training.remote_run import opened_run
from abet.training.work_folder import remove_older
from tests.training.remote import Remote


@pytest.fixture
def job(remote: Remote) -> TrainJob:
    return plan_job(
        name="tiny",
        recipe=load_recipe(str(remote.tiny.recipe)),
        data_root=remote.tiny.data,
        root=remote.tiny.data,
        output=remote.uri("run"),
        topology=Topology(device=torch.device("cpu")),
        site=SiteConfig(scratch=remote.scratch, s3=remote.server.settings),
    )


def first(event: Callable[[], None], function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with something that happens right before it."""

    def call(*arguments: Any) -> Any:
        event()
        return function(*arguments)

    return call


def test_a_later_start_on_the_same_node_removes_no_folder_that_is_being_filled(
    remote: Remote, job: TrainJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def later_start_clears_away() -> None:
        later = RemoteOwnership.take(open_storage(remote.uri("run"), remote.server.settings))
        (folder,) = remote.work_folders("run")
        remove_older(folder.parent, later.owner, 100)
        assert folder.is_dir()

    monkeypatch.setattr(remote_run, "leftovers", first(later_start_clears_away, remote_run.leftovers))
    with opened_run(job) as opened:
        assert opened.copier is not None
        with pytest.raises(LostOwnership):
            opened.copier.ownership.check()


def test_a_start_whose_folder_vanishes_says_that_it_lost_the_run(
    remote: Remote, job: TrainJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def later_start_clears_away() -> None:
        RemoteOwnership.take(open_storage(remote.uri("run"), remote.server.settings))
        raise FileNotFoundError

    monkeypatch.setattr(remote_run, "alive", first(later_start_clears_away, remote_run.alive))
    with pytest.raises(LostOwnership, match="a later trainer took over"), opened_run(job):
        pass


def test_an_error_of_the_disk_stays_one_while_nobody_has_come(remote: Remote, job: TrainJob) -> None:
    remote.scratch.write_text("no folder")
    with pytest.raises(NotADirectoryError), opened_run(job):
        pass
