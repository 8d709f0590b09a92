"""A SLURM site's habits: ``slurm/profiles/NAME.yaml``, chosen by ``profile:`` in the site file.

load_profile("default")
"""

import re
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from abet.errors import UsageError, unknown_name
from abet.settings import Strict, parse, read_yaml, unshown
from jobs.spec import Mount, names_of_variables

ROOT: Final = Path(__file__).resolve().parents[1]
"""The checkout: jobs run from here."""
PROFILES: Final = ROOT / "slurm" / "profiles"
ENVIRONMENT: Final = (
    *("HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME"),
    *("ABET_JOBS", "ABET_ROOT", "ABET_SCRATCH", "ABET_SITE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
    *("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"),
    *("AWS_CA_BUNDLE", "AWS_EC2_METADATA_DISABLED", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    *("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
)
"""What every job gets of the submitter's environment, where set: nothing in it is a secret."""
PATH_VARIABLES: Final = (
    *("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
)
"""Those among them that name files: a container must see what they name."""

_OF_THE_JOB: Final = "is set by abet from the job; leave it out"
_IN_THE_PROFILE: Final = "is set by abet from the rest of the profile: write `{}:` there"
OURS: Final = {
    r"job-name": "is set by abet: --name of `jobs submit`",
    r"nodes|nodefile": "is set by abet: --nodes of `jobs submit`",
    r"time": "is set by abet: --time-limit-minutes of `jobs submit`",
    r"mem|mem-.*": "is set by abet: --memory-gib of `jobs submit`; `memory: false` in the profile asks for none",
    r"cpus-per-.*|mincpus": "is set by abet: --cpus of `jobs submit`",
    r"gpus|gpus-.*|cores-per-gpu|gres|tres-per-.*": "is set by abet: --gpus of `jobs submit`; `gpus:` in the profile "
    "says how they are asked for",
    r"signal": "is set by abet: --grace-seconds of `jobs submit`",
    r"export|export-file|get-user-env": "is set by abet: --secret of `jobs submit`, `environment:` in the profile",
    r"dependency|kill-on-invalid-dep|array": "is set by abet: pipelines and shards are tied together by themselves",
    r"requeue|no-requeue|no-kill": "is set by abet, which starts a job again itself: --retries of `jobs submit`",
    r"output|error|open-mode": "is set by abet, which finds a job's logs again: `jobs:` in the site file",
    r"ntasks|ntasks-.*|tasks-per-node|chdir|input": _OF_THE_JOB,
    r"parsable|quiet|wait|test-only|wrap|clusters|hold|help|usage|version": "would change what sbatch answers "
    "to abet; leave it out",
    r"partition": _IN_THE_PROFILE.format("partition"),
    r"account": _IN_THE_PROFILE.format("account"),
    r"qos": _IN_THE_PROFILE.format("qos"),
    r"constraint": _IN_THE_PROFILE.format("constraint"),
    r"wckey": _IN_THE_PROFILE.format("wckey"),
    r"exclusive": _IN_THE_PROFILE.format("exclusive"),
}
"""Options of sbatch (patterns of their names) that `extra` may not change, since the job would no longer be what `jobs`
believes; and what sets each."""


class Container(Strict):
    """How a job gets into its image. The supervisor stays outside: inside there is no scontrol."""

    runtime: Literal["none", "pyxis", "apptainer"] = "none"
    image: str | None = Field(default=None, description="empty: `image:` of the site file")
    arguments: tuple[str, ...] = Field(default=(), description="more options for srun (pyxis) or apptainer exec")


class SlurmProfile(Strict):
    """What differs from cluster to cluster; everything about the job itself is the JobSpec's."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = Field(default=None, description="node features, e.g. a100")
    gpus: Literal["gpus-per-node", "gres", "none"] = Field(
        default="gpus-per-node", description="how GPUs are asked for; none: the partition gives whole nodes"
    )
    gpu_type: str | None = Field(default=None, description="e.g. a100: gpu:a100:8")
    memory: bool = Field(default=True, description="ask for memory; some sites refuse --mem")
    exclusive: bool = False
    wckey: str | None = Field(default=None, description="accounting key; empty: none is sent")
    container: Container = Container()
    mounts: tuple[Mount, ...] = Field(default=(), description="folders that the container sees beside the job's own")
    python: str = Field(
        default=".venv/bin/python", description="without a container: Python of the full install; from the checkout"
    )
    host_python: str | None = Field(
        default=None,
        description="with a container: Python of the bare node for the supervisor, relative to the checkout; "
        "submitit's task needs the light install there; empty: the Python that submits",
    )
    setup: tuple[str, ...] = Field(default=(), description="shell lines before the job, e.g. module load cuda")
    environment: tuple[str, ...] = Field(
        default=(), description="names of further variables of the submitter that jobs get"
    )
    extra: dict[str, str | int | bool] = Field(default_factory=dict, description="any other option of sbatch by name")

    @field_validator("environment", mode="before")
    @classmethod
    def _are_names(cls, value: Any) -> Any:
        return names_of_variables(value)

    @field_validator("extra")
    @classmethod
    def _is_not_ours(cls, value: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
        for name in value:
            if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
                raise unshown(f"{name!r} is no long name of an sbatch option, such as mail-type")
            for pattern, rule in OURS.items():
                if re.fullmatch(pattern, name):
                    raise unshown(f"{name} {rule}")
        return value

    @field_validator("*")
    @classmethod
    def _has_single_lines(cls, value: Any) -> Any:
        entries = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
        for text in entries:
            if isinstance(text, str) and re.search(r"[\n\r\0]", text):
                raise unshown(f"{text!r} has a line break, which would end the line of the batch script; one line each")
        return value


def load_profile(name: str) -> SlurmProfile:
    """A profile by name, or one's own by the path of a ``.yaml`` file.

    Raises:
        UsageError: an unknown profile, a misspelt key, or a wrong value.
    """
    return _parse(profile_path(name))


def profile_path(name: str, *, folder: Path = PROFILES, kind: str = "profile") -> Path:
    """The file of a profile: a name in ``folder``, or a path. Raises UsageError for a name that none has."""
    if name.endswith((".yaml", ".yml")):
        return Path(name).expanduser()
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in names:
        raise unknown_name(kind=f"{kind} (in {folder})", name=name, choices=names)
    return folder / f"{name}.yaml"


def _parse(path: Path) -> SlurmProfile:
    values: Any = read_yaml(path)
    profile = parse(SlurmProfile, {} if values is None else values, source=str(path))
    if profile.container.runtime == "none" and profile.container.image:
        raise UsageError(f"{path}: container.image without a container.runtime: choose pyxis or apptainer")
    if profile.container.runtime == "none" and profile.host_python:
        raise UsageError(f"{path}: host_python without a container.runtime: `python` is what counts; leave it out")
    return profile
