"""The image is made of what it should be, and of nothing else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    base, python, dependencies, abet = layers(builder)
    assert python < 1e6, "the base has one"
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


def test_the_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.is_file():
        unavailable("no hadolint: `make setup` installs it")
    done = subprocess.run([hadolint, ROOT / "docker" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
