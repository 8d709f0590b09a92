"""Fixtures that several rooms share."""

import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from abet import checkpoint
from abet.cli import main
from abet.config import load_recipe
from abet.model_config import ModelConfig, TemperatureModel
from tests import s3_server
from tests.s3_server import S3Server
from tests.trees import make_road_anomaly

if TYPE_CHECKING:
    from abet.data.index import Dataset
    from abet.detector import Detector

# A busy machine is no failure; and what CI judges is the same each time, while people's runs go on searching
settings.register_profile("abet", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("abet")

# A script's background jobs ignore Ctrl-C, and so would whatever a test starts and interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)

# Each test process computes on one core: `make test` runs several of them
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The folder of reference values: ``$ABET_GOLDEN_DIR``, else ``../shared/golden`` beside the checkout."""
    folder = Path(os.environ.get("ABET_GOLDEN_DIR", Path(__file__).parents[2] / "shared" / "golden"))
    if not (folder / "model_golden.npz").is_file():
        pytest.skip(f"reference values absent: {folder} (set ABET_GOLDEN_DIR)")
    return folder


@pytest.fixture(scope="session")
def _working_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names of folders to come, in a folder apart: among thousands, pytest's own search for a number takes long."""
    folder = tmp_path_factory.mktemp("cwd")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def _no_site(monkeypatch: pytest.MonkeyPatch, _working_folders: Iterator[Path]) -> None:
    """Tests see no site file of the person who runs them, and write relative paths into a folder of their own."""
    monkeypatch.delenv("ABET_SITE", raising=False)
    folder = next(_working_folders)
    folder.mkdir()
    monkeypatch.chdir(folder)


def unavailable(reason: str) -> None:
    """Skip what cannot run here; where CI judges it is a failure, since a skip there would hide a gap."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def running_s3() -> Iterator[S3Server]:
    """The S3 server of this test process, started with the first test that wants one."""
    if s3_server.weed() is None:
        unavailable("no SeaweedFS program (weed): `make setup` installs it, or set WEED")
    # not below pytest's own folder: paths of sockets are limited to 108 bytes, and pytest keeps what lies there
    root = Path(tempfile.mkdtemp(prefix="abet-s3-"))
    server = S3Server(root)
    try:
        server.start()
        yield server
    finally:
        server.throw_away()
        shutil.rmtree(root)


@pytest.fixture
def s3(running_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An S3 server whose read-write keys the test's environment holds; `s3.place(name)` is one to write to."""
    running_s3.start_if_dead()
    for name in s3_server.FOREIGN:
        monkeypatch.delenv(name, raising=False)
    for name, value in running_s3.env.items():
        monkeypatch.setenv(name, value)
    return running_s3


def small_config(head: TemperatureModel = "learned", num_classes: int = 19) -> ModelConfig:
    """The small recipe with another head or class count."""
    return load_recipe("demo_finetune").model.model_copy(update={"temperature_model": head, "num_classes": num_classes})


@cache
def random_weights(head: TemperatureModel = "learned", *, seed: int = 0, num_classes: int = 19) -> checkpoint.Weights:
    """A small untrained network whose normalisation layers hold statistics, so that it tells images apart."""
    import torch

    from abet.models.build import build_model

    config = small_config(head, num_classes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(config)
        model.train()
        with torch.no_grad():
            for _ in range(3):
                model(torch.randn(2, 3, 64, 96))
    return checkpoint.Weights(contents="model", model=config, tensors=model.state_dict(), sha256="")


@pytest.fixture(scope="session")
def learned_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder: small network, AbeT head, untrained."""
    folder = tmp_path_factory.mktemp("weights") / "learned"
    checkpoint.save(random_weights("learned"), folder)
    return folder


@pytest.fixture(scope="session")
def plain_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder: small network, plain head, untrained."""
    folder = tmp_path_factory.mktemp("weights") / "plain"
    checkpoint.save(random_weights("none"), folder)
    return folder


@pytest.fixture(scope="module")
def learned(learned_checkpoint: Path) -> "Detector":
    """That checkpoint, loaded."""
    from abet.detector import load_detector

    return load_detector(learned_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def plain(plain_checkpoint: Path) -> "Detector":
    """That checkpoint, loaded."""
    from abet.detector import load_detector

    return load_detector(plain_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def mixed_sizes(tmp_path_factory: pytest.TempPathFactory) -> "Dataset":
    """Five images of two sizes."""
    from abet.data.index import open_dataset

    root = tmp_path_factory.mktemp("road_anomaly")
    make_road_anomaly(root, count=2, size=(40, 56), seed=1)
    for path in [*root.glob("original/*"), *root.glob("labels/*")]:
        path.rename(path.with_stem(f"odd_{path.stem}"))
    make_road_anomaly(root, count=3, size=(48, 64), seed=2)
    return open_dataset("road_anomaly", root)


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


Cli = Callable[..., Finished]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs ``abet ARGS...`` in this process: ``cli("scores").code``."""

    def run(*arguments: object) -> Finished:
        monkeypatch.setattr("sys.argv", ["abet", *map(str, arguments)])
        monkeypatch.setattr("warnings.showwarning", warnings.showwarning)
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    return run
