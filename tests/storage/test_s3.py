"""How S3 fails, and what a user is told: on a real server, and on one that answers what is hard to provoke."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from abet.errors import AbetError
from abet.places import S3Uri
from abet.site import S3Settings
from abet.storage import (
    ABSENT,
    Conflict,
    NotFound,
    Storage,
    StorageRefused,
    StorageUnavailable,
    open_storage,
    require_writable,
)
from abet.storage.s3_parts import PART_BYTES
from tests.s3_server import S3Server

SECRET = "planted-secret-value"
KEY_ID = "PLANTEDKEYID"


def uses(storage: Storage, tmp_path: Path) -> dict[str, Callable[[], object]]:
    """Every way to ask something of a storage."""
    (tmp_path / "file").write_bytes(b"content")
    return {
        "list": storage.list,
        "read": lambda: storage.read("a"),
        "write": lambda: storage.write("a", b"", expect=None),
        "write if absent": lambda: storage.write("a", b"", expect=ABSENT),
        "write if still": lambda: storage.write("a", b"", expect="0123"),
        "upload": lambda: storage.upload(tmp_path / "file", "a"),
        "download": lambda: storage.download("a", tmp_path / "target"),
        "delete": lambda: storage.delete(["a"]),
        "try": lambda: require_writable(storage),
    }


def refusal(use: Callable[[], object]) -> str:
    """The message of a refusal that no retry would change."""
    start = time.monotonic()
    with pytest.raises(StorageRefused) as refused:
        use()
    assert refused.value.exit_code == 2
    assert time.monotonic() - start < 5
    assert SECRET not in str(refused.value)
    assert KEY_ID not in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_wrong_bucket_is_named_and_not_made(s3: S3Server, tmp_path: Path):
    for use in uses(open_storage(S3Uri("wrong-bucket", "run"), s3.settings), tmp_path).values():
        message = refusal(use)
        assert "there is no bucket 'wrong-bucket'" in message
        assert s3.endpoint in message
        assert "aws s3 mb s3://wrong-bucket" in message


def test_readonly_keys_read_but_do_not_write(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = S3Uri(s3.bucket(), "run")
    open_storage(place, s3.settings).write("a", b"1", expect=ABSENT)
    for name, value in s3.readonly_env.items():
        monkeypatch.setenv(name, value)
    storage = open_storage(place, s3.settings)
    assert storage.read("a")[0] == b"1"
    assert [entry.name for entry in storage.list()] == ["a"]
    asked = uses(storage, tmp_path)
    for name in ("write", "write if absent", "write if still", "upload", "try"):
        assert "AccessDenied (403)" in (message := refusal(asked[name]))
        assert f"do not have s3:PutObject on bucket {place.bucket!r}" in message
    assert f"do not have s3:DeleteObject on bucket {place.bucket!r}" in refusal(asked["delete"])


def test_wrong_keys_are_refused(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = S3Uri(s3.bucket(), "run")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for use in uses(open_storage(place, s3.settings), tmp_path).values():
        message = refusal(use)
        assert "InvalidAccessKeyId (403)" in message
        assert "set AWS_ACCESS_KEY_ID" in message


def test_no_credentials_at_all_are_refused(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = S3Uri(s3.bucket(), "run")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for use in uses(open_storage(place, s3.settings), tmp_path).values():
        assert "no credentials found; set AWS_ACCESS_KEY_ID" in refusal(use)


def test_an_unknown_profile_is_refused(s3: S3Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "AWS_PROFILE names a profile" in refusal(lambda: open_storage(S3Uri("bucket"), s3.settings))


@pytest.mark.parametrize("endpoint", ["http://", "http://a b", "https://[::1"])
def test_an_endpoint_that_is_no_url_is_refused(s3: S3Server, endpoint: str):
    message = refusal(lambda: open_storage(S3Uri("bucket"), S3Settings(endpoint=endpoint)).list())
    assert "check `s3.endpoint` in the site file" in message


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_no_answer_is_said_within_the_patience(s3: S3Server, tmp_path: Path, host: str):
    settings = S3Settings(endpoint=f"http://{host}:{closed_port()}", patience_seconds=1)
    for name, use in uses(open_storage(S3Uri("bucket", "run"), settings), tmp_path).items():
        start = time.monotonic()
        with pytest.raises(StorageUnavailable) as lost:
            use()
        assert time.monotonic() - start < 4, name
        assert lost.value.exit_code == 1
        assert f"no answer from {settings.endpoint} within 1 s" in str(lost.value)
        assert "`s3.endpoint` in the site file" in str(lost.value)
    assert not (tmp_path / "target").exists()


def test_a_write_survives_a_server_that_restarts(s3: S3Server):
    storage = open_storage(S3Uri(s3.bucket(), "run"), s3.settings)
    version = storage.write("a", b"1", expect=ABSENT)
    s3.kill()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(storage.write, "a", b"2", expect=version)
        time.sleep(0.5)
        s3.start()
        version = writing.result(60)
    assert storage.read("a") == (b"2", version)


@pytest.mark.faults
@pytest.mark.parametrize("after_seconds", [0.1, 0.3])
def test_an_upload_survives_a_server_killed_and_restarted(s3: S3Server, tmp_path: Path, after_seconds: float):
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(96 * 2**20))
    storage = open_storage(S3Uri(s3.bucket(), "run"), s3.settings)
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(storage.upload, source, "big")
        time.sleep(after_seconds)
        assert not upload.done(), "too fast to be killed: take a larger file"
        s3.kill()
        time.sleep(0.5)
        assert not upload.done()
        s3.start()
        upload.result(120)
        download = pool.submit(storage.download, "big", back)
        time.sleep(after_seconds)
        s3.kill()
        s3.start()
        download.result(120)
    assert back.read_bytes() == source.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "source"]


class Scripted(ThreadingHTTPServer):
    """Answers PUT with what `puts` holds, one after the other; keeps the bytes of those that `stores` says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.puts: list[tuple[int, str]] = []
        self.stored: bytes | None = None
        self.keep_when_failing = False
        self.broken_answers: list[str] = []
        self.headers_seen: list[dict[str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.headers_seen.append(dict(self.headers))
        status, code = self.server.puts.pop(0)
        if status == 200 or (status == 500 and self.server.keep_when_failing):
            self.server.stored = body
        self.answer(status, code)

    def do_GET(self) -> None:
        if self.server.broken_answers and "list-type" not in self.path:
            self.break_off(self.server.broken_answers.pop(0))
        elif "list-type" in self.path:
            self.answer(200, "", b"<ListBucketResult/>")
        elif self.server.stored is None:
            self.answer(404, "NoSuchKey")
        else:
            self.send_stored()

    def break_off(self, how: str) -> None:
        """An answer that is not what it seems."""
        if how == "sound":
            self.send_stored()
            return
        if how == "replaced":
            self.answer(412, "PreconditionFailed")
            return
        assert self.server.stored is not None
        first, last = self.asked_range()
        content = self.server.stored[:8] if how == "other range" else self.server.stored[first:last]
        self.send_response(200 if last is None else 206)
        self.send_header("Content-Length", "0" if how == "empty" else str(len(content)))
        if how != "empty":
            self.send_header("ETag", '"1"')
        if last is not None and how != "empty":
            self.send_header("Content-Range", f"bytes {0 if how == 'other range' else first}-{last - 1}/100000000")
        if how == "wrong checksum":
            self.send_header("x-amz-checksum-crc32", "AAAAAA==")
        self.end_headers()
        self.wfile.write({"empty": b"", "cut off": content[: len(content) // 2]}.get(how, content))
        self.close_connection = True

    def asked_range(self) -> tuple[int, int | None]:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        return (int(match[1]), int(match[2]) + 1) if match else (0, None)

    def send_stored(self) -> None:
        assert self.server.stored is not None
        first, last = self.asked_range()
        part = self.server.stored[first:last]
        self.send_response(200 if last is None else 206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", '"1"')
        if last is not None:
            self.send_header("Content-Range", f"bytes {first}-{last - 1}/{len(self.server.stored)}")
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(part)

    def answer(self, status: int, code: str, body: bytes = b"") -> None:
        body = body or (f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode() if code else b"")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{len(self.server.headers_seen)}"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def storage_at(server: Scripted, **settings: object) -> Storage:
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    return open_storage(S3Uri("bucket", "run"), S3Settings(endpoint=endpoint, **settings))


def test_a_certificate_that_is_not_trusted_is_refused(scripted: Scripted, tmp_path: Path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout key -out certificate"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    scripted.socket = context.wrap_socket(scripted.socket, server_side=True)
    endpoint = f"https://127.0.0.1:{scripted.server_address[1]}"
    message = refusal(lambda: open_storage(S3Uri("bucket"), S3Settings(endpoint=endpoint)).list())
    assert f"the certificate of {endpoint} is not trusted here; set AWS_CA_BUNDLE" in message


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


@pytest.mark.parametrize("patience_seconds", [1, 120])  # our own retries, and botocore's
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
