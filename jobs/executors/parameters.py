"""From a JobSpec and a profile to sbatch's options: pure, and the same for both ways of submitting to SLURM."""

import os
from collections.abc import Collection, Mapping
from typing import Any

from jobs.profile import ENVIRONMENT, ROOT, SlurmProfile
from jobs.runtime import srun_options
from jobs.spec import JobSpec
from jobs.supervisor import Task


def gpu_options(spec: JobSpec, profile: SlurmProfile) -> dict[str, str]:
    """How this site asks for GPUs."""
    if not spec.gpus_per_node or profile.gpus == "none":
        return {}
    kind = f"{profile.gpu_type}:" if profile.gpu_type else ""
    if profile.gpus == "gres":
        return {"gres": f"gpu:{kind}{spec.gpus_per_node}"}
    return {"gpus-per-node": f"{kind}{spec.gpus_per_node}"}


def sbatch_options(spec: JobSpec, profile: SlurmProfile, exported: Collection[str]) -> dict[str, str | int | bool]:
    """Options by their long names. ``exported``: names of the variables that the job gets; True means a bare flag."""
    options: dict[str, str | int | bool | None] = {
        "job-name": spec.name,
        "nodes": spec.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": spec.cpus_per_node,
        "mem": f"{spec.memory_gib}G" if profile.memory else None,
        "time": spec.time_limit_minutes,
        "signal": f"USR2@{spec.grace_seconds}",
        "requeue": True,
        "open-mode": "append",
        "kill-on-invalid-dep": "yes",
        "export": ",".join(exported) or "NIL",
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "exclusive": profile.exclusive,
        "wckey": profile.wckey,
        **gpu_options(spec, profile),
        **profile.extra,
    }
    return {name: value for name, value in options.items() if value is not None and value is not False}


def exported_names(
    spec: JobSpec, profile: SlurmProfile, environment: Mapping[str, str] | None = os.environ
) -> tuple[str, ...]:
    """The variables that a job gets of the submitter, by name: the list, where set (None: whatever is set)."""
    wanted = dict.fromkeys((*ENVIRONMENT, *profile.environment, *spec.secrets))
    return tuple(name for name in wanted if environment is None or name in environment)


def submitit_parameters(
    spec: JobSpec, profile: SlurmProfile, *, exported: Collection[str], dependency: str | None, parallel: int
) -> dict[str, Any]:
    """The same for `submitit.SlurmExecutor.update_parameters`; what it has no word for goes in as it stands."""
    options: dict[str, Any] = sbatch_options(spec, profile, exported)
    named = {
        "job_name": options.pop("job-name"),
        "nodes": options.pop("nodes"),
        "ntasks_per_node": options.pop("ntasks-per-node"),
        "cpus_per_task": options.pop("cpus-per-task"),
        "time": options.pop("time"),
        "signal_delay_s": spec.grace_seconds,
        "wckey": options.pop("wckey", None),
        "srun_args": srun_options(spec),
        "array_parallelism": parallel,
    }
    del options["signal"], options["open-mode"]  # submitit's own, of the same value
    options["chdir"] = str(ROOT)  # the supervisor is imported from the checkout
    if dependency:
        options["dependency"] = dependency
    return {**named, "additional_parameters": options}


def task_of(spec: JobSpec, *, runner: tuple[str, ...], record: str, command: tuple[str, ...]) -> Task:
    """What the supervisors are told."""
    return Task(
        name=spec.name,
        command=command,
        runner=runner,
        record=record,
        processes=spec.processes_per_node,
        launch=spec.kind == "train",
        retries=spec.retries,
        grace_seconds=spec.grace_seconds,
        term_kills="srun" in runner,  # pyxis
    )
