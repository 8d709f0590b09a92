"""Listing and promoting checkpoints."""

from pathlib import Path

import pytest
import torch

from abet import checkpoint
from abet.errors import DataError, UsageError
from abet.listing import list_checkpoints
from abet.promote import newest_promoted, promote
from tests.conftest import random_weights


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


def test_the_newest_promotion_counts_and_none_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"abet checkpoint promote.*docs/weights\.md"):
        newest_promoted(tmp_path)
    for number in range(1, 12):
        promote(Path(f"/c/{number}"), f"{number:064x}", tmp_path)
    newest = newest_promoted(tmp_path)
    assert (newest.number, newest.checkpoint, newest.sha256) == (11, Path("/c/11"), f"{11:064x}")
