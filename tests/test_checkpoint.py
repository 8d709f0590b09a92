"""The checkpoint folder: complete or absent, and verified at every read."""

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from abet import checkpoint
from abet.detector import load_detector
from abet.errors import CheckpointError, UsageError
from tests.conftest import random_weights


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    weights = random_weights()
    manifest = checkpoint.save(weights, tmp_path / "c")
    again = checkpoint.read(tmp_path / "c")
    assert again.model == weights.model
    assert again.sha256 == manifest.sha256
    assert again.tensors.keys() == weights.tensors.keys()
    assert all(torch.equal(again.tensors[name], weights.tensors[name]) for name in weights.tensors)


def test_the_manifest_describes_the_file_beside_it(tmp_path: Path) -> None:
    import hashlib

    checkpoint.save(random_weights(), tmp_path / "c")
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    content = (tmp_path / "c" / "model.safetensors").read_bytes()
    assert manifest["files"] == [
        {"name": "model.safetensors", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    ]


def test_saving_the_same_weights_twice_gives_the_same_identity(tmp_path: Path) -> None:
    first = checkpoint.save(random_weights(), tmp_path / "a")
    assert checkpoint.save(random_weights(), tmp_path / "b").sha256 == first.sha256
    assert checkpoint.save(random_weights(seed=1), tmp_path / "c").sha256 != first.sha256


def test_a_checkpoint_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with pytest.raises(UsageError, match="choose another --output"):
        checkpoint.save(random_weights(), tmp_path / "c")


def saved(tmp_path: Path) -> Path:
    checkpoint.save(random_weights(), tmp_path / "c")
    return tmp_path / "c"


def test_a_folder_without_manifest_is_no_checkpoint(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    (folder / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"manifest\.json is missing"):
        checkpoint.read(folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"abet_checkpoint": 2}', '{"abet_checkpoint": 1, "surprise": 1}'])
def test_a_damaged_or_foreign_manifest_is_refused(tmp_path: Path, content: str) -> None:
    folder = saved(tmp_path)
    (folder / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=r"manifest\.json"):
        checkpoint.read(folder)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["other.bin"],
        ["model.safetensors"] * 2,
        ["model.safetensors", "../outside"],
        ["/etc/hostname"],
        [".."],
        [""],
    ],
)
def test_a_manifest_must_vouch_for_the_weights_and_for_plain_file_names(tmp_path: Path, names: list[str]) -> None:
    folder = saved(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = [manifest["files"][0] | {"name": name} for name in names]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"manifest\.json: not a manifest of this version \(files"):
        checkpoint.read(folder)


def test_keys_of_a_foreign_manifest_reach_no_terminal_raw(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"\x1b[2J": 1}))
    with pytest.raises(CheckpointError, match=r"\\x1b\[2J"):
        checkpoint.read(folder)


def test_what_is_saved_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        folder = saved(tmp_path)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}


def test_the_weights_are_on_the_disk_before_the_manifest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    folder = saved(tmp_path)
    files = [folder / "model.safetensors", folder / "manifest.json"]
    assert flushed == [path.stat().st_ino for path in (*files, folder, tmp_path)]


def test_a_file_system_that_flushes_no_folders_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    assert checkpoint.read(saved(tmp_path)).sha256


def test_a_failed_flush_names_the_file_as_it_would_have_been_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left") as caught:
        saved(tmp_path)
    assert caught.value.filename == str(tmp_path / "c" / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_weights_are_read_without_the_files_that_only_a_resume_needs(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"].append({"name": "state.pt", "bytes": 1, "sha256": "0" * 64})
    (folder / "manifest.json").write_text(json.dumps(manifest | {"step": 7}))
    assert checkpoint.read(folder).sha256 == manifest["files"][0]["sha256"]
    assert checkpoint.read_manifest(folder).step == 7
    with pytest.raises(CheckpointError, match=r"state\.pt is missing"):
        checkpoint.verify(folder, checkpoint.read_manifest(folder))


def run_with(tmp_path: Path, *steps: int) -> Path:
    for step in steps:
        checkpoint.save(random_weights(), checkpoint.step_folder(tmp_path / "run", step))
    return tmp_path / "run"


def test_a_run_directory_means_its_best_step(tmp_path: Path) -> None:
    run = run_with(tmp_path, 10, 20)
    (run / "checkpoints" / "best.json").write_text('{"step": 10, "miou": 0.5}')
    assert checkpoint.resolve(run) == run / "checkpoints" / "step-00000010"
    assert load_detector(run, device="cpu").uri == (run / "checkpoints" / "step-00000010").resolve().as_posix()


def test_a_run_directory_without_a_best_step_means_its_newest_that_verifies(tmp_path: Path) -> None:
    run = run_with(tmp_path, 9, 10, 11)
    (run / "checkpoints" / "step-00000011" / "model.safetensors").write_bytes(b"")
    assert checkpoint.resolve(run) == run / "checkpoints" / "step-00000010"


def test_a_run_directory_without_any_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="train until the first one is committed"):
        checkpoint.resolve(tmp_path / "run")


@pytest.mark.parametrize("content", ['{"step": 15, "miou": 0.5}', "{", '{"step": 10, "miou": 2}'])
def test_a_best_step_that_is_not_there_is_never_replaced_by_another(tmp_path: Path, content: str) -> None:
    run = run_with(tmp_path, 10, 20)
    (run / "checkpoints" / "best.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"names no checkpoint.*\(step-00000020, step-00000010\)"):
        checkpoint.resolve(run)


def test_other_paths_mean_themselves(tmp_path: Path) -> None:
    for path in (saved(tmp_path), tmp_path / "file.pth", tmp_path / "absent"):
        assert checkpoint.resolve(path) == path


def test_truncated_weights_are_refused_with_both_sizes(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-7])
    with pytest.raises(CheckpointError, match=f"holds {len(content) - 7} bytes; the manifest says {len(content)}"):
        checkpoint.read(folder)


def test_one_flipped_bit_is_noticed(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="SHA-256"):
        checkpoint.read(folder)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        checkpoint.read(folder)


@pytest.mark.faults
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    code = """
import errno, sys
from pathlib import Path
from tests.conftest import random_weights
from tests.small_disk import limit_files
from abet import checkpoint
weights = random_weights()
limit_files(100_000)
try:
    checkpoint.save(weights, Path(sys.argv[1]) / "c")
except OSError as error:
    assert error.errno in (errno.ENOSPC, errno.EFBIG), error
    print("refused")
"""
    root = Path(__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )
    assert result.stdout == "refused\n"
    assert list(tmp_path.iterdir()) == []
