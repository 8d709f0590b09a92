"""The diary of a job: what it remembers of its attempts, and how many in a row came to nothing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abet.exits import PROGRESS_FILE, record_progress
from jobs import attempts
from jobs.attempts import ATTEMPTS, PROGRESS, Attempt, History, Word
from jobs.cluster import Cluster


def node(rank: int = 0, restarts: int = 0) -> Cluster:
    return Cluster(job_id="7", node=f"n{rank}", node_rank=rank, restarts=restarts)


def keep(record: Path, step: int) -> None:
    """As training does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PROGRESS_FILE, str(record / PROGRESS))
        record_progress(step)


def test_a_job_that_was_never_started(tmp_path: Path) -> None:
    assert attempts.read(tmp_path / "nowhere") == History(attempts=(), step=None)
    assert attempts.read(tmp_path / "nowhere").fruitless_attempts() == 0


def test_what_attempts_leave_behind(tmp_path: Path) -> None:
    assert attempts.begin(tmp_path, node(), name="job") == 0
    keep(tmp_path, 40)
    attempts.end(tmp_path, 0, 143, "saved", cause="timeout", again=True)
    assert attempts.begin(tmp_path, node(restarts=1), name="job") == 1
    first, second = attempts.read(tmp_path).attempts
    assert (first.number, first.first_step, first.last_step, first.code, first.cause) == (0, None, 40, 143, "timeout")
    assert first.again
    assert first.reason == "saved"
    assert (second.number, second.first_step, second.last_step, second.code) == (1, 40, None, None)
    assert attempts.read(tmp_path).step == 40


def test_only_the_first_node_writes_the_diary(tmp_path: Path) -> None:
    attempts.begin(tmp_path, node(1), name="job")
    assert not (tmp_path / ATTEMPTS).exists()


def test_a_silent_attempt_came_as_far_as_the_next_one_began(tmp_path: Path) -> None:
    attempts.begin(tmp_path, node(), name="job")
    keep(tmp_path, 5)
    attempts.begin(tmp_path, node(restarts=1), name="job")
    first, _ = attempts.read(tmp_path).attempts
    assert (first.code, first.last_step, first.fruitless) == (None, 5, False)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_lines_cut_short_by_a_kill_cost_no_others(tmp_path: Path, cut: int) -> None:
    attempts.begin(tmp_path, node(), name="job")
    attempts.end(tmp_path, 0, 1, "first", cause="failed", again=True)
    attempts.begin(tmp_path, node(restarts=1), name="job")
    diary = tmp_path / ATTEMPTS
    diary.write_bytes(diary.read_bytes()[:-cut])
    attempts.begin(tmp_path, node(restarts=2), name="job")
    attempts.end(tmp_path, 2, 1, "third", cause="failed", again=True)
    whole = [(attempt.number, attempt.reason) for attempt in attempts.read(tmp_path).attempts if attempt.code == 1]
    assert whole == [(0, "first"), (2, "third")]


def test_an_end_without_its_beginning_belongs_to_nobody(tmp_path: Path) -> None:
    attempts.begin(tmp_path, node(), name="job")
    attempts.end(tmp_path, 1, 0, "", cause="done", again=False)
    (only,) = attempts.read(tmp_path).attempts
    assert only.code is None


def test_words_of_the_nodes(tmp_path: Path) -> None:
    attempts.begin(tmp_path, node(), name="job")
    there = Word(node=1, code=1, reason='says "no"', signals=(12, 15), at=3.5)
    attempts.leave_word(tmp_path, 0, there)
    attempts.leave_word(tmp_path, 1, Word(node=1, code=0, reason="of the next attempt"))
    assert attempts.words(tmp_path, 0, {0, 1}) == [there]
    attempts.begin(tmp_path, node(1), name="job")  # started by hand again, in the same folder
    assert attempts.words(tmp_path, 0, {0, 1}) == []


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"node": 0}', '{"node": 0, "signals": [], "of": "another version"}']
)
def test_a_word_that_cannot_be_read_is_not_said_yet(tmp_path: Path, content: str) -> None:
    attempts.begin(tmp_path, node(), name="job")
    (tmp_path / "words" / "0-0.json").write_text(content)
    assert attempts.words(tmp_path, 0, {0}) == []


def test_a_damaged_progress_file_is_none(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"step": "many"}', "{}"):
        (tmp_path / PROGRESS).write_text(text)
        assert attempts.read_step(tmp_path) is None
    keep(tmp_path, 3)
    assert attempts.read_step(tmp_path) == 3


# How an attempt ended: exit code, cause
ENDINGS = [(None, ""), (1, "failed"), (143, "timeout"), (143, "preempted"), (0, "done")]


@given(st.lists(st.tuples(st.sampled_from(ENDINGS), st.integers(0, 2)), min_size=1, max_size=12), st.integers(0, 2))
def test_fruitless_attempts_are_those_in_a_row_without_a_new_step(
    past: list[tuple[tuple[int | None, str], int]], gained_now: int
) -> None:
    step, naive, told = 0, 0, []
    for number, ((code, cause), gained) in enumerate(past):
        told.append(
            Attempt(number=number, first_step=step or None, last_step=step + gained or None, code=code, cause=cause)
        )
        step += gained
        blameless = cause in ("preempted", "done")
        naive = 0 if gained or blameless else naive + 1
    now = Attempt(number=len(past), first_step=step or None)
    history = History(attempts=(*told, now), step=step + gained_now or None)
    assert history.fruitless_attempts() == (-1 if gained_now else naive)
