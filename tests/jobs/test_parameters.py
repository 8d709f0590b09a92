"""From a job and a profile to options of sbatch."""

from typing import Any

import pytest

from jobs.executors.parameters import exported_names, sbatch_options, submitit_parameters, task_of
from jobs.profile import ENVIRONMENT, ROOT, SlurmProfile
from jobs.spec import JobSpec

TRAINING = JobSpec(
    name="job", kind="train", command=("train", "x"), nodes=2, gpus_per_node=8, processes_per_node=8, cpus_per_node=64,
    memory_gib=480, time_limit_minutes=90, grace_seconds=300,
)  # fmt: skip


def test_what_a_job_asks_for() -> None:
    assert sbatch_options(TRAINING, SlurmProfile(), ["HOME", "PATH"]) == {
        "job-name": "job",
        "nodes": 2,
        "ntasks-per-node": 1,
        "cpus-per-task": 64,
        "mem": "480G",
        "time": 90,
        "signal": "USR2@300",
        "requeue": True,
        "open-mode": "append",
        "kill-on-invalid-dep": "yes",
        "export": "HOME,PATH",
        "gpus-per-node": "8",
    }


@pytest.mark.parametrize(
    ("profile", "asked"),
    [
        ({}, {"gpus-per-node": "8"}),
        ({"gpu_type": "a100"}, {"gpus-per-node": "a100:8"}),
        ({"gpus": "gres"}, {"gres": "gpu:8"}),
        ({"gpus": "gres", "gpu_type": "a100"}, {"gres": "gpu:a100:8"}),
        ({"gpus": "none"}, {}),
    ],
)
def test_how_gpus_are_asked_for(profile: dict[str, Any], asked: dict[str, str]) -> None:
    options = sbatch_options(TRAINING, SlurmProfile(**profile), [])
    assert {name: options[name] for name in ("gres", "gpus-per-node") if name in options} == asked
    on_cpus = sbatch_options(TRAINING.model_copy(update={"gpus_per_node": 0}), SlurmProfile(**profile), [])
    assert not {"gres", "gpus-per-node"} & set(on_cpus)


def test_habits_of_a_site() -> None:
    profile = SlurmProfile(
        partition="gpu", account="lab", qos="high", constraint="a100|h100", exclusive=True, wckey="abet", memory=False,
        extra={"mail-type": "END", "nice": 5, "spread-job": True, "no-such": False},
    )  # fmt: skip
    options = sbatch_options(TRAINING, profile, [])
    habits = ("partition", "account", "qos", "constraint", "exclusive", "wckey", "mail-type", "nice", "spread-job")
    assert [options[name] for name in habits] == [
        *("gpu", "lab", "high", "a100|h100", True, "abet", "END", 5, True),
    ]
    assert "mem" not in options
    assert "no-such" not in options
    assert options["export"] == "NIL"


def test_no_wckey_is_sent_unless_the_site_has_one() -> None:
    assert submitit_parameters(TRAINING, SlurmProfile(), exported=[], dependency=None, parallel=1)["wckey"] is None


def test_a_job_gets_the_variables_on_the_list_and_its_secrets_by_name() -> None:
    spec = TRAINING.model_copy(update={"secrets": ("WANDB_API_KEY", "UNSET")})
    there = {"HOME": "/h", "WANDB_API_KEY": "hunter2", "MINE": "1", "OTHER": "2", "AWS_SECRET_ACCESS_KEY": "hunter2"}
    assert exported_names(spec, SlurmProfile(environment=("MINE",)), there) == ("HOME", "MINE", "WANDB_API_KEY")
    everywhere = exported_names(spec, SlurmProfile(environment=("MINE",)), None)
    assert everywhere == (*ENVIRONMENT, "MINE", "WANDB_API_KEY", "UNSET")


def test_nothing_on_the_list_is_a_secret() -> None:
    words = ("SECRET", "TOKEN", "PASSWORD", "KEY_ID", "API_KEY")
    # The name of a file is none: what stands in it is looked at on the node
    names = [name for name in ENVIRONMENT if not name.endswith("_FILE")]
    assert [name for name in names if any(word in name for word in words)] == []


def test_the_same_goes_to_submitit() -> None:
    told = submitit_parameters(TRAINING, SlurmProfile(), exported=["HOME"], dependency="afterok:5:6", parallel=4)
    more = told.pop("additional_parameters")
    assert (told["job_name"], told["nodes"], told["ntasks_per_node"], told["time"]) == ("job", 2, 1, 90)
    assert (told["signal_delay_s"], told["array_parallelism"]) == (300, 4)
    assert more["dependency"] == "afterok:5:6"
    assert more["chdir"] == str(ROOT)
    assert more["requeue"] is True
    # What submitit writes itself is not there twice
    assert not {"signal", "open-mode", "job-name", "time"} & set(more)


@pytest.mark.parametrize(("kind", "launch"), [("train", True), ("evaluate", False), ("merge", False)])
def test_only_training_needs_the_launcher(kind: Any, launch: bool) -> None:
    spec = TRAINING.model_copy(update={"kind": kind, "retries": 7})
    task = task_of(spec, runner=("abet",), record="/r", command=("x",))
    assert (task.launch, task.processes, task.retries, task.grace_seconds) == (launch, 8, 7, 300)
