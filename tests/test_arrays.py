"""Arrays come back as they were, in a file that is the same each time."""

import io
from pathlib import Path

import numpy as np
import pytest

from abet.arrays import save_arrays

ARRAYS = {
    "header": np.frombuffer(b'{"a": 1}', np.uint8),
    "by.name": np.arange(12, dtype=np.int64).reshape(3, 4),
    "names": np.array(["one", "zwölf"]),
    "nothing": np.zeros((0, 3), np.float32),
    "scalar": np.array(2.5),
}


def test_numpy_reads_what_was_written(tmp_path: Path) -> None:
    save_arrays(tmp_path / "a.npz", ARRAYS)
    with np.load(tmp_path / "a.npz") as file:
        assert file.files == list(ARRAYS)
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(file[name], array)
            assert file[name].dtype == array.dtype


def test_the_bytes_are_the_same_at_any_time_and_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_arrays(tmp_path / "a.npz", ARRAYS)
    monkeypatch.setattr("time.localtime", lambda *_: pytest.fail("the date is asked for"))
    again = io.BytesIO()
    save_arrays(again, ARRAYS)
    assert again.getvalue() == (tmp_path / "a.npz").read_bytes()


def test_counts_of_zero_take_no_room(tmp_path: Path) -> None:
    save_arrays(tmp_path / "a.npz", {"counts": np.zeros(100_000, np.int64)})
    assert (tmp_path / "a.npz").stat().st_size < 8_000


def test_objects_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        save_arrays(tmp_path / "a.npz", {"thing": np.array([{}], dtype=object)})
