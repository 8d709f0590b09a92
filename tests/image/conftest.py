"""The image, built by `docker/build.sh` on a base made on the spot, and what it does as Kubernetes would start it.

``ABET_IMAGE_TABLE=FILE`` writes how long building took and how large each layer is.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import unavailable
from tests.image.pip_here import pip_options

ROOT = Path(__file__).parents[2]
BASE, TAG = "localhost/abet-test-base", "localhost/abet-test:1"
PROGRAMS = ("buildah", "mmdebstrap", "runc", "unshare", "chroot")
LAYERS = (
    "base (Debian 12 with Python 3.11)",
    "Python, where the base lacks it",
    "a compiler, where the base lacks it",
    "what abet needs",
    "abet",
)
PLANTED = "planted-value-7f3a"
"""Stands in the environment, the site file and a .env file while the image is built."""


@dataclass
class Builder:
    """buildah with a storage of its own."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
            "AWS_SECRET_ACCESS_KEY": PLANTED,
        }

    def run(self, *command: object, cwd: Path | None = None, **env: str) -> str:
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=cwd, env=self.env | env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout

    def timed(self, what: str, *command: object, cwd: Path | None = None, **env: str) -> str:
        start = time.monotonic()
        out = self.run(*command, cwd=cwd, **env)
        self.seconds[what] = time.monotonic() - start
        return out


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent or os.getuid():
        unavailable(f"building and starting the image needs root and {', '.join(PROGRAMS)} (apt); absent: {absent}")
    made = Builder(tmp_path_factory.mktemp("image"))
    lines = ["[storage]", 'driver = "overlay"', f'runroot = "{made.folder}/run"', f'graphroot = "{made.folder}/graph"']
    (made.folder / "storage.conf").write_text("\n".join([*lines, ""]))
    yield made
    subprocess.run(["buildah", "rm", "--all"], env=made.env, capture_output=True, check=False)
    subprocess.run(["buildah", "rmi", "--all", "--force"], env=made.env, capture_output=True, check=False)
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def base(builder: Builder) -> str:
    """Debian with Python and a compiler, as a machine without a registry makes it."""
    tar = builder.folder / "base" / "rootfs.tar"
    tar.parent.mkdir()
    include = "--include=ca-certificates,python3,python3-venv,python3-dev,g++"
    builder.run("mmdebstrap", "--quiet", "--variant=minbase", include, "bookworm", tar)
    (tar.parent / "Dockerfile").write_text("FROM scratch\nADD rootfs.tar /\n")
    builder.run("buildah", "build", "--tag", BASE, tar.parent)
    tar.unlink()
    return BASE


@pytest.fixture(scope="session")
def checkout(builder: Builder) -> Path:
    """What is committed, and what a user keeps beside it."""
    folder = builder.folder / "checkout"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "abet.site.yaml").write_text(f"# {PLANTED}\nartifacts: runs\n")
    (folder / ".env").write_text(f"AWS_SECRET_ACCESS_KEY={PLANTED}\n")
    (folder / "abet" / "abet.site.yaml").write_text(f"# {PLANTED}\n")
    return folder


@pytest.fixture(scope="session")
def image(builder: Builder, base: str, checkout: Path) -> Iterator[str]:
    """The image's name."""
    options = " ".join(pip_options(builder.folder))
    build = (checkout / "docker" / "build.sh",)
    settings = {"BUILDER": "buildah", "BASE": base, "TAG": TAG, "BUILD_OPTIONS": options}
    builder.timed("cold", *build, **settings)
    with (checkout / "abet" / "version.py").open("a") as file:
        file.write("# changed\n")
    builder.timed("after a change of abet", *build, **settings)
    yield TAG
    if path := os.environ.get("ABET_IMAGE_TABLE"):
        builder.timed("unchanged", *build, **settings)
        Path(path).write_text(table(builder), encoding="utf-8")


def inspect(builder: Builder) -> dict[str, Any]:
    """The image's configuration, history included."""
    return json.loads(builder.run("buildah", "inspect", "--type", "image", TAG))


def layers(builder: Builder) -> list[int]:
    """Bytes of each layer, the base's first."""
    known = json.loads((builder.folder / "graph" / "overlay-layers" / "layers.json").read_text())
    by_digest = {each.get("diff-digest"): each["diff-size"] for each in known}
    return [by_digest[digest] for digest in inspect(builder)["OCIv1"]["rootfs"]["diff_ids"]]


def table(builder: Builder) -> str:
    rows = [f"| {name} | {size / 1e6:.1f} |" for name, size in zip(LAYERS, layers(builder), strict=True)]
    times = [f"| {what} | {seconds:.0f} |" for what, seconds in builder.seconds.items()]
    return "\n".join(["| layer | MB |", "|---|---|", *rows, "", "| build | seconds |", "|---|---|", *times, ""])


@dataclass
class Container:
    """The image's root file system, and how it is started: read-only, as some user, as process 1 of its own."""

    root: Path
    config: dict[str, Any]
    folder: Path

    def command(
        self, *words: object, uid: int = 10001, entrypoint: bool = True, env: dict[str, str] | None = None
    ) -> list[str]:
        """The command that starts it. ``/data`` and ``/workspace`` are folders of the test, the latter for runs."""
        given = dict(entry.split("=", 1) for entry in self.config["Env"]) | (env or {})
        start = [*(self.config["Entrypoint"] if entrypoint else []), *map(str, words)]
        script = Path(__file__).with_name("start.sh")
        variables = [f"{key}={value}" for key, value in given.items()]
        namespaces = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
        return [*namespaces, str(script), str(self.root), str(self.folder), str(uid), "env", "-i", *variables, *start]

    def run(self, *words: object, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words, **more), capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="session")
def mounted(builder: Builder, image: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    name = builder.run("buildah", "from", image).strip()
    root = Path(builder.run("buildah", "mount", name).strip())
    yield root, inspect(builder)["OCIv1"]["config"]
    builder.run("buildah", "umount", name)
    builder.run("buildah", "rm", name)


@pytest.fixture
def container(mounted: tuple[Path, dict[str, Any]], tmp_path: Path) -> Container:
    for name in ("data", "workspace"):
        (tmp_path / name).mkdir()
    (tmp_path / "workspace").chmod(0o777)
    tmp_path.chmod(0o755)
    return Container(*mounted, tmp_path)
