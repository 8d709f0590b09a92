"""The house's import directions, and the promise that the command line answers at once."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "abet"

# room -> rooms that it must not reach: imports go config <- data, models <- evaluate <- cli
FORBIDDEN = {
    "config": {"data", "models", "evaluate", "cli", "detector", "report", "metrics", "scores"},
    "labels": {"data", "models", "evaluate", "cli", "detector", "report", "metrics", "scores"},
    "data": {"models", "evaluate", "cli", "detector", "report", "metrics", "scores"},
    "models": {"data", "evaluate", "cli", "detector", "report", "metrics", "scores"},
    "metrics": {"data", "models", "evaluate", "cli", "detector", "report", "scores"},
    "scores": {"data", "models", "evaluate", "cli", "detector", "report", "metrics"},
    "report": {"models", "data", "evaluate", "cli", "detector"},
    "detector": {"evaluate", "cli", "report", "metrics"},
    "evaluate": {"cli", "report"},
    "merge": {"cli", "report"},
}


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "abet" else [f"abet.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("abet.")}
    return found


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_go_one_way(room: str) -> None:
    place = PACKAGE / room
    files = list(place.rglob("*.py")) if place.is_dir() else [PACKAGE / f"{room}.py"]
    assert files
    wrong = {str(file.relative_to(ROOT)): bad for file in files if (bad := imported_rooms(file) & FORBIDDEN[room])}
    assert wrong == {}


@pytest.mark.parametrize(
    "module", ["abet", "abet.cli", "abet.config", "abet.site", "abet.labels", "abet.data.index", "abet.scores"]
)
def test_light_modules_import_no_torch(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'torchvision', 'cv2') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout == "[]\n"


def test_nothing_names_a_machine_path() -> None:
    """Committed text holds no absolute home or temporary path."""
    pattern = re.compile(r"(/root/|/home/\w+/|/tmp/\w+)")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.splitlines() if not name.endswith((".png", ".lock"))]
    found = [str(f.relative_to(ROOT)) for f in files if f.is_file() and pattern.search(f.read_text(errors="replace"))]
    assert [name for name in found if name != "tests/test_imports.py"] == []
