"""Checkpoints in S3: which one a URI means, and that what is used of it is what was committed."""

import json
from pathlib import Path

import pytest

from abet import checkpoint
from abet.checkpoint import MANIFEST, WEIGHTS
from abet.errors import CheckpointError, UsageError
from abet.places import S3Uri, parse_place
from abet.remote import fetch_checkpoint, local_checkpoint, remote_steps
from abet.site import SiteConfig
from abet.storage import Storage, open_storage
from tests.conftest import random_weights
from tests.s3_server import S3Server


@pytest.fixture
def site(s3: S3Server, tmp_path: Path) -> SiteConfig:
    return SiteConfig(s3=s3.settings, scratch=tmp_path / "scratch")


@pytest.fixture
def uri(s3: S3Server) -> S3Uri:
    return s3.place("runs/it's a run")


def put(storage: Storage, source: Path, folder: str) -> None:
    for path in source.iterdir():
        storage.upload(path, f"{folder}/{path.name}")


@pytest.fixture(scope="module")
def other_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other weights than those of ``learned_checkpoint``."""
    folder = tmp_path_factory.mktemp("weights") / "other"
    checkpoint.save(random_weights("learned", seed=1), folder)
    return folder


def sha256(folder: Path) -> str:
    return checkpoint.read(folder).sha256


def test_a_path_means_itself(tmp_path: Path) -> None:
    assert local_checkpoint(tmp_path / "absent", SiteConfig()) == tmp_path / "absent"


def test_a_folder_is_fetched_once_and_again_when_it_was_damaged(
    site: SiteConfig, uri: S3Uri, learned_checkpoint: Path
) -> None:
    put(open_storage(uri, site.s3), learned_checkpoint, "weights")
    copy = local_checkpoint(uri / "weights", site)
    assert sha256(copy) == sha256(learned_checkpoint)
    inode = (copy / WEIGHTS).stat().st_ino
    assert local_checkpoint(uri / "weights", site) == copy
    assert (copy / WEIGHTS).stat().st_ino == inode
    (copy / WEIGHTS).write_bytes(b"half")
    assert sha256(local_checkpoint(uri / "weights", site)) == sha256(learned_checkpoint)


def test_a_folder_that_is_replaced_in_s3_is_another_checkpoint(
    site: SiteConfig, uri: S3Uri, learned_checkpoint: Path, other_checkpoint: Path
) -> None:
    storage = open_storage(uri, site.s3)
    put(storage, learned_checkpoint, "weights")
    first = local_checkpoint(uri / "weights", site)
    put(storage, other_checkpoint, "weights")
    assert sha256(local_checkpoint(uri / "weights", site)) == sha256(other_checkpoint)
    assert sha256(first) == sha256(learned_checkpoint)


def test_the_steps_of_a_run_come_newest_trainer_first_then_highest_step(site: SiteConfig, uri: S3Uri) -> None:
    storage = open_storage(uri, site.s3)
    names = ["step-00000040", "step-00000030-g0001", "step-00000020-g0002", "step-00000010-g0010", "step-7", "mine"]
    for name in names:
        storage.write(f"checkpoints/{name}/{WEIGHTS}", b"", expect=None)
    storage.write(f"checkpoints/step-00000030-g0001/{MANIFEST}", b"", expect=None)
    storage.write("checkpoints/latest.json", b"", expect=None)
    found = remote_steps(storage)
    assert [step.folder.partition("/")[2] for step in found] == [names[3], names[2], names[1], names[0]]
    assert [step.committed for step in found] == [False, False, True, False]


def test_a_run_means_its_best_step_by_its_newest_trainer(
    site: SiteConfig, uri: S3Uri, learned_checkpoint: Path, other_checkpoint: Path
) -> None:
    storage = open_storage(uri, site.s3)
    put(storage, learned_checkpoint, "checkpoints/step-00000020-g0001")
    put(storage, other_checkpoint, "checkpoints/step-00000020-g0002")
    put(storage, learned_checkpoint, "checkpoints/step-00000030-g0002")
    storage.write("checkpoints/best.json", json.dumps({"step": 20, "miou": 0.5}).encode(), expect=None)
    step, copy = fetch_checkpoint(uri, site)
    assert step == uri / "checkpoints/step-00000020-g0002"
    assert sha256(copy) == sha256(other_checkpoint)


def test_a_run_without_a_best_step_means_its_newest_that_verifies(
    site: SiteConfig, uri: S3Uri, learned_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(uri, site.s3)
    for name in ("20-g0001", "30-g0001", "10-g0002"):
        put(storage, learned_checkpoint, f"checkpoints/step-000000{name}")
    storage.write(f"checkpoints/step-00000010-g0002/{WEIGHTS}", b"half", expect=None)
    storage.delete([f"checkpoints/step-00000030-g0001/{WEIGHTS}"])
    step, copy = fetch_checkpoint(uri, site)
    assert step.name == "step-00000020-g0001"
    assert sha256(copy) == sha256(learned_checkpoint)
    said = capsys.readouterr().err
    assert "step-00000010-g0002" in said
    assert "step-00000030-g0001" in said


@pytest.mark.parametrize("content", ["{", '{"step": 99, "miou": 0.5}'])
def test_a_best_step_that_is_not_there_is_never_replaced_by_another(
    site: SiteConfig, uri: S3Uri, learned_checkpoint: Path, content: str
) -> None:
    storage = open_storage(uri, site.s3)
    put(storage, learned_checkpoint, "checkpoints/step-00000020-g0001")
    storage.write("checkpoints/best.json", content.encode(), expect=None)
    with pytest.raises(CheckpointError, match=r"best\.json: (damaged|names no checkpoint)"):
        local_checkpoint(uri, site)


def test_what_is_no_checkpoint_is_named_by_its_uri(site: SiteConfig, uri: S3Uri, learned_checkpoint: Path) -> None:
    storage = open_storage(uri, site.s3)
    with pytest.raises(CheckpointError, match=f"{uri}: no checkpoint there"):
        local_checkpoint(uri, site)
    with pytest.raises(CheckpointError, match=f"{uri}/absent.pth: no such object"):
        local_checkpoint(uri / "absent.pth", site)
    storage.write(f"damaged/{MANIFEST}", b"{}", expect=None)
    with pytest.raises(CheckpointError, match=f"{uri}/damaged/{MANIFEST}: not a manifest"):
        local_checkpoint(uri / "damaged", site)
    put(storage, learned_checkpoint, "torn")
    storage.write(f"torn/{WEIGHTS}", b"half", expect=None)
    with pytest.raises(CheckpointError, match=f"{uri}/torn/{WEIGHTS}: holds 4 bytes"):
        local_checkpoint(uri / "torn", site)
    storage.delete([f"torn/{WEIGHTS}"])
    with pytest.raises(CheckpointError, match=f"{uri}/torn/{WEIGHTS}.*incomplete"):
        local_checkpoint(uri / "torn", site)


def test_a_published_file_is_fetched_by_its_name_and_again_when_it_changed(site: SiteConfig, uri: S3Uri) -> None:
    storage = open_storage(uri, site.s3)
    for content in (b"one", b"two"):
        storage.write("weights/best.pth", content, expect=None)
        copy = local_checkpoint(parse_place(f"{uri}/weights/best.pth"), site)
        assert (copy.name, copy.read_bytes()) == ("best.pth", content)


def test_a_bucket_that_is_not_there_is_bad_usage(site: SiteConfig) -> None:
    with pytest.raises(UsageError, match="no-such-bucket"):
        local_checkpoint(S3Uri("no-such-bucket", "run"), site)
