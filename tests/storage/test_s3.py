"""How a real S3 server fails, and what a user is told."""

import os
import shutil
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from abet.places import S3Uri
from abet.site import S3Settings
from abet.storage import (
    ABSENT,
    StorageUnavailable,
    open_storage,
)
from tests.s3_server import S3Server
from tests.storage.asking import KEY_ID, SECRET, closed_port, refusal, uses
from tests.storage.scripted import Scripted


def test_a_wrong_bucket_is_named_and_not_made(s3: S3Server, tmp_path: Path):
    for use in uses(open_storage(S3Uri("wrong-bucket", "run"), s3.settings), tmp_path).values():
        message = refusal(use)
        assert "there is no bucket 'wrong-bucket'" in message
        assert s3.endpoint in message
        assert "aws s3 mb s3://wrong-bucket" in message


def test_readonly_keys_read_but_do_not_write(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = s3.place("run")
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
    place = s3.place("run")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for use in uses(open_storage(place, s3.settings), tmp_path).values():
        message = refusal(use)
        assert "InvalidAccessKeyId (403)" in message
        assert "set AWS_ACCESS_KEY_ID" in message


def test_no_credentials_at_all_are_refused(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = s3.place("run")
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


@pytest.mark.faults
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


@pytest.mark.faults
def test_a_write_survives_a_server_that_restarts(s3: S3Server):
    storage = open_storage(s3.place("run"), s3.settings)
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
    storage = open_storage(s3.place("run"), s3.settings)
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
