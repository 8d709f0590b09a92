"""How a job on Kubernetes stands, in the words of `jobs.status`: from its object, its pods, and their events."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from abet.exits import PERMANENT, STOPPED
from jobs import attempts
from jobs.executors.states import UnansweredError, output_of
from jobs.records import Record
from jobs.words import Status

Values = Mapping[str, Any]
Run = Callable[[Sequence[str]], str]

NAME_LABEL: Final = "app.kubernetes.io/instance"
"""Of everything that belongs to a job: its name."""
WAITING: Final = {
    "ImagePullBackOff": "the image cannot be pulled: is it pushed under this name, and does the registry want a login "
    "(`image_pull_secrets` in the Kubernetes profile)?",
    "ErrImagePull": "the image cannot be pulled: is it pushed under this name, and does the registry want a login "
    "(`image_pull_secrets` in the Kubernetes profile)?",
    "InvalidImageName": "`image:` in the site file is no name of an image",
    "CreateContainerConfigError": "a secret or ConfigMap of the pod is not as it should be: apply the manifest again",
    "CreateContainerError": "the node cannot start the container: `kubectl describe pod` says why",
    "CrashLoopBackOff": "it ends again and again: `python -m jobs logs JOB`",
}
"""Reason for which a container waits -> what to do."""
UNSCHEDULABLE: Final = (
    (
        r"persistentvolumeclaim \"([^\"]+)\" not found",
        "claim {0} does not exist in this namespace: create it, or correct `volumes:` in the Kubernetes profile",
    ),
    (
        r"unbound immediate PersistentVolumeClaims",
        "a claim is not bound to a volume: `kubectl get pvc` says which; does its storage class exist?",
    ),
    (r"Insufficient (\S*gpu\S*)", "no node has so many free GPUs ({0}): wait, or ask for fewer (GPUS=)"),
    (
        r"Insufficient (\S+)",
        "no node has so much free {0}: wait, or ask for less (--cpus, --memory-gib; `scratch_gib` in the "
        "profile for ephemeral-storage)",
    ),
    (
        r"untolerated taint(?:\(s\))? \{([^}:]+)",
        "nodes are reserved by the taint {0}: `tolerations:` in the Kubernetes profile",
    ),
    (
        r"didn't match Pod's node affinity/selector",
        "no node has the labels of `node_selector` in the Kubernetes profile",
    ),
)
"""What the scheduler says -> what to do, in the order of what explains most."""
EVENTS: Final = (
    (r"exceeded quota: ([^,]+)", "the quota {0} of this namespace is used up: wait, or ask for less"),
    (
        r"violates PodSecurity",
        "the namespace refuses the pods' security settings: `run_as_user` in the Kubernetes profile",
    ),
    (
        r"serviceaccount \"([^\"]+)\" not found",
        "the service account {0} does not exist: `service_account:` in the profile",
    ),
    (r"no PriorityClass with name (\S+)", "the priority class {0} does not exist: `priority_class:` in the profile"),
)
"""What an event of the job says that has no pods yet -> what to do."""
ENDS: Final = {
    "OOMKilled": "out of memory: raise --memory-gib (shared memory counts), or make batches smaller",
    "DeadlineExceeded": "its time was over: `deadline_hours` in the Kubernetes profile, or --time-limit-minutes",
    "Evicted": "evicted by its node: often its disk is full (`scratch_gib` in the Kubernetes profile)",
    "BackoffLimitExceeded": "it failed as often as it may",
    "FailedIndexes": "shards failed as often as they may",
    "PodFailurePolicy": "it ended with a code that no retry can change",
}


BELOW_TARGET: Final = "below target"
"""How a training pod begins its last word when its best mIoU misses the recipe's target."""


def status_of(record: Record, *, run: Run = output_of) -> Status:
    """How a job stands, asked of the cluster now; state ``unknown`` where that does not answer."""
    number = record.job.number
    if number is None:
        return Status("lost", "its submission has not come to its end")
    kind, _, name = number.partition("/")
    try:
        job = _one(["kubectl", "get", kind, name, *where(record), "--ignore-not-found"], run)
        pods = _items(["kubectl", "get", "pods", *where(record), "--selector", f"{NAME_LABEL}={name}"], run)
    except UnansweredError as error:
        return _unanswered(kind, str(error))
    if job is None:
        if attempts.is_cancelled(record.folder):
            return Status("cancelled", "deleted")
        return Status("lost", "it is no longer in the cluster: deleted, or removed some time after its end")
    return judge(job, by_age(pods), _events(record, name, run), shards=record.job.spec.shards)


def where(record: Record) -> tuple[str, ...]:
    """The options by which kubectl finds a job again, whatever context it has by now."""
    context = ("--context", record.job.context) if record.job.context else ()
    return (*context, *(("--namespace", record.job.namespace) if record.job.namespace else ()))


def by_age(pods: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pods, the oldest first."""
    return sorted(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]))


def _events(record: Record, name: str, run: Run) -> list[dict[str, Any]]:
    """Warnings about the job and what was made for it (a TrainJob's pods belong to a Job NAME-node-0), oldest first."""
    try:
        found = _items(["kubectl", "get", "events", *where(record), "--field-selector", "type=Warning"], run)
    except UnansweredError:  # not everybody may list them
        return []
    own = [event for event in found if str(event["involvedObject"]["name"]).startswith(name)]
    return sorted(own, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))


def _unanswered(kind: str, said: str) -> Status:
    if "the server doesn't have a resource type" in said:
        return Status("unknown", f"the cluster knows no {kind} any more: is the operator still installed?")
    return Status("unknown", said)


def _one(command: list[str], run: Run) -> Values | None:
    text = run([*command, "--output", "json"])
    return json.loads(text) if text.strip() else None


def _items(command: list[str], run: Run) -> list[dict[str, Any]]:
    found = _one(command, run)
    return [] if found is None else list(found["items"])


def judge(job: Values, pods: Sequence[Values], events: Sequence[Values], *, shards: Sequence[int] = ()) -> Status:
    """The status of a job from what the cluster says of it. Pure."""
    state, detail = _ended(job, pods, shards) or _held(job) or _alive(job, pods, events, shards)
    return Status(state, detail, None, len(pods))


def _ended(job: Values, pods: Sequence[Values], shards: Sequence[int]) -> tuple[str, str] | None:
    told = job.get("status", {}).get("conditions", [])
    conditions = {each["type"]: each for each in told if each["status"] == "True"}
    if _any(conditions, "Complete", "Succeeded"):
        return "done", ""
    failed = _any(conditions, "Failed")
    return None if failed is None else _failure(failed, pods, _failed_shards(job, shards))


def _held(job: Values) -> tuple[str, str] | None:
    """A job that is not meant to run now."""
    if job.get("metadata", {}).get("deletionTimestamp"):
        return "running", "it was asked to stop, and saves"
    spec = job.get("spec", {})
    if spec.get("suspend") or spec.get("runPolicy", {}).get("suspend"):
        return "waiting", "suspended: its queue (Kueue) has no room yet"
    return None


def _alive(job: Values, pods: Sequence[Values], events: Sequence[Values], shards: Sequence[int]) -> tuple[str, str]:
    if shards:
        return _of_shards(job, pods, shards)
    running = [pod for pod in pods if _phase(pod) == "Running"]
    if running and not any(_waits(pod) for pod in running):
        return "running", _place(running[0])
    detail = next(_why_waiting(pods), None) or next(_why_no_pods(events), None) or _last_end(pods)
    if not detail and not job.get("status"):
        detail = "nobody has looked at it yet; if that lasts, its operator does not run (docs/kubernetes.md)"
    return "waiting", detail


def _any(conditions: Mapping[str, Values], *types: str) -> Values | None:
    return next((conditions[each] for each in types if each in conditions), None)


def _phase(pod: Values) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def _place(pod: Values) -> str:
    return f"{pod['metadata']['name']} on {pod.get('spec', {}).get('nodeName', '?')}"


def _waits(pod: Values) -> bool:
    return any("waiting" in each.get("state", {}) for each in pod.get("status", {}).get("containerStatuses", []))


def _why_waiting(pods: Sequence[Values]) -> Iterator[str]:
    """What keeps pods from running, with the remedy."""
    for pod in pods:
        status = pod.get("status", {})
        for container in status.get("containerStatuses", []):
            waiting = container.get("state", {}).get("waiting", {})
            if (reason := waiting.get("reason")) in WAITING:
                yield f"{reason}: {WAITING[reason]} ({waiting.get('message', container['image'])})"
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                message = condition.get("message", "")
                yield _translated(message, UNSCHEDULABLE) or f"no node for it yet: {message}"


def _why_no_pods(events: Sequence[Values]) -> Iterator[str]:
    for event in reversed(events):
        if event.get("type") == "Warning":
            message = event.get("message", "")
            yield _translated(message, EVENTS) or f"{event.get('reason')}: {message}"


def _translated(message: str, table: Sequence[tuple[str, str]]) -> str | None:
    for pattern, remedy in table:
        if match := re.search(pattern, message):
            return f"{remedy.format(*match.groups())} ({message})"
    return None


def _failure(condition: Values, pods: Sequence[Values], failed_shards: Sequence[int]) -> tuple[str, str]:
    """State and detail of a job that the cluster gave up."""
    reason = condition.get("reason", "")
    codes = [code for pod in pods for code in _codes(pod)]
    state = "refused" if codes and codes[-1] in PERMANENT else "failed"
    if codes and codes[-1] == STOPPED and reason != "DeadlineExceeded":
        state = "stopped"
    told = ENDS.get(reason) or condition.get("message") or reason
    why = _last_end(pods)
    if BELOW_TARGET in why:
        state = "below target"
    detail = f"{told}{f'; {why}' if why and why != told else ''}"
    return state, f"{detail}{_again(failed_shards)}"


def _again(shards: Sequence[int]) -> str:
    numbers = ", ".join(map(str, shards))
    return f"; shards {numbers}: submit the evaluation again, only missing ones run" if shards else ""


def _failed_shards(job: Values, shards: Sequence[int]) -> list[int]:
    """Those whose index has failed for good. Indexes come as Kubernetes writes them: "1,3-5"."""
    found: list[int] = []
    for part in str(job.get("status", {}).get("failedIndexes", "")).split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():
            found += range(int(first), int(last or first) + 1)
    return [shards[index] for index in found if index < len(shards)]


def _codes(pod: Values) -> Iterator[int]:
    for container in pod.get("status", {}).get("containerStatuses", []):
        ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
        if ended:
            yield int(ended["exitCode"])


def _last_end(pods: Sequence[Values]) -> str:
    """How the last pod that ended did, in words."""
    for pod in reversed(pods):
        status = pod.get("status", {})
        if status.get("reason") in ENDS:
            return ENDS[status["reason"]]
        for container in status.get("containerStatuses", []):
            ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
            if ended and ended["exitCode"]:
                said = ENDS.get(ended.get("reason", "")) or f"exit code {ended['exitCode']}"
                return ": ".join(filter(None, (said, ended.get("message", "").strip())))
    return ""


def _of_shards(job: Values, pods: Sequence[Values], shards: Sequence[int]) -> tuple[str, str]:
    status = job.get("status", {})
    done, active = int(status.get("succeeded", 0)), int(status.get("active", 0))
    phases = Counter(_phase(pod) for pod in pods)
    gone = _failed_shards(job, shards)
    told = f"{done} of {len(shards)} shards done, {phases['Running']} running"
    told += f", failed for good: shard {', '.join(map(str, gone))}" if gone else ""
    why = next(_why_waiting(pods), None)
    state = "running" if phases["Running"] or (done and active) else "waiting"
    return state, f"{told}{f'; {why}' if why else ''}"
