"""Every kind of mistake that a manifest can hold is caught: planted one by one into sound ones.

``ABET_VALIDATION_TABLE=FILE`` writes what was planted and what was said.
"""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.kubernetes.profile import KubernetesProfile
from jobs.kubernetes.rules import gib, pods, problems
from tests.jobs.kubernetes.schemas import faults

Documents = list[dict[str, Any]]
Made = Callable[[KubernetesProfile], Documents]


def job(found: Documents, kind: str = "PyTorchJob") -> Any:
    return next(each for each in found if each["kind"] == kind)


def master(found: Documents) -> Any:
    return job(found)["spec"]["pytorchReplicaSpecs"]["Master"]


def pod(found: Documents, kind: str = "PyTorchJob") -> Any:
    return pods(job(found, kind))[0][1]


def container(found: Documents, kind: str = "PyTorchJob") -> Any:
    return pod(found, kind)["containers"][0]


def rules_of(found: Documents) -> Any:
    return job(found, "Job")["spec"]["podFailurePolicy"]["rules"]


def env(found: Documents, name: str) -> Any:
    return next(entry for entry in container(found)["env"] if entry["name"] == name)


# What is planted -> how, and a word of what must be said: by a rule of ours, or by a strict schema
MISTAKES: dict[str, tuple[Callable[[Documents], Any], str]] = {
    "a container with another name": (
        lambda all: container(all).update(name="train"),
        "no container is called pytorch",
    ),
    "two masters": (lambda all: master(all).update(replicas=2), "Master.replicas 2"),
    "no master": (lambda all: job(all)["spec"]["pytorchReplicaSpecs"].pop("Master"), "Master.replicas None"),
    "a name in capitals": (lambda all: job(all)["metadata"].update(name="Finetune"), "name 'Finetune'"),
    "a name that begins with a digit": (lambda all: job(all)["metadata"].update(name="1a"), "name '1a'"),
    "a name that is too long": (lambda all: job(all)["metadata"].update(name="a" * 54), "at most 53 characters"),
    "no image": (lambda all: container(all).pop("image"), "has no image"),
    "nprocPerNode as a number": (lambda all: job(all)["spec"].update(nprocPerNode=8), "wants a string"),
    "a mount without a volume": (lambda all: pod(all)["volumes"].pop(), "volumeMount shm has no volume"),
    "a ConfigMap that is not there": (lambda all: all.remove(job(all, "ConfigMap")), "is not in this file"),
    "a runtime that is not there": (
        lambda all: all.remove(job(all, "TrainingRuntime")),
        "TrainingRuntime trainer is not",
    ),
    "restarts for every exit code": (lambda all: master(all).update(restartPolicy="OnFailure"), "ExitCode retries 143"),
    "no deadline of training": (
        lambda all: job(all)["spec"]["runPolicy"].pop("activeDeadlineSeconds"),
        "no activeDeadlineSeconds",
    ),
    "no deadline of shards": (lambda all: job(all, "Job")["spec"].pop("activeDeadlineSeconds"), "holds its GPUs"),
    "too little grace": (lambda all: pod(all).update(terminationGracePeriodSeconds=30), "shorter than the 300 s"),
    "no grace": (lambda all: pod(all).pop("terminationGracePeriodSeconds"), "terminationGracePeriodSeconds 30"),
    "shared memory without a limit": (
        lambda all: pod(all)["volumes"][-1]["emptyDir"].pop("sizeLimit"),
        "has no sizeLimit",
    ),
    "more shared memory than memory": (
        lambda all: container(all)["resources"]["limits"].update(memory="96Gi"),
        "counts as memory of the container",
    ),
    "codes 2, 3 and 124 tried again": (lambda all: rules_of(all).pop(), "exit codes 2, 3, 124 are final"),
    "143 as a failure": (lambda all: rules_of(all)[-1]["onExitCodes"]["values"].append(143), "143 means stopped"),
    "evictions as failures": (lambda all: rules_of(all).pop(0), "DisruptionTarget"),
    "one limit for all shards": (
        lambda all: job(all, "Job")["spec"].pop("backoffLimitPerIndex"),
        "backoffLimitPerIndex",
    ),
    "root": (lambda all: pod(all)["securityContext"].update(runAsUser=0), "a runAsUser other than 0"),
    "perhaps root": (lambda all: pod(all)["securityContext"].pop("runAsNonRoot"), "runAsNonRoot: true"),
    "no seccomp profile": (lambda all: pod(all)["securityContext"].pop("seccompProfile"), "seccompProfile"),
    "more privileges later": (
        lambda all: container(all)["securityContext"].pop("allowPrivilegeEscalation"),
        "allowPrivilegeEscalation: false",
    ),
    "capabilities": (lambda all: container(all)["securityContext"].pop("capabilities"), "capabilities.drop"),
    "a root file system to write to": (
        lambda all: container(all)["securityContext"].update(readOnlyRootFilesystem=False),
        "readOnlyRootFilesystem: true",
    ),
    "a privileged container": (
        lambda all: container(all)["securityContext"].update(privileged=True),
        "no privileged container",
    ),
    "the host's network": (lambda all: pod(all).update(hostNetwork=True), "no host namespace"),
    "a folder of the host": (
        lambda all: pod(all)["volumes"].append({"name": "h", "hostPath": {"path": "/data"}}),
        "no hostPath",
    ),
    "a secret that is waited for": (
        lambda all: env(all, "AWS_ACCESS_KEY_ID")["valueFrom"]["secretKeyRef"].pop("optional"),
        "waits for ever for its secret",
    ),
    "the value of a secret": (
        lambda all: container(all)["env"].append({"name": "AWS_SECRET_ACCESS_KEY", "value": "planted-value"}),
        "the value of AWS_SECRET_ACCESS_KEY stands in the manifest",
    ),
    "no second try": (lambda all: job(all)["spec"]["runPolicy"].update(backoffLimit=0), "backoffLimit 0"),
    "two pods of one shard": (lambda all: job(all, "Job")["spec"].pop("podReplacementPolicy"), "podReplacementPolicy"),
    "containers started again": (lambda all: pod(all, "Job").update(restartPolicy="OnFailure"), "restartPolicy"),
    "less requested than used": (
        lambda all: container(all)["resources"]["requests"].update(memory="1Gi"),
        "requests and limits differ",
    ),
    "no shared memory": (lambda all: pod(all)["volumes"][-1].update(emptyDir={}), "no volume in memory"),
    "a token of the cluster": (
        lambda all: pod(all).pop("automountServiceAccountToken"),
        "automountServiceAccountToken",
    ),
    # by schema
    "a misspelt field of a PyTorchJob": (lambda all: job(all)["spec"].update(nProcPerNode="8"), "nProcPerNode"),
    "a misspelt field of a pod": (lambda all: pod(all).update(restartPolice="Never"), "restartPolice"),
    "a misspelt field of a Job": (lambda all: job(all, "Job")["spec"].update(completion=2), "completion"),
    "a misspelt field of a TrainJob": (lambda all: job(all, "TrainJob")["spec"].update(numNodes=1), "numNodes"),
    "a misspelt field of a runtime": (
        lambda all: job(all, "TrainingRuntime")["spec"].update(mlPolice={}),
        "mlPolice",
    ),
    "a number for a quantity's text": (
        lambda all: container(all, "Job").update(image=7),
        "7 is not of type",
    ),
}


@pytest.fixture(scope="module")
def table() -> Any:
    rows: list[str] = []
    yield rows
    if (path := os.environ.get("ABET_VALIDATION_TABLE")) and rows:
        head = ["| planted | found by | what is said |", "|---|---|---|"]
        Path(path).write_text("\n".join([*head, *rows, ""]), encoding="utf-8")


@pytest.mark.parametrize("planted", MISTAKES)
def test_a_planted_mistake_is_caught(planted: str, every_kind: Made, table: list[str]) -> None:
    sound = every_kind(KubernetesProfile())
    assert problems(sound) == []
    found = copy.deepcopy(sound)
    plant, word = MISTAKES[planted]
    plant(found)
    by_rule = problems(found)
    said = by_rule or [fault for each in found for fault in faults(each)]
    hits = [text for text in said if word in text]
    assert hits, said
    assert "planted-value" not in str(said)
    table.append(f"| {planted} | {'rule' if by_rule else 'schema'} | {hits[0].replace('|', '/')} |")


@pytest.mark.parametrize(("text", "amount"), [("64Gi", 64.0), ("512Mi", 0.5), ("1Ti", 1024.0)])
def test_amounts_are_read_in_gib(text: str, amount: float) -> None:
    assert gib(text) == amount
