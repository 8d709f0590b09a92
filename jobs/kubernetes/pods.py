"""From a JobSpec to the pod that runs it: command line, environment, volumes, limits. Pure."""

from typing import Any, Final

from abet.errors import UsageError
from abet.names import is_registry_image
from jobs.kubernetes.environment import INDEX_FAILURES, LAST_WORD, POD_NAME, SITE_FILE
from jobs.kubernetes.profile import KubernetesProfile
from jobs.kubernetes.site_map import FOLDER, SCRATCH, SITE_PATH
from jobs.spec import SHARD, JobSpec, Kind

Values = dict[str, Any]
START_SECONDS: Final = 600
"""Of a pod's own deadline, for its image, beside the time limit that `jobs.kubernetes.pod` keeps by itself."""
MARGIN_SECONDS: Final = 30
"""Beside the grace of the job: the launcher's own end, and the last upload's."""
MOST_SCRATCH_GIB: Final[dict[Kind, int | None]] = {
    **{"train": None, "fit": None},
    **{"evaluate": 50, "components": 50, "calibrate": 50},
    **{"merge": 5, "report": 5},
}
"""Kind of job -> what it needs at most of the profile's scratch; None: all of it."""
OTHER_DISK_GIB: Final = 10
"""Of the node's disk, beside the scratch: /tmp and logs."""
COMMAND: Final = ("python", "-m", "jobs.pod")
IMAGE_DIGEST: Final = "ABET_IMAGE_DIGEST"
LAST_WORD_PATH: Final = "/dev/termination-log"
FAILURE_COUNT: Final = "batch.kubernetes.io/job-index-failure-count"


def pod_spec(
    spec: JobSpec, profile: KubernetesProfile, *, image: str | None, container: str, config: str, wait_minutes: int = 0
) -> Values:
    """The pod of a job.

    Args:
        spec: the job.
        profile: the cluster's.
        image: what runs.
        container: name that the operator expects.
        config: name of the ConfigMap with the site file.
        wait_minutes: how long a merge waits for its shards.

    Raises:
        UsageError: no image is named.
    """
    if not image:
        raise UsageError("no image is named: `image:` in the site file, the one that `make push` pushed")
    if not is_registry_image(image):
        raise UsageError(
            f"image: {image!r} is no image of a registry: expected [HOST[:PORT]/]NAME[:TAG][@sha256:DIGEST], the name "
            "in lower case, as `make push` prints it"
        )
    values: Values = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": spec.grace_seconds + MARGIN_SECONDS,
        "securityContext": _pod_security(profile),
        "containers": [
            _container(spec, profile, image=image, name=container, config=config, wait_minutes=wait_minutes)
        ],
        "volumes": _volumes(spec, profile, config),
    }
    # A training job goes on after its time limit elsewhere; a pod here has none
    if spec.kind != "train":
        last = spec.grace_seconds + MARGIN_SECONDS
        values["activeDeadlineSeconds"] = START_SECONDS + 60 * (spec.time_limit_minutes + wait_minutes) + last
    optional = {
        "serviceAccountName": profile.service_account,
        "imagePullSecrets": [{"name": name} for name in profile.image_pull_secrets],
        "nodeSelector": profile.node_selector if spec.gpus_per_node else {},
        "tolerations": [each.model_dump(exclude_none=True) for each in profile.tolerations],
        "priorityClassName": profile.priority_class,
    }
    return values | {key: value for key, value in optional.items() if value}


def _pod_security(profile: KubernetesProfile) -> Values:
    numbers = {"runAsUser": profile.run_as_user, "runAsGroup": 0, "fsGroup": profile.fs_group}
    if profile.run_as_user is None:
        del numbers["runAsGroup"]
    given: Values = {key: value for key, value in numbers.items() if value is not None}
    if profile.fs_group is not None:
        given["fsGroupChangePolicy"] = "OnRootMismatch"  # else every start walks through a whole data set
    return {"runAsNonRoot": True, **given, "seccompProfile": {"type": "RuntimeDefault"}}


def _container(
    spec: JobSpec, profile: KubernetesProfile, *, image: str, name: str, config: str, wait_minutes: int
) -> Values:
    amounts = {
        "cpu": str(spec.cpus_per_node),
        "memory": f"{spec.memory_gib}Gi",
        # Kueue admits nothing that asks for a resource which its queue does not count, and few count this one
        **({} if profile.queue else {"ephemeral-storage": f"{scratch_gib(spec, profile) + OTHER_DISK_GIB}Gi"}),
        **({profile.gpu_resource: str(spec.gpus_per_node)} if spec.gpus_per_node else {}),
    }
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": profile.image_pull_policy,
        "command": list(COMMAND),
        "args": pod_arguments(spec, profile, config=config, wait_minutes=wait_minutes),
        "env": _environment(spec, profile, image),
        "terminationMessagePath": LAST_WORD_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "site", "mountPath": FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "scratch", "mountPath": SCRATCH},
            {"name": "shm", "mountPath": "/dev/shm"},
            *(
                {"name": f"claim-{number}", "mountPath": claim.path, "readOnly": claim.read_only}
                for number, claim in enumerate(profile.volumes)
            ),
        ],
    }


def pod_arguments(spec: JobSpec, profile: KubernetesProfile, *, config: str, wait_minutes: int = 0) -> list[str]:
    """The command line of `jobs.kubernetes.pod`."""
    words = ["--name", spec.name, "--retries", str(spec.retries), "--grace-seconds", str(spec.grace_seconds)]
    if spec.kind == "train":
        words += ["--processes", str(spec.processes_per_node), "--run", str(spec.artifacts)]
    else:
        words += ["--time-limit-minutes", str(spec.time_limit_minutes + wait_minutes)]
    if spec.shards:
        if spec.kind == "evaluate":  # a merge waits for these, and must hear of those that will not come
            words += ["--run", str(spec.artifacts), "--dataset", option_of(spec, "--dataset")]
        words += ["--shards", f"{','.join(map(str, spec.shards))}/{shard_count(spec)}"]
    words += ["--need", f"{SITE_FILE}=configmap/{config}"]
    for variable in variables(spec, profile):
        words += ["--need", f"{variable}=secret/{profile.secret}"]
    waits = ["--wait-minutes", str(wait_minutes)] if spec.kind == "merge" and wait_minutes else []
    # Kubernetes takes $(NAME) in an argument for a variable, and $$ for a dollar
    return [word.replace("$", "$$") for word in (*words, "--", *spec.command, *waits)]


def option_of(spec: JobSpec, option: str) -> str:
    """The value of an option of the job's command."""
    return spec.command[spec.command.index(option) + 1]


def shard_count(spec: JobSpec) -> int:
    """How many shards the evaluation has, of which this job computes some."""
    return next(int(word.partition("/")[2]) for word in spec.command if word.startswith(f"{SHARD}/"))


def variables(spec: JobSpec, profile: KubernetesProfile) -> tuple[str, ...]:
    """The variables that the pod gets of the secret. Raises UsageError for wanted ones without a secret."""
    if spec.secrets and not profile.secret:
        raise UsageError(
            f"--secret {' '.join(spec.secrets)}: on Kubernetes the values come from a secret of the cluster, and the "
            "profile names none: set `secret:` there"
        )
    return tuple(dict.fromkeys((*profile.keys, *spec.secrets)))


def scratch_gib(spec: JobSpec, profile: KubernetesProfile) -> int:
    """Disk of the node for copies of what lies in S3."""
    most = MOST_SCRATCH_GIB[spec.kind]
    return profile.scratch_gib if most is None else min(profile.scratch_gib, most)


def _environment(spec: JobSpec, profile: KubernetesProfile, image: str) -> list[Values]:
    found: list[Values] = [
        {"name": SITE_FILE, "value": SITE_PATH},
        {"name": LAST_WORD, "value": LAST_WORD_PATH},
        {"name": POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    if "@" in image:  # for run.json
        found.append({"name": IMAGE_DIGEST, "value": image.rpartition("@")[2]})
    if spec.shards:
        path = f"metadata.annotations['{FAILURE_COUNT}']"
        found.append({"name": INDEX_FAILURES, "valueFrom": {"fieldRef": {"fieldPath": path}}})
    # Optional: a pod that waits for a secret says nothing, its own check names what is missing
    for name in variables(spec, profile):
        reference = {"name": profile.secret, "key": name, "optional": True}
        found.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    return found


def _volumes(spec: JobSpec, profile: KubernetesProfile, config: str) -> list[Values]:
    return [
        {"name": "site", "configMap": {"name": config, "optional": True}},
        {"name": "tmp", "emptyDir": {"sizeLimit": f"{OTHER_DISK_GIB // 2}Gi"}},
        {"name": "scratch", "emptyDir": {"sizeLimit": f"{scratch_gib(spec, profile)}Gi"}},
        # Counts as memory of the container
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{spec.shared_memory_gib}Gi"}},
        *(
            {
                "name": f"claim-{number}",
                "persistentVolumeClaim": {"claimName": claim.claim, "readOnly": claim.read_only},
            }
            for number, claim in enumerate(profile.volumes)
        ),
    ]
