"""JobSpec: everything about a job that a laptop, SLURM and Kubernetes need to know, and nothing that is one's alone."""

import re
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from abet.settings import Count, Positive, Strict, unshown

JOB_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,48}[a-z0-9])?")
"""A DNS-1035 label with room for what Kubernetes and we append: legal as a job's name everywhere."""
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SHARD: Final = "{shard}"
"""In a command: the number of the array's task."""
GRACE_SECONDS: Final = 120
Kind = Literal["train", "evaluate", "merge", "components", "fit", "calibrate", "report"]


def names_of_variables(value: Any) -> Any:
    """``value``, if it is a list of names. What is none is not repeated: somebody may have pasted NAME=VALUE."""
    if not isinstance(value, list | tuple) or not all(
        isinstance(name, str) and VARIABLE.fullmatch(name) for name in value
    ):
        raise unshown("expected names of environment variables, never their values: export those where you submit")
    return value


def fitting_grace(seconds: int, time_limit_minutes: int) -> int:
    """``seconds`` of grace, or what a short job has room for: half of its time."""
    return max(1, min(seconds, 30 * time_limit_minutes))


class Mount(Strict):
    """A folder of the machine that the container sees."""

    source: str = Field(description="absolute path on the machine")
    target: str = Field(description="absolute path in the container")
    read_only: bool = False
    made: bool = Field(
        default=False, description="made on the node where it is absent: what is not there cannot be seen"
    )

    @field_validator("source", "target")
    @classmethod
    def _is_plain(cls, value: str) -> str:
        if not value.startswith("/") or any(char in value for char in "\n\r\0"):
            raise ValueError("expected an absolute path without line breaks")
        return value


class JobSpec(Strict):
    """One job. ``command`` runs once per process and node, or once per shard."""

    name: str = Field(description="a-z, 0-9 and '-', at most 50 characters: what schedulers call the job")
    kind: Kind
    recipe: str | None = Field(default=None, description="of a training job: shipped recipe or .yaml path")
    command: tuple[str, ...] = Field(min_length=1, description="arguments of `abet`; {shard} stands for the shard")
    nodes: Positive = 1
    gpus_per_node: Count = 0
    processes_per_node: Positive = Field(default=1, description="one per GPU; on CPUs as many as wanted")
    cpus_per_node: Positive = 4
    memory_gib: Positive = Field(default=16, description="per node")
    time_limit_minutes: Positive = 60
    shared_memory_gib: Positive = Field(default=1, description="/dev/shm of a container")
    mounts: tuple[Mount, ...] = Field(default=(), description="what the job reads and writes on the machine")
    artifacts: str | None = Field(default=None, description="place that the job writes to: a path or s3:// URI")
    secrets: tuple[str, ...] = Field(
        default=(), description="names of environment variables that the job needs; their values are nowhere here"
    )
    grace_seconds: Positive = Field(
        default=GRACE_SECONDS,
        description="between the polite signal and the end: a step, the save and the upload fit in it; "
        "of a short job half of its time",
    )
    retries: Count = Field(default=3, description="restarts in a row without a new checkpoint before the job gives up")
    after: tuple[str, ...] = Field(default=(), description="names of jobs of the same submission that must succeed")
    shards: tuple[Positive, ...] = Field(default=(), description="numbers of the array's tasks; empty: one plain job")

    @model_validator(mode="before")
    @classmethod
    def _has_a_grace_that_fits(cls, values: Any) -> Any:
        limit = values.get("time_limit_minutes") if isinstance(values, dict) else None
        if isinstance(limit, int) and "grace_seconds" not in values:
            return {**values, "grace_seconds": fitting_grace(GRACE_SECONDS, limit)}
        return values

    @field_validator("name")
    @classmethod
    def _is_label(cls, value: str) -> str:
        if not JOB_NAME.fullmatch(value):
            raise unshown(f"{value!r}: expected a-z, 0-9 and '-', first a letter, at most 50 characters; give --name")
        return value

    @field_validator("secrets", mode="before")
    @classmethod
    def _are_names(cls, value: Any) -> Any:
        return names_of_variables(value)

    @field_validator("command")
    @classmethod
    def _fits_one_line(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            if any(char in word for char in "\n\r\0"):
                raise ValueError(f"{word!r}: an argument with a line break cannot be quoted for every scheduler")
        return value

    @model_validator(mode="after")
    def _grace_fits(self) -> "JobSpec":
        limit = 60 * self.time_limit_minutes
        if self.grace_seconds >= limit:
            raise unshown(
                f"grace_seconds: {self.grace_seconds} does not fit into the time limit of {limit} s "
                f"({self.time_limit_minutes} min): the job would be told to stop before it begins; "
                "lower --grace-seconds, or raise --time-limit-minutes"
            )
        return self

    @model_validator(mode="after")
    def _shards_belong_to_a_command(self) -> "JobSpec":
        if bool(self.shards) != any(SHARD in word for word in self.command):
            raise ValueError(f"shards and {SHARD} in the command go together")
        if len(set(self.shards)) != len(self.shards):
            raise ValueError("a shard stands there twice")
        return self

    def for_shard(self, shard: int) -> tuple[str, ...]:
        """The command of one task of the array."""
        assert shard in self.shards, shard
        return tuple(word.replace(SHARD, str(shard)) for word in self.command)
