"""A run in S3 is the run that it would be on a disk, and nothing of it is left on the node."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from abet.places import S3Uri
from abet.remote import read_remote_manifest, remote_steps
from abet.storage import open_storage
from tests.conftest import Cli
from tests.training.conftest import final_state, refused
from tests.training.remote import Remote


@pytest.mark.faults
def test_a_run_in_s3_ends_in_the_bits_of_a_local_one(remote: Remote, finished: Path, tmp_path: Path) -> None:
    env = {"ABET_PROGRESS_FILE": str(tmp_path / "progress.json"), "ABET_JOB_ID": "4711"}
    result = remote.train("run", env=env)
    assert result["codes"] == [0], result["log"]
    assert remote.final_state("run") == final_state(finished)
    remote.require_sound("run")
    names = {entry.name for entry in remote.storage("run").list()}
    local = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    kept = {
        f"checkpoints/{path.name}-g0001/{file.name}"
        for path in finished.glob("checkpoints/step-*")
        for file in path.iterdir()
    }
    assert kept <= names
    for name in ("owner.json", "config.yaml", "run.json", "metrics.jsonl", "pictures/step-00000006.png"):
        assert name in names & local
    assert any(name.startswith("tensorboard/events.") for name in names)
    (start,) = json.loads(remote.storage("run").read("run.json")[0])["starts"]
    assert (start["job"], start["generation"]) == ("4711", 1)
    config = yaml.safe_load(remote.storage("run").read("config.yaml")[0])
    assert config["data_root"] == remote.tiny.data.resolve().as_posix()
    assert remote.work_folders("run") == []
    assert json.loads((tmp_path / "progress.json").read_text()) == {"step": 6}


def test_steps_of_the_same_run_are_kept_in_s3_as_on_a_disk(remote: Remote, finished: Path) -> None:
    remote.train("run")
    kept = {step.step for step in remote_steps(remote.storage("run"))}
    assert kept == {int(path.name[5:]) for path in (finished / "checkpoints").glob("step-*")}


@pytest.mark.faults
@pytest.mark.parametrize("same_node", [True, False])
def test_a_signal_saves_uploads_and_the_run_goes_on_to_the_same_end(
    remote: Remote, finished: Path, same_node: bool, tmp_path: Path
) -> None:
    stopped = remote.train("run", mishap=("SIGTERM", 5), env={"ABET_PROGRESS_FILE": str(tmp_path / "progress.json")})
    assert stopped["codes"] == [143], stopped["log"]
    assert f"stopped by SIGTERM after step 5, which is saved in {remote.uri('run')}" in stopped["log"]
    remote.require_sound("run")
    assert remote.final_state("run")["step"] == "step-00000005"
    assert json.loads((tmp_path / "progress.json").read_text()) == {"step": 5}
    if not same_node:
        shutil.rmtree(remote.scratch)
    resumed = remote.train("run")
    assert resumed["codes"] == [0], resumed["log"]
    assert f"resumed {remote.uri('run')} after step 5" in resumed["log"]
    assert ("download" in resumed["events"]) is not same_node, "on the same node nothing is fetched again"
    assert remote.final_state("run") == final_state(finished)
    remote.require_sound("run")
    assert remote_steps(remote.storage("run"))[0].generation == 2


@pytest.mark.faults
def test_a_finished_run_has_nothing_more_to_do(remote: Remote) -> None:
    remote.train("run")
    before = remote.final_state("run")
    again = remote.train("run")
    assert again["codes"] == [0], again["log"]
    assert "step" not in again["events"]
    assert remote.final_state("run") == before


@pytest.mark.faults
def test_a_copy_of_a_run_in_s3_is_a_run_directory(remote: Remote, finished: Path, tmp_path: Path) -> None:
    remote.train("run", mishap=("SIGTERM", 5))
    storage, copy = remote.storage("run"), tmp_path / "copy"
    for entry in storage.list():
        storage.download(entry.name, copy / entry.name)
    tiny = remote.tiny
    arguments = (tiny.recipe, "--data-root", tiny.data, "--threads", 1)
    resumed = remote.zygote.train(*arguments, "--output", copy)
    assert resumed["codes"] == [0], resumed["log"]
    assert "after step 5" in resumed["log"]
    local = final_state(copy)
    assert {**local, "step": local["step"][:13]} == final_state(finished)
    started = remote.zygote.train(*arguments, "--output", tmp_path / "next", "--snapshot", copy)
    assert started["codes"] == [0], started["log"]


@pytest.mark.faults
def test_start_weights_come_from_a_run_in_s3(remote: Remote) -> None:
    remote.train("run", "--set", "training.steps=3")
    result = remote.train("next", "--snapshot", remote.uri("run"), "--set", "training.steps=1")
    assert result["codes"] == [0], result["log"]
    assert "start weights: " in result["log"]
    config = yaml.safe_load(remote.storage("next").read("config.yaml")[0])
    assert config["snapshot"] == str(remote.uri("run"))
    (start,) = json.loads(remote.storage("next").read("run.json")[0])["starts"]
    (step,) = (step for step in remote_steps(remote.storage("run")) if step.step == 3)
    weights = read_remote_manifest(remote.storage("run"), step.folder)[1].sha256
    chosen = {"uri": str(remote.uri("run") / step.folder), "sha256": weights}
    assert config["snapshot_weights"] == start["snapshot_weights"] == chosen
    remote.train("next", "--snapshot", remote.uri("run"), "--set", "training.steps=1")  # a resume reads none
    assert yaml.safe_load(remote.storage("next").read("config.yaml")[0])["snapshot_weights"] == chosen


@pytest.mark.faults
def test_data_and_run_may_both_be_in_s3(remote: Remote, finished: Path) -> None:
    data = remote.place / "data/cityscapes"
    storage = open_storage(data, remote.server.settings)
    for path in sorted(path for path in remote.tiny.data.rglob("*") if path.is_file()):
        storage.upload(path, path.relative_to(remote.tiny.data).as_posix())
    result = remote.train("run", "--data-root", data)
    assert result["codes"] == [0], result["log"]
    assert remote.final_state("run") == final_state(finished)
    assert yaml.safe_load(remote.storage("run").read("config.yaml")[0])["data_root"] == str(data)


def test_without_output_the_run_is_kept_among_the_artifacts(remote: Remote) -> None:
    values = yaml.safe_load(remote.site_file().read_text())
    site = remote.folder / "other.yaml"
    site.write_text(yaml.safe_dump({**values, "artifacts": f"{remote.place}/mine"}))
    tiny = remote.tiny
    arguments = (tiny.recipe, "--data-root", tiny.data, "--threads", 1, "--set", "training.steps=1")
    result = remote.zygote.train(*arguments, env={**remote.env(), "ABET_SITE": str(site)})
    assert result["codes"] == [0], result["log"]
    assert f"{remote.place}/mine/tiny: 1 steps done" in result["log"]


@pytest.mark.faults
@pytest.mark.parametrize("nodes", [1, 2])
def test_two_processes_train_a_run_in_s3_and_go_on_with_it(remote: Remote, nodes: int) -> None:
    """As two nodes they share no folder: the second fetches what the first decided to go on from."""
    more = ("--set", "batch.batch_per_gpu=2")
    local = remote.zygote.train(*remote.tiny.arguments(f"local-{nodes}", *more), processes=2)
    assert local["codes"] == [0, 0], local["log"]
    stopped = remote.train("run", *more, processes=2, nodes=nodes, mishap=("SIGTERM", 4), rank=1)
    assert stopped["codes"] == [143, 143], stopped["log"]
    assert len(remote.work_folders("run")) == nodes
    resumed = remote.train("run", *more, processes=2, nodes=nodes)
    assert resumed["codes"] == [0, 0], resumed["log"]
    assert remote.final_state("run") == final_state(remote.tiny.runs / f"local-{nodes}")
    assert remote.work_folders("run") == []


def test_a_loss_that_is_not_finite_leaves_its_batch_in_s3(remote: Remote) -> None:
    result = remote.train("run", "--set", "optimiser.learning_rate=1e30")
    assert result["codes"] == [3], result["log"]
    (failed,) = [entry.name for entry in remote.storage("run").list("failed_batches/")]
    assert len(json.loads(remote.storage("run").read(failed)[0])["files"]) == 4
    assert f"{remote.uri('run')}/failed_batches" in result["log"]


# --- refused before the first step


def test_a_bucket_that_is_not_there_and_keys_that_may_only_read_are_refused_at_once(remote: Remote) -> None:
    elsewhere = Remote(remote.server, remote.zygote, remote.tiny, S3Uri("no-such-bucket"), remote.folder)
    result = elsewhere.train("run")
    assert result["codes"] == [2], result["log"]
    assert "there is no bucket 'no-such-bucket'" in result["log"]
    result = remote.train("run", env=remote.server.readonly_env)
    assert result["codes"] == [2], result["log"]
    assert "s3:PutObject" in result["log"]
    assert "step" not in result["events"]
    assert remote.storage("run").list() == []
    result = remote.train("run", env={"AWS_SHARED_CREDENTIALS_FILE": "absent"})
    assert result["codes"] == [2], result["log"]
    assert "no credentials found" in result["log"]


@pytest.mark.faults
def test_a_start_that_is_refused_ends_nobody_s_ownership(remote: Remote) -> None:
    remote.train("run", "--set", "training.steps=2")
    owner = remote.storage("run").read("owner.json")
    for more, said in (
        (("--set", "training.steps=2", "--set", "training.seed=1"), "training.seed was 0 and is 1"),
        (("--set", "training.steps=2", "--resume", "never"), "holds checkpoints up to step 2"),
    ):
        result = remote.train("run", *more)
        assert result["codes"] == [2], result["log"]
        assert said in result["log"]
    assert remote.storage("run").read("owner.json") == owner


def test_a_prefix_of_other_things_is_never_written_into(remote: Remote) -> None:
    remote.storage("thesis").write("chapter1.tex", b"x", expect=None)
    result = remote.train("thesis")
    assert result["codes"] == [2], result["log"]
    assert "chapter1.tex" in result["log"]
    assert [entry.name for entry in remote.storage("thesis").list()] == ["chapter1.tex"]


def test_a_uri_that_cannot_be_meant_is_refused(cli: Cli, remote: Remote) -> None:
    refused(cli("train", remote.tiny.recipe, "--data-root", remote.tiny.data, "--output", "s3:/x/y"), 2, "s3://bucket")
