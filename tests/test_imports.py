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

# Every room of the package; each imports from those above its own line alone. A new room must be placed here.
LAYERS = (
    {"arrays", "cpus", "version", "errors", "install", "names", "text", "thresholds"},
    {"devices", "files", "labels", "places", "progress", "memory", "settings"},
    {"exits", "model_config", "run", "site"},
    {"config", "storage"},
    {"batching"},
    {"data", "distributed", "losses", "metrics", "mirror", "optim", "published_file"},
    {"checkpoint", "models", "promote", "report", "shard_set", "site_file", "sync", "windows"},
    {"companions", "component_shards", "estimates", "launch", "published", "regions", "remote", "samples", "scores"},
    {"second_pass", "shards", "staging"},
    {"begun", "calibration", "detector", "listing", "shard_check", "shard_wait"},
    {"arithmetic", "counting", "same_options"},
    {"controls", "evaluate", "merge", "paired_models", "predict", "compare", "submission", "training", "validate"},
    {"calibrate", "component_pass", "doctor", "fit", "reproduction", "train"},
    {"cli"},
    {"__main__"},
)
ROOMS = set.union(*LAYERS)


def files_of(room: str) -> list[Path]:
    place = PACKAGE / room
    return sorted(place.rglob("*.py")) if place.is_dir() else [PACKAGE / f"{room}.py"]


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


def test_every_room_has_its_place() -> None:
    there = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert there - {"__init__"} == ROOMS
    assert sum(map(len, LAYERS)) == len(ROOMS)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_imports_go_one_way(room: str) -> None:
    depth = next(depth for depth, rooms in enumerate(LAYERS) if room in rooms)
    allowed = {room}.union(*LAYERS[:depth])
    wrong = {str(file.relative_to(ROOT)): bad for file in files_of(room) if (bad := imported_rooms(file) - allowed)}
    assert wrong == {}


# --- jobs, which stand beside the package

JOBS = sorted((ROOT / "jobs").rglob("*.py"))
FOR_JOBS = {"batching", "begun", "config", "errors", "exits", "files", "mirror", "names", "places", "promote"} | {
    *("run", "second_pass", "settings", "shard_set", "shard_wait", "site", "storage", "text"),
}
# What runs on the bare Python of a node: the standard library, and of abet what needs no more
BARE = ("supervisor", "cluster", "attempts", "copying", "signals")
FOR_BARE = {"errors", "exits", "files", "text"}


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            # `from jobs import attempts` names a module by what is imported
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "jobs" else {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_jobs_know_little_of_the_package(path: Path) -> None:
    assert imported_rooms(path) - FOR_JOBS == set()


@pytest.mark.parametrize("name", BARE)
def test_what_runs_on_a_bare_node_needs_nothing_installed(name: str) -> None:
    path = ROOT / "jobs" / f"{name}.py"
    assert imported_rooms(path) - FOR_BARE == set()
    others = {module for module in imported_modules(path) if module.partition(".")[0] not in sys.stdlib_module_names}
    assert {module for module in others if not module.startswith("abet.")} <= {f"jobs.{name}" for name in BARE}
    # -I -S: neither installed packages nor the environment's paths
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import jobs.{name}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_nothing_in_the_package_knows_jobs() -> None:
    knowing = [path for path in PACKAGE.rglob("*.py") if any(m.split(".")[0] == "jobs" for m in imported_modules(path))]
    assert knowing == []


def test_jobs_import_nothing_that_computes_or_waits() -> None:
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in JOBS if path.stem != "__main__"]
    heavy = ("torch", "numpy", "boto3", "botocore", "PIL", "scipy", "matplotlib", "safetensors")
    code = f"import sys, {', '.join(modules)}; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout == "[]\n"


LIGHT = """abet abet.cli abet.config abet.model_config abet.site abet.places abet.storage abet.sync abet.labels
abet.scores abet.exits abet.launch abet.data.index abet.data.sampling abet.data.transforms abet.data.centroid_cache"""


def test_light_modules_import_no_torch() -> None:
    """One after the other in one process, which says where each of them stands."""
    code = f"""
import importlib, sys
for module in {LIGHT.split()}:
    importlib.import_module(module)
    print(module, [name for name in ("torch", "torchvision", "cv2") if name in sys.modules])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout == "".join(f"{module} []\n" for module in LIGHT.split())


def test_what_the_command_line_offers_is_told_without_what_computes_or_checks() -> None:
    heavy = ("torch", "numpy", "scipy", "pandas", "cv2", "PIL", "matplotlib", "boto3", "safetensors", "pydantic")
    code = f"""
import sys
from abet.cli.main import app
try:
    app(["--help"])
finally:
    print([name for name in {heavy} if name in sys.modules])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "evaluate" in result.stdout
    assert result.stdout.endswith("\n[]\n")


def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_nothing_names_a_machine_path() -> None:
    pattern = re.compile(r"/(root|home/\w+|tmp/\w+)\b")
    assert [path.name for path in committed() if pattern.search(path.read_text(errors="replace"))] == []


def test_every_relative_link_of_the_documentation_exists() -> None:
    pages = [path for path in committed() if path.suffix == ".md"]
    assert pages
    for page in pages:
        text = page.read_text()
        links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
        assert [link for link in links if not (page.parent / link).exists()] == [], page
        assert not re.search(r"^[A-Z]{4,}(_[A-Z]+)*$|\b[A-Z]+_SECONDS\b", text, re.MULTILINE), f"placeholder in {page}"
