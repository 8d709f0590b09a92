"""What a pod knows of the job it belongs to, from what operators and manifests put into its environment."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from abet.errors import UsageError

SITE_FILE: Final = "ABET_SITE"
INDEX: Final = "JOB_COMPLETION_INDEX"
"""Of a pod of an Indexed Job, from 0."""
INDEX_FAILURES: Final = "ABET_INDEX_FAILURES"
"""How many pods of this index have failed before, by the downward API."""
LAST_WORD: Final = "ABET_LAST_WORD"
"""File from which the kubelet takes why a container ended."""
TIMED_OUT: Final = 124
"""Exit code of a pod whose command was stopped at its time limit: another pod would begin anew, and meet it too."""
POD_NAME: Final = "ABET_POD"
"""Name of this pod, by the downward API."""
REMEDIES: Final = {
    "secret": "kubectl create secret generic {name} --from-literal={variable}=...",
    "configmap": "kubectl apply -f the manifest that holds it (`make manifests` writes both into one file)",
}
"""Kind -> how one is made."""


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """This pod among those that train together."""

    count: int = 1
    rank: int = 0
    rendezvous: str = ""
    """HOST:PORT on node 0, for several."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """A variable that an object of the cluster should have brought."""

    variable: str
    kind: str
    name: str


def parse_need(text: str) -> Need:
    """``VARIABLE=secret/NAME`` or ``VARIABLE=configmap/NAME``. Raises UsageError."""
    variable, _, source = text.partition("=")
    kind, _, name = source.partition("/")
    if not (variable and name and kind in REMEDIES):
        raise UsageError(f"--need {text!r}: expected VARIABLE=secret/NAME or VARIABLE=configmap/NAME")
    return Need(variable=variable, kind=kind, name=name)


def require(needs: Sequence[Need], environment: Mapping[str, str] = os.environ) -> None:
    """Raises UsageError that names everything that is missing, the object it belongs to, and how to make that.

    Manifests refer to such objects as optional: a pod that waits for ever for a secret says nothing, this does.
    """
    missing = [need for need in needs if _is_missing(need, environment)]
    if missing:
        raise UsageError(
            "; ".join(
                f"{need.variable}: {need.kind} {need.name} is not in this namespace, or has no such key "
                f"({REMEDIES[need.kind].format(name=need.name, variable=need.variable)})"
                for need in missing
            )
            + ". Then delete this job and apply it again"
        )


def _is_missing(need: Need, environment: Mapping[str, str]) -> bool:
    value = environment.get(need.variable)
    return not value or (need.variable == SITE_FILE and not Path(value).is_file())


def nodes_of(environment: Mapping[str, str] = os.environ) -> Nodes:
    """How many pods train together and which one this is.

    The Kubeflow Trainer and the training operator since 1.7 set PET_NNODES and PET_NODE_RANK for torchrun. The operator
    also sets RANK, which is the pod's, and WORLD_SIZE, which counts processes; before 1.7 it counted pods.

    Raises:
        UsageError: numbers that do not fit together.
    """
    count = _number("PET_NNODES", environment)
    if count is None:
        count = (_number("WORLD_SIZE", environment) or 1) // (_number("PET_NPROC_PER_NODE", environment) or 1)
    rank = _number("PET_NODE_RANK", environment)
    rank = (_number("RANK", environment) or 0) if rank is None else rank
    if not 0 <= rank < count:
        raise UsageError(f"this pod is said to be number {rank} of {count}: pods are numbered from 0")
    if count == 1:
        return Nodes()
    host = environment.get("PET_MASTER_ADDR") or environment.get("MASTER_ADDR")
    port = environment.get("PET_MASTER_PORT") or environment.get("MASTER_PORT")
    if not (host and port):
        raise UsageError(
            f"{count} pods train together, and neither PET_MASTER_ADDR and PET_MASTER_PORT nor MASTER_ADDR and "
            "MASTER_PORT say where they meet: is this a pod of a PyTorchJob or TrainJob?"
        )
    return Nodes(count=count, rank=rank, rendezvous=f"{host}:{port}")


def _number(name: str, environment: Mapping[str, str]) -> int | None:
    text = environment.get(name, "")
    if not text or (name == "PET_NPROC_PER_NODE" and not text.isdecimal()):  # auto, gpu, cpu
        return None
    if not text.isdecimal():
        raise UsageError(f"{name}={text}: expected a number; elastic ranges of pods (1:4) are not supported")
    return int(text)


def shard_of(shards: Sequence[int], environment: Mapping[str, str] = os.environ) -> int:
    """The shard of this pod's index among ``shards``. Raises UsageError for a pod without an index, or one beyond."""
    text = environment.get(INDEX, "")
    if not text.isdecimal() or int(text) >= len(shards):
        raise UsageError(
            f"{INDEX}={text}: expected an index below {len(shards)}, as the pods of an Indexed Job with "
            f"completions: {len(shards)} have it"
        )
    return shards[int(text)]
