"""What kubectl says of jobs, pods and events, in the words of `jobs status`, with what to do."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from jobs import attempts
from jobs.executors.states import UnansweredError
from jobs.kubernetes.states import judge, status_of
from jobs.records import Record, new_record
from jobs.spec import JobSpec
from jobs.words import Status


def condition(kind: str, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"status": {"conditions": [{"type": kind, "status": "True", "reason": reason, "message": message}]}}


def pod(phase: str = "Pending", *, index: int | None = None, **container: Any) -> dict[str, Any]:
    labels = {} if index is None else {"batch.kubernetes.io/job-completion-index": str(index)}
    status = {"phase": phase, "containerStatuses": [{"image": "i", "state": container}] if container else []}
    return {"metadata": {"name": "p-0", "labels": labels}, "spec": {"nodeName": "n1"}, "status": status}


def unscheduled(message: str) -> dict[str, Any]:
    made = pod()
    made["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "message": message}]
    return made


def ended(code: int, reason: str = "Error", **more: Any) -> dict[str, Any]:
    return pod("Failed" if code else "Succeeded", terminated={"exitCode": code, "reason": reason}, **more)


def event(message: str) -> dict[str, Any]:
    return {"type": "Warning", "reason": "FailedCreate", "message": message}


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ([pod(waiting={"reason": "ImagePullBackOff", "message": "Back-off"})], "ImagePullBackOff: the image cannot be"),
        ([pod(waiting={"reason": "ErrImagePull", "message": "401"})], "`image_pull_secrets` in the Kubernetes profile"),
        ([pod(waiting={"reason": "InvalidImageName"})], "`image:` in the site file"),
        ([pod(waiting={"reason": "CreateContainerConfigError"})], "a secret or ConfigMap"),
        ([unscheduled("0/5 nodes are available: 5 Insufficient nvidia.com/gpu.")], "no node has so many free GPUs"),
        ([unscheduled("0/5 nodes are available: 5 Insufficient memory.")], "no node has so much free memory"),
        (
            [unscheduled("0/3 nodes are available: 3 node(s) had untolerated taint {nvidia.com/gpu: present}.")],
            "reserved by the taint nvidia.com/gpu: `tolerations:`",
        ),
        (
            [unscheduled("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.")],
            "`node_selector` in the Kubernetes profile",
        ),
        ([unscheduled('persistentvolumeclaim "datasets" not found')], "claim datasets does not exist"),
        ([unscheduled("pod has unbound immediate PersistentVolumeClaims")], "`kubectl get pvc`"),
        ([unscheduled("something new")], "no node for it yet: something new"),
    ],
)
def test_why_a_job_waits_and_what_to_do(pods: list[Any], said: str) -> None:
    status = judge({}, pods, [])
    assert status.state == "waiting"
    assert said in status.detail


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            'pods "a" is forbidden: exceeded quota: gpus, requested: 8, used: 8, limited: 8',
            "the quota gpus",
        ),
        ('violates PodSecurity "restricted:latest": runAsNonRoot', "`run_as_user` in the Kubernetes profile"),
        (
            'error looking up service account x/abet: serviceaccount "abet" not found',
            "the service account abet",
        ),
        ("no PriorityClass with name batch was found", "the priority class batch does not exist"),
        ("something new", "FailedCreate: something new"),
    ],
)
def test_a_job_without_pods_is_explained_by_its_events(message: str, said: str) -> None:
    status = judge({}, [], [event("older"), event(message)])
    assert status.state == "waiting"
    assert said in status.detail


def test_a_job_that_its_queue_holds_is_said_to_be() -> None:
    for job in ({"spec": {"suspend": True}}, {"spec": {"runPolicy": {"suspend": True}}}):
        assert judge(job, [], []) == Status("waiting", "suspended: its queue (Kueue) has no room yet", None, 0)


def test_a_job_that_nobody_looks_at_hints_at_its_operator() -> None:
    assert "its operator does not run" in judge({}, [], []).detail


def test_a_job_that_is_being_deleted_saves() -> None:
    job = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert judge(job, [], []) == Status("running", "it was asked to stop, and saves", None, 0)


def test_a_pod_that_runs_is_named() -> None:
    assert judge({}, [pod("Running", running={})], []) == Status("running", "p-0 on n1", None, 1)


def test_between_two_pods_the_last_end_is_told() -> None:
    status = judge({}, [ended(137, "OOMKilled")], [])
    assert (status.state, status.detail[:13]) == ("waiting", "out of memory")


@pytest.mark.parametrize("kind", ["Complete", "Succeeded"])
def test_a_job_that_succeeded_is_done(kind: str) -> None:
    assert judge(condition(kind), [ended(0)], []) == Status("done", "", None, 1)


@pytest.mark.parametrize(
    ("pods", "reason", "state", "said"),
    [
        ([ended(2)], "PodFailurePolicy", "refused", "exit code 2"),
        ([ended(3)], "PyTorchJobFailed", "refused", "exit code 3"),
        ([ended(1)], "PyTorchJobFailed", "failed", "exit code 1"),
        ([ended(137, "OOMKilled")], "BackoffLimitExceeded", "failed", "out of memory: raise --memory-gib"),
        ([ended(143)], "DeadlineExceeded", "failed", "its time was over"),
        ([ended(143)], "JobFailed", "stopped", "exit code 143"),
        ([], "DeadlineExceeded", "failed", "`deadline_hours`"),
    ],
)
def test_how_a_job_failed(pods: list[Any], reason: str, state: str, said: str) -> None:
    status = judge(condition("Failed", reason, "told"), pods, [])
    assert status.state == state
    assert said in status.detail


@pytest.mark.parametrize(
    ("message", "state"),
    [("below target: best mIoU 0.4 of 0.8", "below target"), ("label.png: pixel value 77 is no class", "refused")],
)
def test_a_pods_last_word_is_told(message: str, state: str) -> None:
    last = ended(3)
    last["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = f"{message}\n"
    status = judge(condition("Failed", "PyTorchJobFailed", "told"), [last], [])
    assert status.state == state
    assert f"exit code 3: {message}" in status.detail


def test_shards_are_counted_and_those_that_failed_for_good_are_named() -> None:
    pods = [ended(0, index=0), pod("Running", index=1, running={}), ended(3, index=2)]
    job = {"status": {"succeeded": 1, "active": 1, "failedIndexes": "2"}}
    status = judge(job, pods, [], shards=(3, 5, 7))
    assert (status.state, status.detail) == ("running", "1 of 3 shards done, 1 running, failed for good: shard 7")
    over = condition("Failed", "FailedIndexes")
    over["status"]["failedIndexes"] = "0,2-3"
    status = judge(over, [ended(0, index=0), ended(3, index=2)], [], shards=(3, 5, 7, 8))
    assert status.state == "refused"
    assert "; shards 3, 7, 8: submit the evaluation again" in status.detail


# --- asking


@pytest.fixture
def record(tmp_path: Path, finetune: JobSpec) -> Record:
    made = new_record(tmp_path, finetune, "kubernetes")
    return made.update(number="pytorchjobs.kubeflow.org/finetune-a1b2c", context="lab", namespace="perception")


def answering(**answers: Any) -> Any:
    def run(command: Sequence[str]) -> str:
        assert command[:2] == ["kubectl", "get"]
        named = [command[command.index(option) + 1] for option in ("--context", "--namespace")]
        assert named == ["lab", "perception"]
        what = command[2].partition(".")[0]
        answer = answers.get(what, {"items": []})
        if isinstance(answer, Exception):
            raise answer
        return "" if answer is None else json.dumps(answer)

    return run


def test_the_cluster_is_asked_for_the_job_its_pods_and_events(record: Record) -> None:
    run = answering(pytorchjobs={}, pods={"items": [pod("Running", running={})]})
    assert status_of(record, run=run).state == "running"


def test_events_of_what_was_made_for_the_job_count_too_the_newest_first_and_none_may_be_listed(record: Record) -> None:
    def at(minute: int, name: str, message: str) -> dict[str, Any]:
        when = f"2026-01-01T00:{minute:02d}:00Z"
        return {**event(message), "involvedObject": {"name": name}, "lastTimestamp": when}

    own = "finetune-a1b2c-node-0"  # a TrainJob's pods belong to a Job of this name
    events = [at(9, own, "exceeded quota: gpus, used"), at(3, own, "older"), at(10, "other", "of another job")]
    status = status_of(record, run=answering(pytorchjobs={}, events={"items": events}))
    assert "the quota gpus" in status.detail
    status = status_of(record, run=answering(pytorchjobs={}, events=UnansweredError("forbidden")))
    assert status.state == "waiting"


def test_a_job_that_is_not_there_was_cancelled_or_is_forgotten(record: Record) -> None:
    assert status_of(record, run=answering(pytorchjobs=None)).state == "lost"
    attempts.cancel(record.folder)
    assert status_of(record, run=answering(pytorchjobs=None)).state == "cancelled"


@pytest.mark.parametrize(
    ("said", "state", "detail"),
    [
        ("kubectl: connection refused", "unknown", "connection refused"),
        (
            'error: the server doesn\'t have a resource type "pytorchjobs"',
            "unknown",
            "is the operator still installed?",
        ),
    ],
)
def test_a_cluster_that_does_not_answer(said: str, state: str, detail: str, record: Record) -> None:
    status = status_of(record, run=answering(pytorchjobs=UnansweredError(said)))
    assert status.state == state
    assert detail in status.detail
