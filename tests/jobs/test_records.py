"""Records of what was submitted: found by id, number or name."""

from pathlib import Path
from typing import Any

import pytest

from abet.errors import UsageError
from jobs.records import find, new_record, records, write
from jobs.spec import JobSpec
from tests.jobs.conftest import FOLDER

SPEC = JobSpec(name="job", kind="merge", command=("merge", FOLDER), secrets=("WANDB_API_KEY",))


def submitted(jobs: Path, name: str = "job", **values: Any) -> Any:
    record = new_record(jobs, SPEC.model_copy(update={"name": name}), "slurm")
    return write(record).update(**values)


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = submitted(tmp_path / FOLDER, number="41")
    (found,) = records(record.folder.parent)
    assert found == record
    assert found.job.spec.command == ("merge", FOLDER)
    assert found.logs == record.folder / "logs"


def test_nothing_is_written_before_it_is_meant(tmp_path: Path) -> None:
    new_record(tmp_path / "jobs", SPEC, "slurm")
    assert not (tmp_path / "jobs").exists()


def test_ids_differ_and_begin_with_the_name(tmp_path: Path) -> None:
    ids = {new_record(tmp_path, SPEC, "local").job.id for _ in range(20)}
    assert len(ids) == 20
    assert all(name.startswith("job-") for name in ids)


@pytest.mark.parametrize("folder", ["100%", "a\nb", "a\rb", "a\\b"])
def test_a_folder_that_schedulers_would_read_otherwise_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(UsageError, match="choose another `jobs:`") as error:
        new_record(tmp_path / folder, SPEC, "slurm")
    assert repr(folder)[1:-1] in str(error.value)


def test_by_id_number_or_newest_of_a_name(tmp_path: Path) -> None:
    old = submitted(tmp_path, number="41", submitted="2026-01-01T00:00:00+00:00")
    new = submitted(tmp_path, number="42", submitted="2026-01-02T00:00:00+00:00")
    assert find(tmp_path, old.job.id) == old
    assert find(tmp_path, "41") == old
    assert find(tmp_path, "job") == new
    assert records(tmp_path) == [old, new]


def test_what_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing was submitted from here yet"):
        find(tmp_path, "job")
    record = submitted(tmp_path)
    with pytest.raises(UsageError, match=f"did you mean '{record.job.id}'"):
        find(tmp_path, record.job.id[:-1])


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    for name, text in {"a": "{", "b": "{}", "c": "[]"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "job.json").write_text(text)
    record = submitted(tmp_path)
    assert records(tmp_path) == [record]


def test_each_task_of_an_array_has_its_diary(tmp_path: Path) -> None:
    array = JobSpec(name="eval", kind="evaluate", command=("evaluate", "{shard}"), shards=(3, 12))
    record = new_record(tmp_path, array, "slurm")
    assert [path.name for path in record.diaries()] == ["shard-003", "shard-012"]
    assert new_record(tmp_path, SPEC, "slurm").diaries()[0].parent == tmp_path
