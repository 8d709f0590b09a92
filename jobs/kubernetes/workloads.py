"""The objects that Kubernetes gets for a job: PyTorchJob or TrainJob, Indexed Job, Job. Pure.

Exit codes decide: 2 and 3 are final everywhere. Of training, 143 (stopped after saving) and what was killed (137) go on
in another pod, and of 1 the pod has made its own retries. All else begins anew in another pod, as often as the job
says: so 124, its time limit, is final too. Only disruptions of the cluster do not count there.
"""

from collections.abc import Mapping
from typing import Any, Final

from abet.exits import FAILED, PERMANENT, STOPPED
from jobs.kubernetes.environment import TIMED_OUT
from jobs.kubernetes.pods import Values, pod_spec
from jobs.kubernetes.profile import KubernetesProfile
from jobs.kubernetes.states import NAME_LABEL
from jobs.spec import JobSpec

QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
TRAINER_STEP: Final = "trainer.kubeflow.org/trainjob-ancestor-step"
DISRUPTED: Final = {"type": "DisruptionTarget", "status": "True"}
TRAINING_FAILURES: Final = 20
"""Pods of a TrainJob that may die (137, ...): the run's own count of starts gives up before."""
PORT: Final = 23456
"""Where several pods meet: the training operator's own default."""


def config_name(name: str) -> str:
    """The ConfigMap of a job."""
    return f"{name}-site"


def config_map(name: str, profile: KubernetesProfile, files: Mapping[str, str]) -> Values:
    """The ConfigMap of the job ``name``."""
    metadata = _metadata(config_name(name), name, profile)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(files)}


def pytorch_job(spec: JobSpec, name: str, profile: KubernetesProfile, image: str | None) -> list[Values]:
    """A training job for the training operator 1.x: a Master, and Workers for further nodes."""
    pod = pod_spec(spec, profile, image=image, container="pytorch", config=config_name(name))
    # The operator's word, which stands beside the template; the pod itself is then never restarted in place
    del pod["restartPolicy"]
    pod["containers"][0]["ports"] = [{"name": "pytorchjob-port", "containerPort": PORT}]
    replica = {"restartPolicy": "ExitCode", "template": _template(name, profile, pod)}
    replicas = {"Master": {"replicas": 1, **replica}}
    if spec.nodes > 1:
        replicas["Worker"] = {"replicas": spec.nodes - 1, **replica}
    policy = {
        "cleanPodPolicy": "Running",  # logs of ended pods stay; no other pod keeps its GPUs
        "activeDeadlineSeconds": 3600 * profile.deadline_hours,
        "ttlSecondsAfterFinished": 3600 * profile.kept_hours,
    }
    body = {
        "nprocPerNode": str(spec.processes_per_node),
        "runPolicy": policy,
        "pytorchReplicaSpecs": replicas,
    }
    return [_object("kubeflow.org/v1", "PyTorchJob", name, profile, body)]


def train_job(spec: JobSpec, name: str, profile: KubernetesProfile, image: str | None) -> list[Values]:
    """The same for Kubeflow Trainer 2.x: a runtime of its own, since patches of a shared one set no failure rules."""
    pod = pod_spec(spec, profile, image=image, container="node", config=config_name(name))
    job = {
        "backoffLimit": TRAINING_FAILURES,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [DISRUPTED]},
                {"action": "Ignore", "onExitCodes": _codes(STOPPED)},
                {"action": "FailJob", "onExitCodes": _codes(FAILED, *PERMANENT)},
            ]
        },
        "template": _template(name, profile, pod),
    }
    node = {
        "name": "node",
        "template": {"metadata": {"labels": {TRAINER_STEP: "trainer"}}, "spec": job},
    }
    runtime = {
        "mlPolicy": {"numNodes": spec.nodes, "torch": {}},
        "template": {"spec": {"replicatedJobs": [node], "failurePolicy": {"maxRestarts": 0}}},
    }
    train = {
        "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": name},
        "trainer": {"numNodes": spec.nodes, "numProcPerNode": spec.processes_per_node},
        "activeDeadlineSeconds": 3600 * profile.deadline_hours,
    }
    version = "trainer.kubeflow.org/v1alpha1"
    return [
        _object(version, "TrainingRuntime", name, profile, runtime),
        _object(version, "TrainJob", name, profile, train),
    ]


def batch_job(
    spec: JobSpec, name: str, profile: KubernetesProfile, image: str | None, *, wait_minutes: int = 0
) -> list[Values]:
    """What does not train: an index per shard, each tried again by itself, or one pod for a merge or a report."""
    pod = pod_spec(spec, profile, image=image, container="abet", config=config_name(name), wait_minutes=wait_minutes)
    final = {"action": "FailIndex" if spec.shards else "FailJob", "onExitCodes": _codes(*PERMANENT, TIMED_OUT)}
    body = {
        **_tries(spec),
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [DISRUPTED]}, final]},
        "activeDeadlineSeconds": 3600 * profile.deadline_hours + 60 * wait_minutes,
        "ttlSecondsAfterFinished": 3600 * profile.kept_hours,
        "template": _template(name, profile, pod),
    }
    return [_object("batch/v1", "Job", name, profile, body)]


def _tries(spec: JobSpec) -> Values:
    count = len(spec.shards)
    if not count:
        return {"backoffLimit": spec.retries}
    return {
        "completionMode": "Indexed",
        "completions": count,
        "parallelism": count,
        "backoffLimitPerIndex": spec.retries,
        "maxFailedIndexes": count,  # the others' shards are kept
    }


def _codes(*codes: int) -> Values:
    return {"operator": "In", "values": sorted(codes)}


def _object(version: str, kind: str, name: str, profile: KubernetesProfile, spec: Values) -> Values:
    metadata = _metadata(name, name, profile)
    if profile.queue and kind != "TrainingRuntime":
        metadata["labels"] = {**metadata["labels"], QUEUE_LABEL: profile.queue}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _metadata(name: str, job: str, profile: KubernetesProfile) -> Values:
    where: dict[str, Any] = {"namespace": profile.namespace} if profile.namespace else {}
    return {"name": name, **where, "labels": _labels(job, profile)}


def _template(name: str, profile: KubernetesProfile, pod: Values) -> Values:
    return {"metadata": {"labels": _labels(name, profile)}, "spec": pod}


def _labels(job: str, profile: KubernetesProfile) -> dict[str, str]:
    return {**profile.labels, "app.kubernetes.io/name": "abet", NAME_LABEL: job}
