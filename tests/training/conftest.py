"""Training processes that start at once and die on order."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from abet.files import sha256_of
from abet.run import CHECKPOINTS
from tests.training.tiny import tiny_data, tiny_recipe

ROOT = Path(__file__).parents[2]


@dataclass
class Zygote:
    """See `tests.training.zygote`."""

    process: "subprocess.Popen[str]"
    log: Path
    orders: int = 0

    def train(
        self,
        *arguments: object,
        processes: int = 1,
        kill: tuple[int, int] | None = None,
        mishap: tuple[str, int] | None = None,
        rank: int = 0,
    ) -> dict[str, Any]:
        """Run ``abet train ARGUMENTS``: exit codes, rank 0's events, and what was printed.

        ``kill`` ends rank kill[0] before its event kill[1]; ``mishap`` (see `tests.training.zygote`) happens to
        ``rank`` after that many steps.
        """
        self.orders += 1
        order = {
            "arguments": ["train", *map(str, arguments)],
            "processes": processes,
            "kill": kill,
            "mishap": [*mishap, rank] if mishap else None,
            "log": str(self.log.with_name(f"log-{self.orders:03d}")),
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the zygote died"
        return {**json.loads(answer), "log": Path(order["log"]).read_text(errors="replace")}


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    folder = tmp_path_factory.mktemp("zygote")
    command = [sys.executable, "-m", "tests.training.zygote"]
    with (
        (folder / "stderr").open("w") as errors,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == '{"ready": true}\n', (folder / "stderr").read_text()
        yield Zygote(process, folder / "log")
        assert process.stdin is not None
        process.stdin.close()


@dataclass(frozen=True)
class Tiny:
    """A recipe file, its data, and a place for run directories."""

    recipe: Path
    data: Path
    runs: Path
    options: tuple[object, ...] = field(default=())

    def arguments(self, run: str, *more: object) -> list[object]:
        """Of ``abet train``."""
        output = self.runs / run
        return [self.recipe, "--data-root", self.data, "--output", output, "--threads", 1, *self.options, *more]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("tiny")
    return Tiny(tiny_recipe(folder / "tiny.yaml"), tiny_data(folder / "data"), folder / "runs")


def final_state(run: Path) -> dict[str, str]:
    """SHA-256 of weights and momentum of the newest step, with its name."""
    newest = max(path for path in (run / CHECKPOINTS).iterdir() if path.name.startswith("step-"))
    return {"step": newest.name} | {path.name: sha256_of(path) for path in sorted(newest.glob("*.safetensors"))}
