"""What no schema says and an operator or the cluster refuses later, or worse, takes and misunderstands. Pure.

Each rule looks at one object and yields what is wrong, with the remedy.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from abet.errors import UsageError
from abet.exits import PERMANENT, STOPPED
from jobs.kubernetes.environment import TIMED_OUT

Values = Mapping[str, Any]
LABEL: Final = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
"""DNS-1035: services of the operator are named after the job."""
NAME_LENGTHS: Final = {
    "PyTorchJob": 63 - len("-worker-10"),
    "TrainJob": 63 - len("-node-0-0-abcde"),
    "TrainingRuntime": 63,
    "Job": 63 - len("-1000"),
}
"""Kind -> characters that leave room for what pods and services are called after it."""
POLITE_SECONDS: Final = 60
GIB: Final = {"Gi": 1.0, "Mi": 1 / 1024, "Ti": 1024.0}


def require_sound(documents: Sequence[Values]) -> None:
    """Raises UsageError that names everything that `problems` finds."""
    found = problems(documents)
    if found:
        raise UsageError("; ".join(found))


def problems(documents: Sequence[Values]) -> list[str]:
    """What is wrong with the objects of one submission; nothing when all is well."""
    found: list[str] = []
    for each in documents:
        where = f"{each.get('kind')} {each.get('metadata', {}).get('name')}"
        found += [f"{where}: {wrong}" for rule in RULES for wrong in rule(each)]
        found += [f"{where}: {wrong}" for wrong in _embedded(each, documents)]
    return found


def pods(document: Values) -> list[tuple[str, Values]]:
    """The pod templates of an object: where each stands, and its spec."""
    spec = document.get("spec", {})
    kind = document.get("kind")
    if kind == "PyTorchJob":
        replicas = spec.get("pytorchReplicaSpecs", {})
        return [(name, replica.get("template", {}).get("spec", {})) for name, replica in replicas.items()]
    if kind == "Job":
        return [("template", spec.get("template", {}).get("spec", {}))]
    if kind == "TrainingRuntime":
        jobs = spec.get("template", {}).get("spec", {}).get("replicatedJobs", [])
        return [(job.get("name", "?"), job["template"]["spec"]["template"]["spec"]) for job in jobs]
    return []


def _name(document: Values) -> Iterator[str]:
    name = str(document.get("metadata", {}).get("name", ""))
    longest = NAME_LENGTHS.get(str(document.get("kind")))
    if longest is not None and (not LABEL.fullmatch(name) or len(name) > longest):
        yield (
            f"name {name!r}: expected a-z, 0-9 and '-', first a letter, at most {longest} characters, since pods "
            "and services are named after it; give --name"
        )


def _replicas(document: Values) -> Iterator[str]:
    if document.get("kind") != "PyTorchJob":
        return
    spec = document["spec"]
    replicas = spec.get("pytorchReplicaSpecs", {})
    if replicas.get("Master", {}).get("replicas") != 1:
        yield f"Master.replicas {replicas.get('Master', {}).get('replicas')}: the operator takes one, and needs it"
    if not isinstance(spec.get("nprocPerNode"), str):
        yield f"nprocPerNode {spec.get('nprocPerNode')!r}: the operator wants a string"
    if spec.get("runPolicy", {}).get("backoffLimit") == 0:
        yield f"runPolicy.backoffLimit 0 ends the job at its first {STOPPED}: leave it out"
    for name, replica in replicas.items():
        if replica.get("restartPolicy") != "ExitCode":
            yield (
                f"{name}.restartPolicy {replica.get('restartPolicy')}: ExitCode retries {STOPPED} (stopped after "
                "saving) and not 2 or 3"
            )
        containers = replica.get("template", {}).get("spec", {}).get("containers", [])
        if "pytorch" not in [container.get("name") for container in containers]:
            yield f"{name}: no container is called pytorch, the only one that the operator looks at"


def _deadline(document: Values) -> Iterator[str]:
    spec = document.get("spec", {})
    holder = spec.get("runPolicy", {}) if document.get("kind") == "PyTorchJob" else spec
    if document.get("kind") in ("PyTorchJob", "Job", "TrainJob") and not holder.get("activeDeadlineSeconds"):
        yield "no activeDeadlineSeconds: a job that hangs holds its GPUs for ever"


def _failures(document: Values) -> Iterator[str]:
    if document.get("kind") != "Job":
        return
    spec = document["spec"]
    rules = spec.get("podFailurePolicy", {}).get("rules", [])
    final = {code for rule in rules if rule["action"].startswith("Fail") for code in _values(rule)}
    ends = (*PERMANENT, TIMED_OUT)
    if not set(ends) <= final:
        yield f"podFailurePolicy: exit codes {', '.join(map(str, ends))} are final, and would be tried again"
    if STOPPED in final:
        yield f"podFailurePolicy: {STOPPED} means stopped after saving, and would end the job"
    if not any(rule["action"] == "Ignore" and rule.get("onPodConditions") for rule in rules):
        yield "podFailurePolicy: disruptions of the cluster (DisruptionTarget) count as failures; ignore them"
    if spec.get("podReplacementPolicy") != "Failed":
        yield "podReplacementPolicy: a pod that still saves gets a second one beside it; Failed waits for its end"
    if spec.get("template", {}).get("spec", {}).get("restartPolicy") != "Never":
        yield "restartPolicy: podFailurePolicy looks at pods, so containers must never be started again in one"
    if spec.get("completionMode") == "Indexed" and "backoffLimitPerIndex" not in spec:
        yield "backoffLimitPerIndex is missing: one shard's failures would end all"


def _values(rule: Values) -> Sequence[int]:
    codes: Sequence[int] = rule.get("onExitCodes", {}).get("values", ())
    return codes


def _images(document: Values) -> Iterator[str]:
    for where, pod in pods(document):
        for container in pod.get("containers", []):
            if not container.get("image"):
                yield f"{where}: container {container.get('name')} has no image"


def _volumes(document: Values) -> Iterator[str]:
    for where, pod in pods(document):
        there = {volume.get("name") for volume in pod.get("volumes", [])}
        for container in pod.get("containers", []):
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in there:
                    yield f"{where}: volumeMount {mount['name']} has no volume"


def _memory(document: Values) -> Iterator[str]:
    for where, pod in pods(document):
        resources = [container.get("resources", {}) for container in pod["containers"]]
        limits = [each.get("limits", {}).get("memory") for each in resources]
        if any(each.get("limits") != each.get("requests") for each in resources):
            yield f"{where}: requests and limits differ: the pod may be evicted for what it was promised"
        shared_volumes = [each for each in pod.get("volumes", []) if each.get("emptyDir", {}).get("medium") == "Memory"]
        if not shared_volumes:
            yield f"{where}: no volume in memory for /dev/shm, where a container has 64 MiB and loaders need more"
        for volume in shared_volumes:
            shared = volume["emptyDir"]
            if "sizeLimit" not in shared:
                yield f"{where}: volume {volume['name']} has no sizeLimit, and may take the node's memory"
            elif not all(limits) or gib(shared["sizeLimit"]) > gib(limits[0]) / 2:
                yield (
                    f"{where}: {volume['name']} of {shared['sizeLimit']} counts as memory of the container, whose "
                    f"limit is {limits[0]}: at most half of it; raise --memory-gib"
                )


def gib(amount: str) -> float:
    """GiB of a quantity with a binary unit."""
    match = re.fullmatch(r"([0-9.]+)([KMGT]i)", amount)
    if match is None or match[2] not in GIB:
        raise UsageError(f"{amount!r}: expected an amount such as 16Gi")
    return float(match[1]) * GIB[match[2]]


def _grace(document: Values) -> Iterator[str]:
    for where, pod in pods(document):
        grace = pod.get("terminationGracePeriodSeconds", 30)
        for container in pod.get("containers", []):
            words = container.get("args", [])
            wanted = int(words[words.index("--grace-seconds") + 1]) if "--grace-seconds" in words else POLITE_SECONDS
            if grace < wanted:
                yield f"{where}: terminationGracePeriodSeconds {grace} is shorter than the {wanted} s of saving"


def _security(document: Values) -> Iterator[str]:
    for where, pod in pods(document):
        security = pod.get("securityContext", {})
        wrong = []
        wrong += [] if security.get("runAsNonRoot") is True else ["runAsNonRoot: true"]
        wrong += [] if security.get("runAsUser") != 0 else ["a runAsUser other than 0"]
        wrong += (
            []
            if security.get("seccompProfile", {}).get("type") == "RuntimeDefault"
            else ["seccompProfile RuntimeDefault"]
        )
        wrong += [] if not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")) else ["no host namespace"]
        wrong += [] if pod.get("automountServiceAccountToken") is False else ["automountServiceAccountToken: false"]
        wrong += [] if not any("hostPath" in volume for volume in pod.get("volumes", [])) else ["no hostPath volume"]
        for container in pod.get("containers", []):
            own = container.get("securityContext", {})
            wrong += [] if own.get("allowPrivilegeEscalation") is False else ["allowPrivilegeEscalation: false"]
            wrong += [] if own.get("readOnlyRootFilesystem") is True else ["readOnlyRootFilesystem: true"]
            wrong += [] if own.get("capabilities", {}).get("drop") == ["ALL"] else ["capabilities.drop: [ALL]"]
            wrong += [] if not own.get("privileged") else ["no privileged container"]
        if wrong:
            yield f"{where}: namespaces with restricted Pod Security want {', '.join(wrong)}"


def _secrets(document: Values) -> Iterator[str]:
    for where, pod in pods(document):
        for container in pod.get("containers", []):
            for entry in container.get("env", []):
                reference = entry.get("valueFrom", {}).get("secretKeyRef")
                if reference is not None and reference.get("optional") is not True:
                    yield f"{where}: {entry['name']} waits for ever for its secret; make it optional, the pod checks it"
                if "value" in entry and re.search(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY", entry["name"]):
                    yield f"{where}: the value of {entry['name']} stands in the manifest; refer to a secret"


def _embedded(document: Values, documents: Sequence[Values]) -> Iterator[str]:
    there = {each["metadata"]["name"] for each in documents if each.get("kind") == "ConfigMap"}
    for where, pod in pods(document):
        for volume in pod.get("volumes", []):
            name = volume.get("configMap", {}).get("name")
            if name is not None and name not in there:
                yield f"{where}: ConfigMap {name} is not in this file"
    if document.get("kind") == "TrainJob":
        name = document["spec"]["runtimeRef"]["name"]
        if name not in {each["metadata"]["name"] for each in documents if each.get("kind") == "TrainingRuntime"}:
            yield f"TrainingRuntime {name} is not in this file"


RULES: Final[tuple[Callable[[Values], Iterator[str]], ...]] = (
    _name,
    _replicas,
    _deadline,
    _failures,
    _images,
    _volumes,
    _memory,
    _grace,
    _security,
    _secrets,
)
