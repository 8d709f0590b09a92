"""Promotion: which checkpoint counts, and that its weights are still the promoted ones."""

import json
import shutil
from pathlib import Path
from threading import Barrier, Thread

import pytest

from abet import checkpoint
from abet.cli.options import choose_checkpoint, load
from abet.errors import CheckpointError, UsageError
from abet.promote import newest_promoted, promote, promotions
from abet.site import load_site
from tests.conftest import Cli, random_weights


def test_the_newest_promotion_counts_and_none_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"abet checkpoint promote.*docs/weights\.md"):
        newest_promoted(tmp_path)
    for number in range(1, 12):
        promote(Path(f"/c/{number}"), f"{number:064x}", tmp_path)
    newest = newest_promoted(tmp_path)
    assert (newest.number, newest.checkpoint, newest.sha256) == (11, Path("/c/11"), f"{11:064x}")


def test_promotions_are_ordered_by_number_and_other_files_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "promoted"
    folder.mkdir()
    for name in ("9.json", "000010.json", "1000000.json"):
        (folder / name).write_text(json.dumps({"checkpoint": f"/c/{name}", "sha256": "0"}))
    for name in ("1abc.json", "notes.json", "2.json~", "².json"):
        (folder / name).write_text("not ours")
    assert [promotion.number for promotion in promotions(tmp_path)] == [9, 10, 1000000]
    assert promote(Path("/c/new"), "1", tmp_path).name == "1000001.json"


def test_a_record_that_is_none_is_named(tmp_path: Path) -> None:
    path = promote(Path("/c"), "0", tmp_path)
    path.write_text("{}")
    with pytest.raises(CheckpointError, match=r"000001\.json: not a promotion record"):
        newest_promoted(tmp_path)


def test_promotions_at_the_same_moment_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writers, together = 4, Barrier(4)

    def as_all_saw_it(artifacts: Path) -> list[None]:
        together.wait()  # each has looked before any has written
        return []

    monkeypatch.setattr("abet.promote.promotions", as_all_saw_it)
    threads = [Thread(target=promote, args=(Path(f"/c/{n}"), str(n), tmp_path)) for n in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = promotions(tmp_path)
    assert [promotion.number for promotion in found] == [1, 2, 3, 4]
    assert {promotion.sha256 for promotion in found} == {"0", "1", "2", "3"}


def test_other_weights_at_the_promoted_path_are_refused_until_promoted_again(cli: Cli, tmp_path: Path) -> None:
    old = checkpoint.save(random_weights(), tmp_path / "c").sha256
    assert cli("checkpoint", "promote", tmp_path / "c").code == 0
    assert load(choose_checkpoint(None, load_site()), "cpu", "demo_finetune").sha256 == old
    shutil.rmtree(tmp_path / "c")
    new = checkpoint.save(random_weights(seed=1), tmp_path / "c").sha256

    with pytest.raises(CheckpointError, match=f"sha256 {old} was promoted.*{new}.*abet checkpoint promote"):
        load(choose_checkpoint(None, load_site()), "cpu", "demo_finetune")
    assert load(choose_checkpoint(tmp_path / "c", load_site()), "cpu", "demo_finetune").sha256 == new
    assert cli("checkpoint", "promote", tmp_path / "c").code == 0
    assert load(choose_checkpoint(None, load_site()), "cpu", "demo_finetune").sha256 == new


def test_the_list_marks_the_newest_promotion_alone_and_says_what_is_used(cli: Cli, tmp_path: Path) -> None:
    for seed in (1, 2):
        checkpoint.save(random_weights(seed=seed), tmp_path / "weights" / f"c{seed}")
    assert "none is promoted yet" in cli("checkpoint", "ls", tmp_path / "weights").err
    for seed in (2, 1):
        assert cli("checkpoint", "promote", tmp_path / "weights" / f"c{seed}").code == 0
    finished = cli("checkpoint", "ls", tmp_path / "weights")
    marked = [line for line in finished.out.splitlines() if "newest" in line]
    assert len(marked) == 1
    assert " c1 " in marked[0]
    assert f"used when none is named: {tmp_path / 'weights' / 'c1'} (the newest promotion)" in finished.err
