"""Atomic files and strict JSON."""

from pathlib import Path

import pytest

from abet.errors import DataError
from abet.files import atomic_path, read_json, write_bytes, write_json


def test_a_failed_write_keeps_the_old_file_and_leaves_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_parents_are_made_and_the_file_is_readable_by_others(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    write_bytes(tmp_path / "x" / "y" / "z.bin", b"1")
    assert (tmp_path / "x" / "y" / "z.bin").stat().st_mode == plain.stat().st_mode


def test_of_several_writers_the_first_wins_when_asked_to(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_path(target, keep_existing=True) as slow:
        slow.write_text("slow")
        write_bytes(target, b"quick", keep_existing=True)
    assert target.read_text() == "quick"
    assert list(tmp_path.iterdir()) == [target]


def test_json_is_strict(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("content", "said"), [(b"{", "damaged"), (b"[1]", "object"), (b"\xff", "damaged")])
def test_bad_json_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=f"a.json.*{said}"):
        read_json(tmp_path / "a.json")


def test_missing_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_json(tmp_path / "a.json")
