"""The light install: it submits, moves and promotes, and says in one line what it cannot do."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from abet.install import FULL_INSTALL
from tests.conftest import Finished

ROOT = Path(__file__).parents[1]


def light(*arguments: object, code: str = "from abet.cli import main; main()") -> Finished:
    """``abet ARGS...`` where none of the packages of the full install can be imported."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({list(FULL_INSTALL)}))\nsys.argv[0] = 'abet'\n"
    command = [sys.executable, "-c", hidden + code, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": "/"}
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def test_the_full_install_is_what_the_project_file_says() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["full"]
    assert sorted(FULL_INSTALL.values()) == sorted(re.split(r"[<>=]", requirement)[0] for requirement in extra)


COMPUTING = [
    ("evaluate", "--dataset", "road_anomaly", "--data-root", "x", "--checkpoint", "x"),
    ("train", "demo_pretrain", "--data-root", "x", "--output", "out"),
    ("merge", "run", "--dataset", "road_anomaly"),
    ("report", "run"),
    ("predict", "--input", "x.png", "--output", "out"),
    ("data", "check", "road_anomaly", "x"),
    ("controls", "--dataset", "road_anomaly", "--data-root", "x", "--train-root", "x"),
]
ONE_AFTER_THE_OTHER = f"""
import contextlib, io, json
from abet.cli import main
for arguments in {COMPUTING}:
    sys.argv[1:] = arguments
    said, code = io.StringIO(), 0
    with contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([arguments[0], code, said.getvalue()]))
"""


def test_a_command_that_computes_ends_with_one_line() -> None:
    finished = light(code=ONE_AFTER_THE_OTHER)
    answers = [json.loads(line) for line in finished.out.splitlines()]
    assert len(answers) == len(COMPUTING), finished.err
    for command, code, said in answers:
        assert code == 2, command
        assert re.fullmatch(
            r"abet: error: this command computes, and \w+ is not installed here: "
            r"pip install 'abet-ood\[full\]' \(in a checkout: make setup\)\n",
            said,
        ), (command, said)
    assert not Path("out").exists()


def test_what_needs_no_full_install_runs_without_it() -> None:
    assert light("init", "--yes").code == 0
    finished = light("doctor", "--json")
    assert finished.code == 0, finished.out + finished.err
    checks = {check["name"]: check for check in json.loads(finished.out)["checks"]}
    assert checks["install"]["found"].startswith("light: abet")
    assert "pip install" in checks["install"]["found"]
    assert light("checkpoint", "ls", ".").code == 0
    assert light("show-config", "demo_pretrain").code == 0


def test_half_an_install_is_a_problem() -> None:
    finished = light(code="del sys.modules['numpy']; from abet.cli import main; sys.argv[1:] = ['doctor']; main()")
    assert finished.code == 3
    assert re.search(r"^problem  install .*incomplete: no torch, ", finished.out, re.MULTILINE)


def test_whoever_submits_imports_neither_arrays_nor_boto3() -> None:
    """One after the other in one process, which says where each of them stands."""
    modules = ("promote", "shard_set", "mirror", "site_file", "doctor", "listing", "remote")
    code = f"""
import importlib
for module in {modules}:
    importlib.import_module(f"abet.{{module}}")
    print(module, [name for name in {(*FULL_INSTALL, "boto3")} if sys.modules.get(name)])
"""
    finished = light(code=code)
    assert finished.out == "".join(f"{module} []\n" for module in modules), finished.err
