"""Profiles: a site's habits in a file, checked before anything is submitted."""

from pathlib import Path

import pytest

from abet.errors import UsageError
from abet.settings import parse
from jobs.executors.parameters import sbatch_options, submitit_parameters
from jobs.profile import PROFILES, SlurmProfile, load_profile
from jobs.spec import JobSpec


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", sorted(path.stem for path in PROFILES.glob("*.yaml")))
def test_shipped_profiles_load(name: str) -> None:
    assert isinstance(load_profile(name), SlurmProfile)


def test_the_default_profile_asks_for_nothing_special() -> None:
    assert load_profile("default") == SlurmProfile()


def test_ones_own_profile_by_its_path(tmp_path: Path) -> None:
    path = write(tmp_path, "partition: gpu\ngpus: gres\ngpu_type: a100\nextra: {mail-type: END, nice: 5}\n")
    profile = load_profile(path)
    assert (profile.partition, profile.gpus, profile.gpu_type) == ("gpu", "gres", "a100")
    assert profile.extra == {"mail-type": "END", "nice": 5}
    assert load_profile(write(tmp_path, "# all as it is\n")) == SlurmProfile()


def test_an_unknown_profile_names_the_nearest_and_the_folder() -> None:
    with pytest.raises(UsageError) as error:
        load_profile("defualt")
    assert "did you mean 'default'" in str(error.value)
    assert str(PROFILES) in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partitoin: gpu", "did you mean 'partition'"),
        ("gpus: all", "'gpus-per-node', 'gres' or 'none'"),
        ("container: {runtime: docker}", "'none', 'pyxis' or 'apptainer'"),
        ("container: {image: a.sif}", "container.image without a container.runtime"),
        ("mounts: [{source: data, target: /data}]", "absolute path"),
        ('setup: ["module load cuda\\nrm x"]', "line break"),
        ('partition: "gpu\\nrm x"', "line break"),
        ('extra: {mail-type: "END\\nrm x"}', "line break"),
        ('extra: {"mail-type\\nrm x": END}', "no long name"),
        ("extra: {mail_type: END}", "no long name"),
        ("extra: {-x: 1}", "no long name"),
        ("a: [", "not readable as YAML"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        load_profile(write(tmp_path, text))
    assert said in str(error.value)
    assert str(tmp_path / "mine.yaml") in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "environment: [AWS_SECRET_ACCESS_KEY=hunter2]",
        "environment: {AWS_SECRET_ACCESS_KEY: hunter2}",
        "environment:\n  - AWS_SECRET_ACCESS_KEY: hunter2",
        "environment: AWS_SECRET_ACCESS_KEY=hunter2",
        "extra: {export: AWS_SECRET_ACCESS_KEY=hunter2}",
    ],
)
def test_values_of_variables_are_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as error:
        load_profile(write(tmp_path, text))
    assert "hunter2" not in str(error.value)


def test_extra_options_change_nothing_that_jobs_rely_on() -> None:
    spec = JobSpec(name="job", kind="train", command=("train", "x"), gpus_per_node=1)
    profile = SlurmProfile(partition="p", account="a", qos="q", constraint="c", wckey="w", exclusive=True)
    made = submitit_parameters(spec, profile, exported=["HOME"], dependency="afterok:1", parallel=1)
    ours = {name.replace("_", "-") for name in (*made, *made["additional_parameters"])}
    told_apart = {"signal-delay-s", "srun-args", "array-parallelism", "additional-parameters"}
    for name in (*(ours - told_apart), *sbatch_options(spec, profile, ["HOME"])):
        with pytest.raises(UsageError, match=f"extra: {name} is set by abet"):
            parse(SlurmProfile, {"extra": {name: "1"}}, source="profile")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("time", "--time-limit-minutes"),
        ("mem", "--memory-gib"),
        ("mem-per-cpu", "--memory-gib"),
        ("mem-per-gpu", "`memory: false`"),
        ("cpus-per-task", "--cpus"),
        ("cpus-per-gpu", "--cpus"),
        ("nodes", "--nodes"),
        ("ntasks", "from the job"),
        ("ntasks-per-gpu", "from the job"),
        ("gpus", "--gpus"),
        ("gpus-per-task", "`gpus:` in the profile"),
        ("signal", "--grace-seconds"),
        ("no-requeue", "--retries"),
        ("parsable", "what sbatch answers"),
        ("partition", "`partition:` there"),
    ],
)
def test_an_option_that_is_set_elsewhere_says_where(name: str, remedy: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(SlurmProfile, {"extra": {name: "1"}}, source="profile")
    assert f"extra: {name} " in str(error.value)
    assert remedy in str(error.value)


def test_other_options_are_the_sites_own() -> None:
    extra = {"mail-type": "END", "nice": 5, "reservation": "lab", "comment": "x", "exclude": "n1", "time-min": 5}
    assert parse(SlurmProfile, {"extra": extra}, source="profile").extra == extra


def test_a_python_for_containers_alone_wants_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="host_python without a container"):
        load_profile(write(tmp_path, "host_python: python3\n"))
    text = "host_python: python3\ncontainer: {runtime: apptainer, image: /x.sif}\n"
    assert load_profile(write(tmp_path, text)).host_python == "python3"


def test_a_path_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "partition: gpu\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_profile("~/mine.yaml").partition == "gpu"
