"""A Kubernetes cluster's habits: ``k8s/profiles/NAME.yaml``, chosen by ``kubernetes:`` in the site file.

load_profile("default")
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from abet.settings import Positive, Strict, parse, read_yaml, unshown
from jobs.profile import ROOT
from jobs.profile import profile_path as path_of
from jobs.spec import names_of_variables

PROFILES: Final = ROOT / "k8s" / "profiles"
LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A DNS-1123 label: names of namespaces."""
OBJECT: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
"""A DNS-1123 subdomain: names of secrets, claims, accounts."""
LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
LABEL_KEY: Final = re.compile(rf"({OBJECT.pattern}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{{0,61}}[A-Za-z0-9])?")
RESOURCE: Final = re.compile(rf"{OBJECT.pattern}/[A-Za-z0-9]([A-Za-z0-9_.-]{{0,61}}[A-Za-z0-9])?")
"""An extended resource: its vendor's domain, a slash, its name."""
OURS: Final = ("/tmp", "/scratch", "/etc/abet", "/dev/shm", "/opt/abet")
"""Folders of the container that abet mounts or brings itself."""


class Toleration(Strict):
    """A taint that the pods do not mind."""

    key: str | None = Field(default=None, description="empty with operator Exists: every taint")
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Claim(Strict):
    """A PersistentVolumeClaim of the namespace."""

    claim: str
    path: str = Field(description="absolute path in the pods; site paths below it lie on the claim")
    read_only: bool = False

    @field_validator("claim")
    @classmethod
    def _is_object(cls, value: str) -> str:
        return _matching(OBJECT, value)

    @field_validator("path")
    @classmethod
    def _is_free(cls, value: str) -> str:
        path = PurePosixPath(value)
        if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2 or ":" in value:
            raise unshown(f"{value!r}: expected an absolute path below /, without .. and ':'")
        for ours in OURS:
            if path.is_relative_to(ours) or PurePosixPath(ours).is_relative_to(path):
                raise unshown(f"{value!r}: {ours} belongs to abet; choose another path, such as /data")
        return str(path)


class KubernetesProfile(Strict):
    """What differs from cluster to cluster; everything about the job itself is the JobSpec's."""

    namespace: str | None = Field(default=None, description="empty: that of kubectl's context")
    api: Literal["pytorchjob", "trainjob"] = Field(default="pytorchjob", description="what training jobs are made as")
    secret: str | None = Field(default="abet-s3", description="secret with the keys of S3; empty: pods have a role")
    secret_keys: tuple[str, ...] = Field(
        default=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), description="its entries, by the variables' names"
    )
    service_account: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    image_pull_policy: Literal["IfNotPresent", "Always"] = "IfNotPresent"
    gpu_resource: str = Field(default="nvidia.com/gpu", description="what GPUs are called as a resource")
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    priority_class: str | None = None
    queue: str | None = Field(default=None, description="local queue of Kueue")
    labels: dict[str, str] = Field(default_factory=dict, description="further labels of jobs and pods")
    volumes: tuple[Claim, ...] = ()
    scratch_gib: Positive = Field(default=200, description="disk of the node for copies of what lies in S3")
    run_as_user: Positive | None = Field(default=10001, description="numeric user; empty: the cluster chooses")
    fs_group: Positive | None = Field(default=10001, description="group that claims belong to; empty: the cluster's")
    deadline_hours: Positive = Field(default=168, description="life of a job, waiting included")
    kept_hours: Positive = Field(default=168, description="how long a finished job stays visible")

    @field_validator("secret_keys", mode="before")
    @classmethod
    def _are_names(cls, value: Any) -> Any:
        return names_of_variables(value)

    @field_validator("namespace")
    @classmethod
    def _is_label(cls, value: str | None) -> str | None:
        return None if value is None else _matching(LABEL, value)

    @field_validator("secret", "service_account", "priority_class")
    @classmethod
    def _is_object(cls, value: str | None) -> str | None:
        return None if value is None else _matching(OBJECT, value)

    @field_validator("image_pull_secrets", mode="before")
    @classmethod
    def _is_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise unshown(f"expected a list of names: [{value}]")
        return value

    @field_validator("image_pull_secrets")
    @classmethod
    def _are_objects(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_matching(OBJECT, name) for name in value)

    @field_validator("queue")
    @classmethod
    def _is_label_value(cls, value: str | None) -> str | None:
        return None if value is None else _matching(LABEL_VALUE, value, _LABEL_RULE)

    @field_validator("labels", "node_selector")
    @classmethod
    def _are_labels(cls, value: dict[str, str]) -> dict[str, str]:
        for key, text in value.items():
            _matching(LABEL_KEY, key, f"{_LABEL_RULE}, before it perhaps a domain and '/'")
            _matching(LABEL_VALUE, text, _LABEL_RULE)
        return value

    @field_validator("gpu_resource")
    @classmethod
    def _is_resource(cls, value: str) -> str:
        return _matching(RESOURCE, value, "a domain, '/' and a name, such as nvidia.com/gpu")

    @property
    def keys(self) -> tuple[str, ...]:
        """Variables that every pod gets of the secret."""
        return self.secret_keys if self.secret else ()


_OBJECT_RULE: Final = "a-z, 0-9 and '-', first and last a letter or digit"
_LABEL_RULE: Final = "at most 63 letters, digits, '-', '_' and '.', first and last a letter or digit"


def _matching(pattern: re.Pattern[str], value: str, rule: str = _OBJECT_RULE) -> str:
    if not pattern.fullmatch(value):
        raise unshown(f"{value!r}: expected {rule}, as Kubernetes does")
    return value


def load_profile(name: str) -> KubernetesProfile:
    """A profile by name, or one's own by the path of a ``.yaml`` file.

    Raises:
        UsageError: an unknown profile, a misspelt key, or a wrong value.
    """
    path = profile_path(name)
    values: Any = read_yaml(path)
    return parse(KubernetesProfile, {} if values is None else values, source=str(path))


def profile_path(name: str) -> Path:
    """The file of a profile. Raises UsageError for a name that none has."""
    return path_of(name, folder=PROFILES, kind="Kubernetes profile")
