"""Answers that are hard to provoke on a real server: what is tried again, and what is said in the end."""

import os
from pathlib import Path

import pytest

from abet.errors import AbetError
from abet.storage import (
    ABSENT,
    Conflict,
    NotFound,
    StorageUnavailable,
)
from abet.storage.s3_parts import PART_BYTES
from tests.storage.asking import refusal
from tests.storage.scripted import Scripted, storage_at

BUSY = (409, "ConditionalRequestConflict")
FAILED = (500, "InternalError")
UNMET = (412, "PreconditionFailed")


def test_a_write_that_meets_another_one_is_tried_again(scripted: Scripted):
    scripted.puts = [BUSY, BUSY, (200, "")]
    storage_at(scripted).write("a", b"1", expect=ABSENT)
    assert scripted.stored == b"1"


def test_a_write_that_meets_another_one_and_then_its_result_is_a_conflict(scripted: Scripted):
    scripted.stored, scripted.puts = b"theirs", [BUSY, UNMET]
    with pytest.raises(Conflict):
        storage_at(scripted).write("a", b"ours", expect=ABSENT)


@pytest.mark.parametrize("patience_seconds", [1, 120])
def test_a_write_whose_answer_got_lost_has_won(scripted: Scripted, patience_seconds: int):
    scripted.puts, scripted.keep_when_failing = [FAILED, UNMET], True
    storage_at(scripted, patience_seconds=patience_seconds).write("a", b"ours", expect=ABSENT)
    assert scripted.stored == b"ours"


def test_a_write_that_failed_while_another_won_is_a_conflict(scripted: Scripted):
    scripted.puts, scripted.stored = [FAILED, UNMET], b"theirs"
    with pytest.raises(Conflict):
        storage_at(scripted, patience_seconds=1).write("a", b"ours", expect=ABSENT)


def test_an_unmet_condition_without_a_retry_is_a_conflict_even_with_the_same_bytes(scripted: Scripted):
    scripted.puts, scripted.stored = [UNMET], b"same"
    with pytest.raises(Conflict):
        storage_at(scripted).write("a", b"same", expect=ABSENT)


def test_a_server_that_goes_on_failing_is_unavailable(scripted: Scripted):
    scripted.puts = [FAILED] * 100
    with pytest.raises(StorageUnavailable, match=r"S3 answered InternalError \(500\)"):
        storage_at(scripted, patience_seconds=1).write("a", b"1", expect=None)


@pytest.mark.parametrize("code", ["BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"])
def test_bytes_that_arrived_damaged_are_sent_again(scripted: Scripted, tmp_path: Path, code: str):
    (tmp_path / "file").write_bytes(b"content" * 100_000)
    scripted.puts = [(400, code), (400, code), (200, "")]
    storage_at(scripted).upload(tmp_path / "file", "a")
    assert scripted.stored == (tmp_path / "file").read_bytes()


def test_a_server_that_takes_no_checksums_is_found_out_within_seconds(scripted: Scripted):
    scripted.puts = [(400, "XAmzContentSHA256Mismatch")] * 100
    assert "s3.checksums: when_required" in refusal(lambda: storage_at(scripted).write("a", b"1", expect=None))
    assert len(scripted.puts) == 97


def test_a_request_is_made_once_by_each_try(scripted: Scripted):
    scripted.puts = [FAILED] * 3
    with pytest.raises(StorageUnavailable, match=r"for [01] s; try later"):
        storage_at(scripted, patience_seconds=0).write("a", b"1", expect=None)
    assert len(scripted.puts) == 2


# an empty 200 without an ETag is what SeaweedFS gives under load
@pytest.mark.parametrize("how", ["empty", "cut off", "wrong checksum"])
def test_a_broken_answer_is_asked_for_again(scripted: Scripted, tmp_path: Path, how: str):
    scripted.stored = b"content"
    storage = storage_at(scripted)
    scripted.broken_answers = [how] * 2
    assert storage.read("a")[0] == b"content"
    scripted.broken_answers = [how] * 2
    storage.download("a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"content"
    assert scripted.broken_answers == []


@pytest.mark.parametrize("how", ["empty", "cut off", "other range"])
def test_a_broken_answer_for_a_part_leaves_no_hole(scripted: Scripted, tmp_path: Path, how: str):
    scripted.stored = os.urandom(3 * PART_BYTES + 5)
    storage = storage_at(scripted)
    scripted.broken_answers = ["sound", how, how]
    storage.download("a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == scripted.stored
    assert scripted.broken_answers == []


def test_an_object_replaced_while_it_is_read_is_a_conflict(scripted: Scripted, tmp_path: Path):
    scripted.stored = os.urandom(2 * PART_BYTES)
    scripted.broken_answers = ["sound", "replaced"]
    with pytest.raises(Conflict, match="replaced while it was read"):
        storage_at(scripted).download("a", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_never_sends_all_of_it_is_unavailable(scripted: Scripted, tmp_path: Path):
    scripted.stored, scripted.broken_answers = b"content", ["cut off"] * 100
    with pytest.raises(StorageUnavailable, match="no answer from"):
        storage_at(scripted, patience_seconds=1).download("a", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        ((501, "NotImplemented"), "s3.checksums: when_required"),
        ((400, "AuthorizationHeaderMalformed"), "set `s3.region`"),
        ((403, "RequestTimeTooSkewed"), "the clock of this machine"),
        ((403, "ExpiredToken"), "have expired"),
        ((400, "InvalidArgument"), "check the place"),
        ((404, "WhatIsThis"), "check the place"),
    ],
)
def test_answers_that_will_not_change_come_with_a_remedy(scripted: Scripted, answer: tuple[int, str], remedy: str):
    scripted.puts = [answer]
    assert remedy in refusal(lambda: storage_at(scripted).write("a", b"1", expect=None))


@pytest.mark.parametrize(("checksums", "sent"), [("when_supported", True), ("when_required", False)])
def test_the_checksum_mode_is_passed_on(scripted: Scripted, tmp_path: Path, checksums: str, sent: bool):
    scripted.puts = [(200, "")] * 2
    storage = storage_at(scripted, checksums=checksums)
    storage.write("a", b"1", expect=None)
    (tmp_path / "file").write_bytes(b"1")
    storage.upload(tmp_path / "file", "b")
    for headers in scripted.headers_seen:
        assert any(name.lower().startswith(("x-amz-checksum", "x-amz-trailer")) for name in headers) == sent
    asked: list[str | None] = []
    storage._client.boto.meta.events.register(
        "before-send.s3", lambda request, **_: asked.append(request.headers.get("x-amz-checksum-mode"))
    )
    storage.read("a")
    assert asked == [b"ENABLED" if sent else None]


def test_an_error_has_no_chain_that_a_traceback_would_print(scripted: Scripted):
    with pytest.raises(NotFound) as absent:
        storage_at(scripted).read("a")
    assert isinstance(absent.value, AbetError)
    assert absent.value.__suppress_context__
