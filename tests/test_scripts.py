"""Shell scripts hold no known trap."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OTHERS = (ROOT / ".ci" / "run", ROOT / "docker" / "build.sh", ROOT / "tests" / "image" / "start.sh")
SCRIPTS = sorted([*(ROOT / "slurm" / "one-machine").glob("*.sh"), *OTHERS])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path):
    program = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([program, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_what_is_run_may_be_run_and_stops_at_an_error(script: Path):
    sourced = script.name == "common.sh"
    assert os.access(script, os.X_OK) != sourced
    assert ("\nset -euo pipefail\n" in script.read_text()) != sourced
