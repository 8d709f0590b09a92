"""The image is made of what it should be, and of nothing else."""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import unavailable
from tests.image.conftest import PLANTED, Builder, inspect, layers

pytestmark = pytest.mark.image
ROOT = Path(__file__).parents[2]


def test_the_configuration_is_that_of_a_restricted_pod(builder: Builder, image: str) -> None:
    config = inspect(builder)["OCIv1"]["config"]
    assert config["User"] == "10001:0"
    assert config["Entrypoint"] == ["abet"]
    assert config["Labels"]["org.opencontainers.image.version"] == "0.1.0"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_what_abet_needs_is_a_layer_of_its_own_that_a_change_of_abet_leaves(builder: Builder, image: str) -> None:
    base, python, compiler, dependencies, abet = layers(builder)
    assert max(python, compiler) < 1e6, "the base has them"
    assert dependencies > 50 * abet
    assert builder.seconds["after a change of abet"] < builder.seconds["cold"] / 2
    print(f"base {base / 1e6:.0f} MB, dependencies {dependencies / 1e6:.0f} MB, abet {abet / 1e6:.1f} MB")


def test_planted_secrets_are_found_nowhere(builder: Builder, mounted: tuple[Path, dict[str, Any]]) -> None:
    assert PLANTED not in json.dumps(inspect(builder))
    found = subprocess.run(["grep", "-rlF", PLANTED, mounted[0]], capture_output=True, text=True, check=False)
    assert found.stdout == ""
    for name in (".git", ".env", "tests", "abet.site.yaml"):
        assert not (mounted[0] / "opt" / "abet" / "app" / name).exists()
    assert list((mounted[0] / "opt" / "abet").rglob("abet.site.yaml")) == []


def test_nothing_of_the_machine_that_built_it_is_left(builder: Builder, mounted: tuple[Path, dict[str, Any]]) -> None:
    settings = mounted[0] / "etc" / "pip.conf"
    assert not settings.exists() or settings.read_text() == ""  # where a file was mounted for the build
    assert str(builder.folder) not in json.dumps(inspect(builder)["OCIv1"])


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry of this machine's own: its address."""
    if shutil.which("docker-registry") is None:
        unavailable("no docker-registry (apt)")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": address},
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(tmp_path / "config.yml")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def test_what_is_pushed_is_named_by_its_digest(builder: Builder, image: str, checkout: Path, registry: str) -> None:
    settings = {"BUILDER": "buildah", "TAG": image, "REGISTRY": f"{registry}/perception"}
    quick = "--tls-verify=false --disable-compression"
    said = builder.run(checkout / "docker" / "build.sh", "push", **settings, PUSH_OPTIONS=quick)
    name = said.splitlines()[-1].removeprefix("image: ")
    place, _, digest = name.partition("@")
    assert place == f"{registry}/perception/abet-test"
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    url = f"http://{registry}/v2/perception/abet-test/manifests/{digest}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=accept)) as answer:
        assert f"sha256:{hashlib.sha256(answer.read()).hexdigest()}" == digest


def test_the_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.is_file():
        unavailable("no hadolint: `make setup` installs it")
    done = subprocess.run([hadolint, ROOT / "docker" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
