"""Listing checkpoints."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from abet import checkpoint, listing
from abet.errors import CheckpointError, DataError
from abet.listing import list_checkpoints
from abet.training.commit import commit
from abet.training.ownership import Ownership
from tests.conftest import Cli, random_weights
from tests.training.committed import OLD


def test_a_copy_that_holds_the_weights_alone_can_be_identified(tmp_path: Path) -> None:
    run = tmp_path / "run"
    folder = commit(Ownership.take(run), next(iter(OLD.values())), keep_last=1)
    (folder / "optimizer.safetensors").unlink()  # as a copy from S3
    assert listing.describe(folder, weights_alone=True).kind == "model"
    with pytest.raises(CheckpointError, match="optimizer"):
        listing.describe(folder)


def test_a_folder_lists_ours_published_and_damaged_ones(tmp_path: Path) -> None:
    checkpoint.save(random_weights("learned"), tmp_path / "abet")
    checkpoint.save(random_weights("none"), tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"")
    torch.save(dict(random_weights("none").tensors), tmp_path / "nvidia.pth")
    (tmp_path / "empty.pth").touch()

    rows = {row.name: row for row in list_checkpoints(tmp_path)}

    assert list(rows) == ["abet", "damaged", "empty.pth", "nvidia.pth"]
    assert (rows["abet"].kind, rows["abet"].head, rows["abet"].classes) == ("model", "learned", 19)
    assert (rows["nvidia.pth"].kind, rows["nvidia.pth"].head) == ("published model", "none")
    assert rows["damaged"].kind == rows["empty.pth"].kind == "unreadable"
    assert "empty" in rows["empty.pth"].source


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        list_checkpoints(tmp_path / "absent")


def test_one_bad_entry_leaves_the_others_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        checkpoint.save(random_weights(), tmp_path / name)
    (tmp_path / "a" / "manifest.json").write_text("[" * 10**5)
    real = listing.verify

    def verify(folder: Path, manifest: checkpoint.Manifest, **options: Any) -> None:
        if folder.name == "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        real(folder, manifest, **options)

    monkeypatch.setattr(listing, "verify", verify)
    rows = list_checkpoints(tmp_path)
    assert [row.kind for row in rows] == ["unreadable", "unreadable", "model"]
    assert "damaged JSON" in rows[0].source
    assert rows[1].source == "Permission denied"


def test_names_are_shown_as_they_are_without_markup_or_terminal_commands(cli: Cli, tmp_path: Path) -> None:
    for name in ("[", "[bold]x", "\x1b]0;owned\x07"):
        checkpoint.save(random_weights(), tmp_path / name / "a]")
    torch.save({"\x1b[2J": torch.zeros(1)}, tmp_path / "evil.pth")
    finished = cli("checkpoint", "ls", tmp_path)
    assert finished.code == 0, finished.err
    assert "[/a]" in finished.out
    assert "[bold]x/a]" in finished.out
    assert r"\x1b]0;owned\x07/a]" in finished.out
    assert "\x1b" not in finished.out
    assert "\x07" not in finished.out


def test_what_an_import_leaves_out_is_named_without_terminal_commands(cli: Cli, tmp_path: Path) -> None:
    torch.save(dict(random_weights("none").tensors) | {"\x1b[2J": torch.zeros(1)}, tmp_path / "ref.pth")
    finished = cli("checkpoint", "import", tmp_path / "ref.pth", "--output", tmp_path / "c", "--model", "demo_finetune")
    assert finished.code == 0, finished.err
    assert r"\x1b[2J" in finished.err
    assert "\x1b" not in finished.err
