"""How pip reaches its packages on this machine, as options for a build: its settings, and the files that they name."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def pip_options(folder: Path) -> list[str]:
    """Volumes for `buildah build`: a pip.conf made of all settings here, certificates, and folders of packages."""
    settings = dict(_settings())
    conf = folder / "pip.conf"
    conf.write_text("\n".join(["[global]", *(f"{key} = {value}" for key, value in settings.items()), ""]))
    volumes = {f"{conf}:/etc/pip.conf:ro"}
    for path in [CERTIFICATES, *(path for value in settings.values() for path in _paths(value))]:
        if path.exists():
            volumes.add(f"{path}:{path}:ro")
    return [word for volume in sorted(volumes) for word in ("--volume", volume)]


def _settings() -> Iterator[tuple[str, str]]:
    """Key and value, the environment's last: they count more."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        yield name.rpartition(".")[2], value.strip("'\"")


def _paths(value: str) -> Iterator[Path]:
    for word in value.split():
        path = word.removeprefix("file://")
        if path.startswith("/"):
            yield Path(path).parents[0] if path.endswith("/simple") else Path(path)
