"""Pods that die without a word are not started for ever."""

import json
from pathlib import Path

import pytest

from abet.errors import AbetError
from abet.places import Place, S3Uri
from abet.run import require_ours
from abet.site import SiteConfig
from abet.storage import open_storage
from jobs.kubernetes.starts import Diary, Start, silent_deaths


def start(step: int | None, code: int | None = None, note: str = "") -> Start:
    return Start(pod="p", time="", step=step, code=code, note=note)


@pytest.mark.parametrize(
    ("starts", "step", "count"),
    [
        ([], None, 0),
        ([start(None)], None, 1),
        ([start(None), start(None)], None, 2),
        ([start(None)], 10, 0),  # it left a checkpoint
        ([start(None), start(10), start(10)], 10, 2),
        ([start(10), start(10, 143), start(10)], 10, 1),  # evicted in good order in between
        ([start(10), start(10, 1, "given up"), start(10)], 10, 1),
    ],
)
def test_deaths_count_in_a_row_and_without_a_new_checkpoint(starts: list[Start], step: int | None, count: int) -> None:
    assert silent_deaths(starts, step) == count


@pytest.fixture(params=["local", "s3"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return tmp_path / "run" if request.param == "local" else request.getfixturevalue("s3").place("run")


@pytest.fixture
def site(run: Place, request: pytest.FixtureRequest) -> SiteConfig:
    return SiteConfig(s3=request.getfixturevalue("s3").settings) if isinstance(run, S3Uri) else SiteConfig()


def test_one_start_too_many_gives_up_and_the_next_counts_anew(run: Place, site: SiteConfig) -> None:
    for _ in range(3):  # one, and two retries
        Diary(run=run, site=site, pod="p").begin(retries=2)
    with pytest.raises(AbetError, match="given up: the last 3 pods of this job died without a word") as given_up:
        Diary(run=run, site=site, pod="p").begin(retries=2)
    assert given_up.value.exit_code == 1
    Diary(run=run, site=site, pod="p").begin(retries=2)


def test_a_checkpoint_and_an_orderly_end_begin_a_new_count(run: Place, site: SiteConfig) -> None:
    storage = open_storage(run, site.s3)
    for step in (10, 20, 30, 40):
        Diary(run=run, site=site, pod="p").begin(retries=0)
        storage.write("checkpoints/latest.json", json.dumps({"step": step}).encode(), expect=None)
    for _ in range(3):
        diary = Diary(run=run, site=site, pod="p")
        diary.begin(retries=0)
        diary.end(143)
    codes = [each["code"] for each in json.loads(storage.read("starts.json")[0])["starts"]]
    assert codes == [None] * 4 + [143] * 3


def test_it_is_no_foreign_file_for_a_run_that_begins(tmp_path: Path) -> None:
    Diary(run=tmp_path, site=SiteConfig(), pod="p").begin(retries=0)
    require_ours(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"starts": [{"x": 1}]}'])
def test_a_damaged_diary_begins_anew(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "starts.json").write_bytes(content)
    Diary(run=tmp_path, site=SiteConfig(), pod="p").begin(retries=0)
    assert len(json.loads((tmp_path / "starts.json").read_text())["starts"]) == 1
