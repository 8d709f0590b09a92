"""Training processes that start at once and die on order."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from abet.checkpoint import read_best
from abet.files import sha256_of
from abet.run import CHECKPOINTS
from abet.training.commit import commit
from abet.training.ownership import Ownership
from abet.training.tracking import read_metrics
from tests.conftest import Cli, Finished
from tests.s3_server import S3Server
from tests.training.committed import OLD, steps
from tests.training.tiny import tiny_data, tiny_recipe
from tests.trees import make_cityscapes

if TYPE_CHECKING:
    from tests.training.remote import Remote

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
        nodes: int = 1,
        env: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Run ``abet train ARGUMENTS``: exit codes, rank 0's events, and what was printed.

        ``kill`` ends rank kill[0] before its event kill[1]; ``mishap`` (see `tests.training.zygote`) happens to
        ``rank`` after that many steps. ``env`` is added to the environment.
        """
        self.begin(*arguments, processes=processes, kill=kill, mishap=mishap, rank=rank, nodes=nodes, env=env)
        return self.end()

    def begin(
        self,
        *arguments: object,
        processes: int = 1,
        kill: tuple[int, int] | None = None,
        mishap: tuple[str, int] | None = None,
        rank: int = 0,
        nodes: int = 1,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """The same, without waiting; `end` must follow."""
        self.orders += 1
        order = {
            "arguments": ["train", *map(str, arguments)],
            "processes": processes,
            "kill": kill,
            "mishap": [*mishap, rank] if mishap else None,
            "nodes": nodes,
            "env": dict(env or {}),
            "log": str(self.log.with_name(f"log-{self.orders:03d}")),
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """Wait for what was begun."""
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        assert answer, "the zygote died"
        log = self.log.with_name(f"log-{self.orders:03d}")
        return {**json.loads(answer), "log": log.read_text(errors="replace")}


def new_zygote(folder: Path) -> Iterator[Zygote]:
    """A process that forks trainers, until the fixture that yields from here ends."""
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


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    yield from new_zygote(tmp_path_factory.mktemp("zygote"))


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


# Everything that follows from the epoch: where crops lie, whether coarse labels join in, the loss, the rate
UNIFORM: Mapping[str, Mapping[str, Any]] = {
    "sampling": {
        **{"class_uniform_share": 0.95, "tile_pixels": 16, "last_boosted_epoch": 0},
        **{"boost_split": "train_extra", "boost_classes": [3, 4, 12]},
    },
    "loss": {
        **{"kind": "relaxed", "class_weight_bound": 1.0, "strict_classes": [5, 6], "last_relaxed_epoch": 0},
        "images_summed": 2.0,
    },
    "optimiser": {"schedule_unit": "epoch", "second_phase": {"from_epoch": 1, "rescale": 0.5, "poly_exponent": 1.5}},
}


@pytest.fixture(scope="session")
def uniform(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Class-uniform sampling, relaxed boundaries and two phases: six steps, the last one in the second epoch."""
    folder = tmp_path_factory.mktemp("uniform")
    data = tiny_data(folder / "data", count=20)
    make_cityscapes(data, split="train_extra", count=3, size=(48, 64), seed=200)
    return Tiny(tiny_recipe(folder / "uniform.yaml", UNIFORM), data, folder / "runs")


def final_state(run: Path) -> dict[str, Any]:
    """SHA-256 of weights and momentum of the newest step, with its name; what was validated, and the best of it."""
    newest = max(path for path in (run / CHECKPOINTS).iterdir() if path.name.startswith("step-"))
    rows = [(row["step"], row["miou"]) for row in read_metrics(run) if row["kind"] == "validation"]
    files = {path.name: sha256_of(path) for path in sorted(newest.glob("*.safetensors"))}
    return {"step": newest.name, "best": read_best(run), "validations": rows, **files}


@pytest.fixture(scope="session")
def finished(zygote: Zygote, tiny: Tiny) -> Path:
    """A run that went through undisturbed."""
    result = zygote.train(*tiny.arguments("finished"))
    assert result["codes"] == [0], result["log"]
    return tiny.runs / "finished"


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command changes of this process is put back."""
    monkeypatch.setattr(torch, "set_num_threads", lambda _number: None)


def train(cli: Cli, tiny: Tiny, run: Path, *more: object) -> Finished:
    """``abet train`` in this process: for what is refused before anything starts."""
    return cli("train", tiny.recipe, "--data-root", tiny.data, "--output", run, *more)


def refused(result: Finished, code: int, *said: str) -> None:
    """Assert that ``result`` ended with ``code`` and one message that says all of ``said``."""
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    for text in said:
        assert text in result.err


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the best step 10 and the last steps 20 and 30."""
    run = tmp_path_factory.mktemp("before") / "run"
    for state in OLD.values():
        commit(Ownership.take(run), state, keep_last=2)
    assert steps(run) == [30, 20, 10]
    return run


@pytest.fixture
def remote(s3: S3Server, zygote: Zygote, tiny: Tiny, tmp_path: Path) -> "Remote":
    """A place in S3, and a machine that trains into it."""
    from tests.training.remote import Remote

    return Remote(s3, zygote, tiny, s3.place("site"), tmp_path)
