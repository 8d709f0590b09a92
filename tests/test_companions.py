"""Files that are kept with a checkpoint: where they lie, and that they go where it goes."""

import shutil
from pathlib import Path

import pytest

from abet import companions
from abet.checkpoint import read_manifest, verify
from abet.places import Place, parse_place
from abet.site import S3Settings
from abet.storage import Conflict
from tests.s3_server import S3Server


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Place, S3Settings]:
    if request.param == "local":
        return tmp_path / "weights", S3Settings()
    server: S3Server = request.getfixturevalue("s3")
    return server.place("weights"), server.settings


@pytest.mark.parametrize("checkpoint", ["abet-cityscapes", "run/checkpoints/step-00000100", "cityscapes_best.pth"])
def test_what_was_written_last_is_read(place: tuple[Place, S3Settings], checkpoint: str) -> None:
    folder, s3 = place
    assert companions.read(folder / checkpoint, "calibration.json", s3) is None
    companions.write(folder / checkpoint, "calibration.json", b"first", s3)
    companions.write(folder / checkpoint, "calibration.json", b"second", s3)
    assert companions.read(folder / checkpoint, "calibration.json", s3) == b"second"
    assert companions.read(folder / checkpoint, "fitted.safetensors", s3) is None


def test_who_expects_a_version_does_not_replace_another(place: tuple[Place, S3Settings]) -> None:
    folder, s3 = place
    content, absent = companions.read_versioned(folder, "calibration.json", s3)
    assert content is None
    companions.write(folder, "calibration.json", b"first", s3, expect=absent)
    content, version = companions.read_versioned(folder, "calibration.json", s3)
    assert content == b"first"
    companions.write(folder, "calibration.json", b"second", s3, expect=version)
    for stale in (absent, version):
        with pytest.raises(Conflict):
            companions.write(folder, "calibration.json", b"third", s3, expect=stale)
    assert companions.read(folder, "calibration.json", s3) == b"second"


def test_those_of_two_published_files_in_one_folder_are_apart() -> None:
    one, other = (companions.companion(parse_place(f"s3://weights/{name}.pth"), "c.json") for name in ("a", "b"))
    assert str(one) == "s3://weights/a.pth.c.json"
    assert one != other


def test_a_checkpoint_keeps_verifying_and_a_copy_takes_its_files_along(
    learned_checkpoint: Path, tmp_path: Path
) -> None:
    original = shutil.copytree(learned_checkpoint, tmp_path / "original")
    companions.write(original, "calibration.json", b"{}", S3Settings())
    verify(original, read_manifest(original))
    copy = shutil.copytree(original, tmp_path / "copy")
    assert companions.read(copy, "calibration.json", S3Settings()) == b"{}"
