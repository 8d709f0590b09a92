"""A site, the command line of the jobs, and programs that stand in for SLURM's and for abet itself."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from abet.promote import Candidate, promote
from abet.site import TRUNK_FILE, SiteConfig, load_site
from jobs.cli import main
from tests.conftest import Finished

ROOT = Path(__file__).parents[2]

# Everything that a shell could trip over, and that a path may hold
FOLDER = """it's "a" path; $(touch hacked) `touch hacked` #1 & {x} *"""
"""A folder that SLURM can write logs to."""
HOSTILE = FOLDER + " \\"
"""What reaches a command unchanged; as a folder of logs it is refused."""

# Notes its arguments and ends as it is told; with `-m jobs.supervisor` or submitit it is the real Python
PYTHON = """#!{python}
import json, os, sys
words = sys.argv[1:]
if "-m" in words and words[words.index("-m") + 1] != "abet":
    os.execv({python!r}, [{python!r}, *words])
with open(os.environ["NOTED"], "a") as file:
    file.write(json.dumps(words) + "\\n")
sys.exit(int(os.environ.get("ENDS", "0")))
"""
# Runs what follows its own options, on one node
SRUN = """#!{python}
import json, os, sys
words = sys.argv[1:]
with open(os.environ["NOTED"], "a") as file:
    file.write(json.dumps(["srun", *words]) + "\\n")
while words[0].startswith("-"):
    words = words[2:] if words[0] in ("--output", "--error") else words[1:]
os.execvp(words[0], words)
"""
# Numbers jobs from 101; refuses the one whose script holds the words in $REFUSED
SBATCH = """#!{python}
import os, sys
from pathlib import Path
text = Path(sys.argv[-1]).read_text()
if os.environ.get("REFUSED", "no such words") in text:
    sys.exit("sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified")
scripts = Path(os.environ["SCRIPTS"])
number = 101 + len(list(scripts.iterdir()))
(scripts / f"{{number}}").write_text(text)
print("Submitted batch job", number)
"""
# Notes its arguments
NOTING = """#!{python}
import json, os, sys
with open(os.environ["NOTED"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
"""

# Stands in for abet under a supervisor: does one thing after the other
CHILD = """
import json, os, signal, sys, time
from pathlib import Path
from abet.exits import leave_verdict, record_progress
said = []
for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
    signal.signal(number, lambda number, frame: said.append(signal.Signals(number).name))
for todo in sys.argv[1:]:
    word, _, value = todo.partition(":")
    if word == "print":
        print(value, flush=True)
        print(f"err {value}", file=sys.stderr, flush=True)
    elif word == "deaf":
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, signal.SIG_DFL)
    elif word == "ready":
        Path(value).touch()
    elif word == "wait":
        started = time.monotonic()
        while len(said) < int(value):
            time.sleep(0.01)
            if time.monotonic() > started + 15:
                sys.exit(f"after 15 s: {said}")
        print(*said, flush=True)
    elif word == "keep":
        record_progress(int(value))
    elif word == "say":
        leave_verdict(0, value)
    elif word == "damage":
        Path(os.environ["ABET_VERDICT_FILE"]).write_text("{")
    elif word == "die":
        os.kill(os.getpid(), int(value))
    elif word == "fill":  # as a full disk
        import shutil
        shutil.rmtree(value)
        Path(value).touch()
    elif word == "environment":
        print(json.dumps({name: text for name, text in os.environ.items() if name.startswith("ABET_")}), flush=True)
    elif word == "exit":
        sys.exit(int(value))
"""


def program(path: Path, text: str) -> Path:
    """An executable script of one of the texts above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(python=sys.executable))
    path.chmod(0o755)
    return path


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    """What the programs that stand in were called with, in order."""
    path = tmp_path / "noted.jsonl"
    monkeypatch.setenv("NOTED", str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def fake_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: Callable[[], list[list[str]]]
) -> Callable[[], dict[str, str]]:
    """sbatch, srun and scancel on PATH; the scripts that sbatch took, by number."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "scancel": NOTING, "scontrol": NOTING}.items():
        program(tmp_path / "bin" / name, text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SCRIPTS", str(scripts))
    return lambda: {path.name: path.read_text() for path in sorted(scripts.iterdir())}


def write_site(path: Path, **values: object) -> Path:
    """A site file with all data sets, and further values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {name: f"/data/{name}" for name in ("cityscapes", "mapillary", "road_anomaly", "lost_and_found")}
    path.write_text(yaml.safe_dump({"data": data, **values}))
    return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteConfig:
    """A site whose artifacts and records lie below the test's folder, with a trunk to start from."""
    monkeypatch.setenv("ABET_SITE", str(write_site(tmp_path / "site" / "abet.site.yaml")))
    found = load_site()
    found.weights.mkdir(parents=True, exist_ok=True)
    (found.weights / TRUNK_FILE).touch()
    return found


def promoted(site: SiteConfig, num_classes: int, name: str = "run") -> Path:
    checkpoint = Path(f"/somewhere/{name}")
    candidate = Candidate(checkpoint=checkpoint, sha256="0" * 64, num_classes=num_classes, head="learned", dataset=None)
    promote(candidate, site.artifacts, site.s3)
    return checkpoint


def option(command: tuple[str, ...], name: str) -> str | None:
    return command[command.index(name) + 1] if name in command else None


@dataclass(frozen=True)
class Jobs:
    """``python -m jobs``: in this process, or, with `real`, in one of its own."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *arguments: object) -> Finished:
        self.monkeypatch.setattr("sys.argv", ["python -m jobs", *map(str, arguments)])
        self.capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = self.capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    @staticmethod
    def real(*arguments: object) -> Finished:
        """From the checkout, as users do."""
        command = [sys.executable, "-m", "jobs", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Jobs:
    """Runs ``python -m jobs ARGS...``."""
    return Jobs(capsys, monkeypatch)


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """What calls the stand-in."""
    path = tmp_path / "child.py"
    path.write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return (sys.executable, str(path))
