"""The S3 server that other tests rely on does what they rely on."""

import os
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.s3_server import SCRIPTS, S3Server, free_ports


def client(s3: S3Server) -> Any:
    """A client with the keys that the environment holds."""
    import boto3

    return boto3.Session().client("s3", endpoint_url=s3.endpoint, region_name="us-east-1")


def refusal(call: Any, **arguments: Any) -> str:
    """S3's code for the refusal of a call."""
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return str(refused.value.response["Error"]["Code"])


def test_conditions_of_a_put_are_held(s3: S3Server):
    bucket, store = s3.bucket(), client(s3)
    tag = store.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    assert refusal(store.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == "PreconditionFailed"
    store.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=tag)
    assert refusal(store.put_object, Bucket=bucket, Key="k", Body=b"4", IfMatch=tag) == "PreconditionFailed"
    assert store.get_object(Bucket=bucket, Key="k")["Body"].read() == b"3"


def test_readonly_keys_read_and_list_but_do_not_write(s3: S3Server, monkeypatch: pytest.MonkeyPatch):
    bucket = s3.bucket()
    client(s3).put_object(Bucket=bucket, Key="k", Body=b"1")
    for name, value in s3.readonly_env.items():
        monkeypatch.setenv(name, value)
    reader = client(s3)
    assert reader.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    assert [entry["Key"] for entry in reader.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]
    assert refusal(reader.put_object, Bucket=bucket, Key="k", Body=b"2") == "AccessDenied"
    assert refusal(reader.delete_object, Bucket=bucket, Key="k") == "AccessDenied"


def test_wrong_keys_are_refused(s3: S3Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    assert refusal(client(s3).list_objects_v2, Bucket=s3.bucket()) == "InvalidAccessKeyId"


@pytest.mark.faults
def test_what_was_stored_outlives_a_kill(s3: S3Server):
    bucket = s3.bucket()
    client(s3).put_object(Bucket=bucket, Key="k", Body=b"1" * 2**20)
    s3.kill()
    s3.start()
    assert client(s3).get_object(Bucket=bucket, Key="k")["Body"].read() == b"1" * 2**20


def test_keys_are_private(s3: S3Server):
    for name in ("credentials", "credentials-readonly", "s3.json"):
        assert stat.S_IMODE((s3.state / name).stat().st_mode) == 0o600


def up(**env: object) -> subprocess.CompletedProcess[str]:
    """``s3-up.sh`` with variables."""
    environment = os.environ | {name: str(value) for name, value in env.items()}
    return subprocess.run([SCRIPTS / "s3-up.sh"], env=environment, capture_output=True, text=True, check=False)


def test_starting_twice_changes_nothing(s3: S3Server):
    before = (s3.state / "pid").read_text()
    began = time.monotonic()
    s3.start()
    assert (s3.state / "pid").read_text() == before
    assert time.monotonic() - began < 5


def test_ports_that_are_taken_are_named(s3: S3Server):
    root = Path(tempfile.gettempdir()) / f"abet-none-{os.getpid()}"
    done = up(ABET_CLUSTER_ROOT=root, ABET_S3_PORT=s3.port - 3)
    assert done.returncode == 1
    assert done.stderr.startswith(f"s3-up: port {s3.port} is taken; set ABET_S3_PORT")
    assert not root.exists()


@pytest.mark.parametrize("port", ["http", "80", "65535", "$(exit 1)", "1e4"])
def test_a_port_that_is_none_is_refused(port: str):
    done = up(ABET_S3_PORT=port)
    assert done.returncode == 1
    assert f"ABET_S3_PORT={port}: expected a port" in done.stderr


@pytest.mark.parametrize("name", ["a b", "a'b", "a;b", "a\nb"])
def test_paths_that_configuration_files_cannot_hold_are_refused(tmp_path: Path, name: str):
    done = up(ABET_CLUSTER_ROOT=tmp_path / name)
    assert done.returncode == 1
    assert "use letters, digits and / . _ - alone" in done.stderr
    assert not (tmp_path / name).exists()


def test_paths_too_long_for_a_socket_are_refused(tmp_path: Path):
    done = up(ABET_CLUSTER_ROOT=tmp_path / ("long" * 30), ABET_S3_PORT=free_ports(8))
    assert done.returncode == 1
    assert "paths of sockets end at 107, so use 65 at most" in done.stderr
