"""What would be submitted, as whole texts: submitit's batch scripts, and the committed ones for bare login nodes."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from abet.site import FROM_NOTHING, SiteConfig, load_site
from jobs import catalogue, sbatch
from jobs.catalogue import Request
from jobs.executors.slurm import SlurmExecutor
from jobs.profile import ENVIRONMENT, Container, SlurmProfile, load_profile
from tests.conftest import unavailable
from tests.jobs.conftest import FOLDER, HOSTILE, NOTING, PYTHON, ROOT, SRUN, Jobs, program, write_site

GOLDENS = Path(__file__).parent / "goldens"
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
COMMITTED = sorted((ROOT / "slurm").glob("*.sbatch"))


@pytest.fixture(autouse=True)
def _known_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        if name not in ("HOME", "PATH"):
            monkeypatch.delenv(name, raising=False)


def plain(text: str, site: SiteConfig) -> str:
    """Without what differs from machine to machine."""
    known = {sys.executable: "/python", ROOT: "/checkout", site.jobs.parents[1]: "/site", site.scratch_folder: "/fast"}
    for path, name in known.items():
        text = text.replace(str(path), name)
    return re.sub(r"-\d{8}-\d{6}-[0-9a-f]{4}\b", "-ID", text)


# "Expressions don't expand in single quotes": just what is wanted of a path
AS_MEANT = "--exclude=SC2016"


def shellcheck(text: str, tmp_path: Path, *options: str) -> str:
    """What it finds fault with."""
    if not SHELLCHECK.is_file():
        unavailable("no shellcheck: `make setup` installs it")
    path = tmp_path / "script.sh"
    path.write_text(text)
    command = [SHELLCHECK, "--shell=bash", *options, path]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


CASES: Mapping[str, tuple[Callable[[SiteConfig], list[Any]], SlurmProfile]] = {
    "training": (
        lambda site: [catalogue.training("mapillary_pretrain", Request(nodes=2, gpus=4, snapshot=FROM_NOTHING), site)],
        SlurmProfile(
            partition="gpu", account="lab", gpus="gres", gpu_type="a100", constraint="a100|h100",
            setup=("module load cuda",), extra={"mail-type": "END"},
        ),
    ),
    "evaluation": (
        lambda site: catalogue.evaluation(
            "road_anomaly", Request(checkpoint=Path("/run"), shards=8), site, run=Path("/run"), missing=[3, 7]
        ),
        SlurmProfile(),
    ),
    "container": (
        lambda site: [catalogue.training("mapillary_pretrain", Request(snapshot=FROM_NOTHING), site)],
        SlurmProfile(container=Container(runtime="apptainer", image="/images/abet.sif")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_goes_to_sbatch(site: SiteConfig, case: str) -> None:
    make, profile = CASES[case]
    text = SlurmExecutor(site=site, profile=profile).render(make(site))
    assert plain(text, site) == (GOLDENS / f"{case}.txt").read_text()
    assert not site.jobs.exists()  # nothing was written


def test_the_dry_run_prints_the_same(site: SiteConfig, jobs: Jobs) -> None:
    printed = jobs("submit", "mapillary_pretrain", "--on", "slurm", "--dry-run")
    spec = catalogue.training("mapillary_pretrain", Request(), site)
    rendered = SlurmExecutor(site=site, profile=load_profile("default")).render([spec])
    assert plain(printed.out, site) == plain(rendered, site)
    assert printed.err == ""


@pytest.fixture
def hostile_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteConfig:
    monkeypatch.setenv("ABET_SITE", str(write_site(tmp_path / FOLDER / "abet.site.yaml")))
    return load_site()


def script_of(site: SiteConfig) -> str:
    """The batch script alone, of a job whose paths are all hostile."""
    request = Request(run=HOSTILE, snapshot=site.artifacts / "x.pth", data_root=Path("/") / HOSTILE)
    spec = catalogue.training("mapillary_pretrain", request, site)
    text = SlurmExecutor(site=site, profile=SlurmProfile()).render([spec])
    return text.partition("\n")[2].partition("# the supervisor runs:")[0]


def test_hostile_paths_reach_srun_as_they_are(
    hostile_site: SiteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: Callable[[], list[list[str]]]
) -> None:
    program(tmp_path / "bin" / "srun", NOTING)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    script = script_of(hostile_site)
    subprocess.run(["bash", "-c", script], check=True, cwd=tmp_path)
    ((srun, *words),) = noted()
    logs = words[-1]
    assert srun == "srun"
    assert re.fullmatch(re.escape(f"{hostile_site.jobs}/mapillary-pretrain-") + r"[-0-9a-f]+/logs", logs)
    assert words[:5] == ["--unbuffered", "--output", f"{logs}/%j_%t_log.out", "--error", f"{logs}/%j_%t_log.err"]
    assert words[-5:-1] == [sys.executable, "-u", "-m", "submitit.core._submit"]
    assert not (tmp_path / "hacked").exists()
    # Options in comments are quoted as for a shell, which is how SLURM reads them
    options = dict(line.split("=", 1) for line in script.splitlines() if line.startswith("#SBATCH") and "=" in line)
    assert shlex.split(options["#SBATCH --output"]) == [f"{logs}/%j_0_log.out"]
    assert shlex.split(options["#SBATCH --error"]) == [f"{logs}/%j_0_log.err"]


def test_generated_scripts_pass_shellcheck(hostile_site: SiteConfig, tmp_path: Path) -> None:
    assert shellcheck(script_of(hostile_site), tmp_path, AS_MEANT) == ""


# --- the committed scripts


def test_what_is_committed_is_what_the_renderer_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABET_SITE", str(ROOT / "abet.site.example.yaml"))
    site, profile = load_site(), load_profile("default")
    assert {path.name for path in COMMITTED} == set(sbatch.scripts(site))
    for path in COMMITTED:
        assert path.read_text() == sbatch.render(path.name, site, profile), f"{path.name}: run `make manifests`"


@pytest.mark.parametrize("name", [path.name for path in COMMITTED])
def test_committed_scripts_pass_shellcheck(tmp_path: Path, name: str) -> None:
    assert shellcheck((ROOT / "slurm" / name).read_text(), tmp_path) == ""


def test_scripts_for_every_site_pass_shellcheck(site: SiteConfig, tmp_path: Path) -> None:
    profile = SlurmProfile(
        python="~/it's my/python", setup=("module load 'cuda 12'", 'export X="$HOME"'), constraint="a100|h100"
    )
    hostile = site.model_copy(update={"image": "/images/it's.sif", "jobs": Path("/") / FOLDER})
    inside = SlurmProfile(container=Container(runtime="apptainer"))
    for name in sbatch.scripts(site):
        assert shellcheck(sbatch.render(name, site, profile), tmp_path, AS_MEANT) == ""
        assert shellcheck(sbatch.render(name, hostile, inside), tmp_path, AS_MEANT) == ""


def test_a_site_without_data_sets_has_its_scripts(site: SiteConfig) -> None:
    profile = SlurmProfile(container=Container(runtime="apptainer", image="/x.sif"))
    data = {"lost_and_found": Path("/data/laf")}
    text = {name: sbatch.render(name, site.model_copy(update={"data": data}), profile) for name in sbatch.scripts(site)}
    # A container sees what is named, and nothing that stands in for it
    evaluated = {f"{name}.sbatch" for name in ("eval", "components", "calibrate")}
    assert {name for name in text if "/data/laf:/data/laf:ro" in text[name]} == evaluated
    assert not [name for name in text if "road_anomaly:" in text[name] or "mapillary:" in text[name]]
    for name, script in text.items():
        # What is fitted or calibrated for a published checkpoint lies beside it
        kept = "rw" if name in ("fit.sbatch", "calibrate.sbatch") else "ro"
        assert f"{site.weights}:{site.weights}:{kept}" in script
        assert str(site.weights) in script.partition("mkdir -p")[2].partition("exec")[0]
        assert "\n  python3 -m jobs.supervisor " in script
        assert "--term-kills" not in script


def test_a_site_of_defaults_has_its_scripts() -> None:
    site = SiteConfig()
    assert "record=${ABET_JOBS:-runs/jobs}/" in sbatch.render("merge.sbatch", site, SlurmProfile())


def test_in_pyxis_the_supervisor_knows_that_srun_kills(site: SiteConfig) -> None:
    profile = SlurmProfile(container=Container(runtime="pyxis", image="abet"), host_python="/opt/python")
    text = sbatch.render("pretrain.sbatch", site, profile)
    assert "--term-kills" in text
    assert "\n  /opt/python -m jobs.supervisor " in text


def test_records_lie_where_the_site_says(site: SiteConfig) -> None:
    profile = SlurmProfile()
    assert f"record=${{ABET_JOBS:-{site.jobs}}}/" in sbatch.render("merge.sbatch", site, profile)
    below = site.model_copy(update={"jobs": ROOT / "kept" / "jobs"})
    assert "record=${ABET_JOBS:-kept/jobs}/" in sbatch.render("merge.sbatch", below, profile)


def test_a_hostile_folder_of_records_is_one_word(site: SiteConfig, tmp_path: Path) -> None:
    hostile = site.model_copy(update={"jobs": Path("/") / FOLDER})
    (line,) = (
        line for line in sbatch.render("merge.sbatch", hostile, SlurmProfile()).splitlines() if line[:7] == "record="
    )
    show = f'unset ABET_JOBS; SLURM_JOB_NAME=j SLURM_JOB_ID=7; {line}; printf %s "$record"'
    done = subprocess.run(["bash", "-c", show], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"/{FOLDER}/j-7"
    assert list(tmp_path.glob("**/hacked")) == []


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout at a hostile path, with programs that stand in for SLURM and abet."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name in ("jobs", "abet"):
        (folder / name).symlink_to(ROOT / name)
    program(folder / ".venv" / "bin" / "python", PYTHON)
    program(tmp_path / "bin" / "srun", SRUN)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for name, value in {"JOB_NAME": "job", "JOB_ID": "7", "ARRAY_JOB_ID": "6", "ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_SUBMIT_DIR", str(folder))
    return folder


def run(name: str, *words: str) -> "subprocess.CompletedProcess[str]":
    command = ["bash", str(ROOT / "slurm" / name), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "given", "command", "record"),
    [
        (
            "pretrain.sbatch",
            ("--output", HOSTILE),
            ["launch", "--processes", "8", "--", "train", "mapillary_pretrain", "--output", HOSTILE],
            "job-7",
        ),
        (
            "finetune.sbatch",
            (HOSTILE, "--set", "a=b c"),
            [
                *("launch", "--processes", "8", "--", "train", "cityscapes_finetune"),
                *("--snapshot", HOSTILE, "--set", "a=b c"),
            ],
            "job-7",
        ),
        (
            "eval.sbatch",
            ("road_anomaly", HOSTILE, "--output", HOSTILE),
            ["evaluate", "--dataset", "road_anomaly", "--checkpoint", HOSTILE, "--shard", "3/8", "--output", HOSTILE],
            "job-6/shard-3",
        ),
        (
            "merge.sbatch",
            ("road_anomaly", HOSTILE),
            ["merge", HOSTILE, "--dataset", "road_anomaly"],
            "job-7",
        ),
        (
            "components.sbatch",
            ("road_anomaly", HOSTILE, "--track", HOSTILE),
            ["components", HOSTILE, "--dataset", "road_anomaly", "--shard", "3/8", "--track", HOSTILE],
            "job-6/shard-3",
        ),
        (
            "fit.sbatch",
            ("cityscapes", HOSTILE, "--bank", "9"),
            ["fit", "--dataset", "cityscapes", "--checkpoint", HOSTILE, "--bank", "9"],
            "job-7",
        ),
        (
            "calibrate.sbatch",
            ("lost_and_found", HOSTILE, "--split", "train"),
            ["calibrate", "--dataset", "lost_and_found", "--checkpoint", HOSTILE, "--split", "train"],
            "job-7",
        ),
    ],
)
def test_committed_scripts_run_the_supervisor_with_their_arguments_as_they_are(
    checkout: Path,
    noted: Callable[[], list[list[str]]],
    name: str,
    given: tuple[str, ...],
    command: list[str],
    record: str,
) -> None:
    done = run(name, *given)
    assert done.returncode == 0, done.stderr
    srun, child = noted()
    assert srun[:4] == ["srun", "--unbuffered", "--kill-on-bad-exit=0", "--export=ALL"]
    assert child == ["-m", "abet", *command]
    diary = (checkout / "runs" / "jobs" / record / "attempts.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in diary] == ["begin", "end"]
    assert not list(Path().glob("**/hacked"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *[("finetune", "PRETRAINED"), ("merge", "DATASET RUN"), ("components", "DATASET RUN")],
        *[(name, "DATASET CHECKPOINT") for name in ("eval", "fit", "calibrate")],
    ],
)
def test_a_script_without_its_arguments_says_which(checkout: Path, name: str, words: str) -> None:
    done = run(f"{name}.sbatch")
    assert (done.returncode, done.stderr) == (2, f"abet: error: after the script, name {words}\n")


def test_a_script_outside_of_a_checkout_says_so(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ABET_ROOT", str(tmp_path))
    done = run("pretrain.sbatch")
    assert done.returncode == 2
    assert f"{tmp_path} is no checkout of abet" in done.stderr


def test_the_exit_code_of_the_job_is_that_of_the_script(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, noted: object
) -> None:
    monkeypatch.setenv("ENDS", "3")
    assert run("merge.sbatch", "road_anomaly", "run").returncode == 3


def test_rendering_into_no_folder_is_refused(site: SiteConfig, jobs: Jobs, tmp_path: Path) -> None:
    finished = jobs("render", "--output", tmp_path / "none")
    assert (finished.code, "no such folder" in finished.err) == (2, True)
    (tmp_path / "there").mkdir()
    assert jobs("render", "--output", tmp_path / "there").code == 0
    assert {path.name for path in (tmp_path / "there").iterdir()} == {path.name for path in COMMITTED}


def test_the_documentation_shows_the_committed_script() -> None:
    assert (ROOT / "slurm" / "finetune.sbatch").read_text() in (ROOT / "docs" / "slurm.md").read_text()
