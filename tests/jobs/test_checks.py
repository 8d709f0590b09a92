"""`python -m jobs profile`: what would keep jobs from running is said before they wait in a queue."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from abet.site import SiteConfig
from jobs.checks import is_file_name, problems
from jobs.executors.states import UnansweredError
from jobs.profile import Container, SlurmProfile
from tests.jobs.conftest import NOTING, Jobs, program

ANSWERS = {"sinfo": "gpu\ngpu\ncpu\n", "sacctmgr": "lab\n\n", "srun": "      --container-image=[USER@]IMAGE\n"}


def answering(command: Sequence[str]) -> str:
    return ANSWERS[command[0]]


def silent(command: Sequence[str]) -> str:
    raise UnansweredError(command[0])


def found(profile: SlurmProfile, image: str | None = None) -> list[str]:
    return problems(profile, image=image, run=answering)


@pytest.fixture
def python(tmp_path: Path) -> str:
    return str(program(tmp_path / "python", NOTING))


def test_a_profile_that_fits_has_no_problem(python: str) -> None:
    assert found(SlurmProfile(python=python, partition="gpu", account="lab")) == []
    assert found(SlurmProfile(python=python, partition="gpu,cpu")) == []
    assert found(SlurmProfile(python=python)) == []


def test_a_python_that_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent", tmp_path / "file"):
        (problem,) = found(SlurmProfile(python=str(path)))
        assert problem.startswith(f"python {path} is no program here: `make setup`")
    (problem,) = found(SlurmProfile(python="no/such/python"))
    assert "/no/such/python" in problem


def test_a_partition_or_account_that_slurm_does_not_know(python: str) -> None:
    (problem,) = found(SlurmProfile(python=python, partition="gpuu"))
    assert problem == "SLURM has no partition gpuu: set `partition` to one of cpu, gpu"
    (problem,) = found(SlurmProfile(python=python, account="labb"))
    assert problem == "SLURM does not let you use account labb: set `account` to one of lab"


def test_what_gives_no_answer_is_not_held_against_the_profile(python: str) -> None:
    profile = SlurmProfile(python=python, partition="x", account="y")
    assert problems(profile, image=None, run=silent) == []
    pyxis = SlurmProfile(container=Container(runtime="pyxis", image="registry.example.org/abet:1"))
    assert problems(pyxis, image=None, run=silent) == []


def test_every_problem_is_said_at_once() -> None:
    assert len(found(SlurmProfile(python="absent", partition="x", account="y"))) == 3


def test_an_image_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin" / "apptainer", NOTING)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    inside = SlurmProfile(container=Container(runtime="apptainer"))
    (problem,) = found(inside)
    assert "no image is named: `image:` in the site file" in problem
    path = tmp_path / "abet.sif"
    (problem,) = found(inside, str(path))
    assert problem.startswith(f"there is no image {path}: ")
    path.touch()
    assert found(inside, str(path)) == []
    assert found(inside, "docker://registry.example.org/abet:1.0") == []
    own = SlurmProfile(container=Container(runtime="apptainer", image=str(tmp_path / "other.sif")))
    assert "other.sif" in found(own, str(path))[0]


@pytest.mark.parametrize(
    ("image", "file"),
    [
        ("/a/b", True),
        ("./b", True),
        ("a.sif", True),
        ("abet.sqsh", True),
        ("docker://a/b.sif", False),
        ("a/b:1", False),
    ],
)
def test_images_that_are_files(image: str, file: bool) -> None:
    assert is_file_name(image) is file


def test_a_runtime_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    image = "docker://abet"
    apptainer = Container(runtime="apptainer", image=image)
    assert "apptainer is not on PATH" in found(SlurmProfile(container=apptainer))[0]
    assert found(SlurmProfile(container=apptainer, setup=("module load apptainer",))) == []
    pyxis = SlurmProfile(container=Container(runtime="pyxis", image=image))
    assert found(pyxis) == []
    (problem,) = problems(pyxis, image=None, run=lambda command: "Usage: srun [OPTIONS...]")
    assert "plugin pyxis is missing" in problem


def test_a_python_of_bare_nodes(tmp_path: Path, python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin" / "apptainer", NOTING)
    program(tmp_path / "bin" / "python3", NOTING)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    inside = Container(runtime="apptainer", image="docker://abet")
    for host_python in (None, "python3", python):
        assert found(SlurmProfile(container=inside, host_python=host_python)) == []
    (problem,) = found(SlurmProfile(container=inside, host_python="python3.99"))
    assert "`make setup-light`" in problem


def test_the_command_prints_the_options(jobs: Jobs, site: SiteConfig, fake_slurm: object, python: str) -> None:
    path = Path(python).with_name("mine.yaml")
    path.write_text(json.dumps({"python": python, "gpu_type": "a100"}))
    finished = jobs("profile", path)
    assert finished.code == 0, finished.err
    first, *options = finished.out.splitlines()
    assert first == f"{path}: as it should be"
    assert "  gpu_type: a100" in options
    path.write_text(json.dumps({"python": "absent"}))
    finished = jobs("profile", path)
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith(f"abet: error: {path}: python ")
    assert "make setup" in finished.err


def test_without_a_scheduler_nothing_is_tried(jobs: Jobs, site: SiteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    finished = jobs("profile")
    assert finished.code == 0
    assert "nothing was tried, there is no sbatch here" in finished.out.splitlines()[0]
    assert "did you mean 'default'" in jobs("profile", "defualt").err
