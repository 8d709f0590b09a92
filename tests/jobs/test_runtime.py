"""The words that start a job on a node: bare, after setup lines, in a container."""

import itertools
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from abet.errors import UsageError
from jobs.profile import ENVIRONMENT, PATH_VARIABLES, ROOT, Container, SlurmProfile
from jobs.runtime import Runner, bare_runner, runner_of
from jobs.spec import JobSpec, Mount
from tests.jobs.conftest import HOSTILE

TRAINING = JobSpec(name="job", kind="train", command=("train", "x"), gpus_per_node=8, cpus_per_node=64)
SHOW = ("-c", "import json, sys; print(json.dumps(sys.argv[1:]))")


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, capture_output=True, text=True, check=False)


SEEN = (
    Mount(source="/runs/night", target="/runs/night", made=True),
    Mount(source="/data/city", target="/data/city", read_only=True),
    Mount(source="/runs", target="/runs", made=True),
)
SCRATCH = Path("/fast/it's me")


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in PATH_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def of(profile: SlurmProfile, *, image: str | None = None, **values: Any) -> Runner:
    spec = TRAINING.model_copy(update={"mounts": SEEN} | values)
    return runner_of(profile, spec, image=image, scratch=SCRATCH)


def binds(runner: Runner) -> list[str]:
    """What apptainer is told to show."""
    return [value for option, value in itertools.pairwise(runner.prefix) if option == "--bind"]


@pytest.mark.parametrize(
    ("python", "path"),
    [(".venv/bin/python", f"{ROOT}/.venv/bin/python"), ("/opt/abet/bin/python", "/opt/abet/bin/python")],
)
def test_without_a_container_it_is_the_python_of_the_profile(python: str, path: str) -> None:
    assert of(SlurmProfile(python=python)) == Runner(abet=(path, "-m", "abet"))


def test_a_python_below_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/people/me")
    assert bare_runner("~/abet/bin/python").abet[0] == "/people/me/abet/bin/python"


def test_setup_lines_come_first_and_arguments_survive_them() -> None:
    runner = bare_runner(sys.executable, ["export GREETING='good morning'"])
    code = "import json, os, sys; print(json.dumps([os.environ['GREETING'], *sys.argv[1:]]))"
    done = run(*runner.prefix, sys.executable, "-c", code, HOSTILE, "", "--x")
    assert json.loads(done.stdout) == ["good morning", HOSTILE, "", "--x"]
    assert not Path("hacked").exists()


def test_a_failing_setup_line_is_the_end() -> None:
    runner = bare_runner(sys.executable, ["false", "echo went on"])
    done = run(*runner.prefix, "echo", "ran")
    assert (done.returncode, done.stdout) == (1, "")


def test_the_line_of_shell_is_the_same_words() -> None:
    runner = Runner(prefix=("bash", "-c", 'exec "$@"', "x"), abet=(sys.executable, *SHOW, HOSTILE))
    assert shlex.split(runner.text()) == [*runner.prefix, *runner.abet]
    assert json.loads(run("bash", "-c", runner.text()).stdout) == [HOSTILE]


def test_in_apptainer() -> None:
    profile = SlurmProfile(
        container=Container(runtime="apptainer", image="/images/my abet.sif", arguments=("--cleanenv",)),
        mounts=(Mount(source="/fast", target="/data/city", read_only=True), Mount(source="/opt", target="/opt")),
    )
    assert of(profile, image="never asked") == Runner(
        prefix=(
            *("bash", "-c"),
            "set -e\nexport ABET_SCRATCH='/fast/it'\"'\"'s me'\nmkdir -p /runs /runs/night\nexec \"$@\"",
            *("abet-setup", "apptainer", "exec", "--nv", "--pwd", str(ROOT)),
            # Outer folders first: they would hide those in them
            *("--bind", f"{ROOT}:{ROOT}:rw"),
            *("--bind", "/runs:/runs:rw"),
            *("--bind", "/runs/night:/runs/night:rw"),
            *("--bind", "/fast:/data/city:ro"),  # the profile's instead of the job's
            *("--bind", "/opt:/opt:rw"),
            *("--cleanenv", "/images/my abet.sif"),
        ),
        abet=("abet",),
    )
    assert "--nv" not in of(profile, gpus_per_node=0).prefix


def test_in_pyxis() -> None:
    profile = SlurmProfile(
        container=Container(runtime="pyxis", arguments=("--container-writable",)),
        mounts=(Mount(source="/ref", target="/ref", read_only=True),),
        setup=("module load x",),
    )
    runner = of(profile, image="registry.example.org/abet:1.0")
    assert runner.prefix[:2] == ("bash", "-c")
    assert runner.prefix[4:] == (
        *("srun", "--overlap", "--nodes=1", "--ntasks=1", "--nodelist={node}"),
        # A step takes neither the variables of the supervisor nor all CPUs by itself
        *("--kill-on-bad-exit=0", "--export=ALL", "--cpus-per-task=64"),
        *("--container-image=registry.example.org/abet:1.0", f"--container-workdir={ROOT}"),
        "--no-container-mount-home",
        f"--container-mounts={ROOT}:{ROOT},/runs:/runs,/runs/night:/runs/night,/data/city:/data/city:ro,/ref:/ref:ro",
        "--container-writable",
    )
    assert runner.abet == ("abet",)


@pytest.mark.parametrize("runtime", ["pyxis", "apptainer"])
def test_a_container_wants_an_image(runtime: Any) -> None:
    with pytest.raises(UsageError) as error:
        of(SlurmProfile(container=Container(runtime=runtime)))
    assert runtime in str(error.value)
    assert "`image:` in the site file" in str(error.value)


def test_a_folder_that_no_container_can_be_told_is_refused() -> None:
    profile = SlurmProfile(container=Container(runtime="apptainer", image="x.sif"))
    for path in ("/data/a:b", "/data/a,b"):
        mounts = (Mount(source=path, target=path),)
        with pytest.raises(UsageError, match="symbolic link") as error:
            of(profile, mounts=mounts)
        assert repr(path) in str(error.value)
        of(SlurmProfile(), mounts=mounts)  # without one it does not matter


@pytest.mark.parametrize("name", PATH_VARIABLES)
def test_files_that_the_submitter_names_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    profile = SlurmProfile(container=Container(runtime="apptainer", image="x.sif"))
    assert name in ENVIRONMENT  # the job gets the name, so it must find the file
    monkeypatch.setenv(name, str(tmp_path / "file"))
    assert not [bind for bind in binds(of(profile)) if str(tmp_path) in bind]  # what is not there cannot be bound
    (tmp_path / "file").touch()
    path = str(tmp_path / "file")
    assert f"{path}:{path}:ro" in binds(of(profile))
    monkeypatch.setenv(name, "~/file")
    assert f"{path}:{path}:ro" in binds(of(profile))


def test_pyxis_sees_the_settings_of_aws_without_the_home_folder(tmp_path: Path) -> None:
    pyxis = SlurmProfile(container=Container(runtime="pyxis", image="abet"))
    settings = f"{tmp_path}/.aws:{tmp_path}/.aws:ro"
    assert settings not in " ".join(of(pyxis).prefix)
    (tmp_path / ".aws").mkdir()
    assert settings in " ".join(of(pyxis).prefix)
    apptainer = SlurmProfile(container=Container(runtime="apptainer", image="x.sif"))
    assert settings not in binds(of(apptainer))  # it shows the home folder as it is
