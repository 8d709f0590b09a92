"""Kubernetes by kubectl: whatever cluster and login that reaches, abet uses."""

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from abet.errors import AbetError, UsageError
from abet.places import parse_place
from abet.shard_wait import clear_failure
from abet.site import SiteConfig
from jobs.kubernetes.manifests import documents, require_independent, to_yaml
from jobs.kubernetes.pods import Values, option_of, shard_count
from jobs.kubernetes.profile import KubernetesProfile
from jobs.kubernetes.rules import NAME_LENGTHS
from jobs.kubernetes.site_map import with_environment
from jobs.kubernetes.states import NAME_LABEL, where
from jobs.kubernetes.workloads import config_name
from jobs.records import Record, new_record, write
from jobs.spec import JobSpec

SECONDS: Final = 120
"""How long kubectl may take for one order."""
LONGEST: Final = min(NAME_LENGTHS.values()) - len("-xxxxx")
"""Of a job's name; what is longer is cut."""
KINDS: Final = {
    "PyTorchJob": "pytorchjobs.kubeflow.org",
    "TrainJob": "trainjobs.trainer.kubeflow.org",
    "Job": "jobs.batch",
}
"""Kind -> what kubectl calls it without a doubt."""
OPERATORS: Final = {
    "PyTorchJob": "the training operator 1.x is not installed there",
    "TrainJob": "Kubeflow Trainer 2.x is not installed there",
    "TrainingRuntime": "Kubeflow Trainer 2.x is not installed there",
}


@dataclass(frozen=True, kw_only=True)
class KubernetesExecutor:
    """Jobs on a cluster that kubectl reaches."""

    site: SiteConfig
    profile: KubernetesProfile

    def render(self, specs: Sequence[JobSpec]) -> str:
        """The manifests that would be created; names get a new ending at each submission, here ``-xxxxx``."""
        require_independent(specs)
        return "---\n".join(to_yaml(self._documents(spec, f"{spec.name}-xxxxx")) for spec in specs)

    def submit(self, specs: Sequence[JobSpec]) -> list[Record]:
        """Create all jobs, after the cluster has said that it would take every one of them.

        Raises:
            UsageError: kubectl is not there, the jobs would wait for each other, or the cluster refuses one.

        Whatever ends it early, those before are deleted again, so that nothing half submitted runs.
        """
        require_independent(specs)
        if not shutil.which("kubectl"):
            raise UsageError("kubectl is not on PATH: install it and log in to the cluster, or use --on slurm or local")
        made = [(spec, name, self._documents(spec, name)) for spec in specs for name in [_unique(spec.name)]]
        for _, _, objects in made:
            # Of a TrainJob the runtime must be there, which it is not before it is created
            _create([each for each in objects if each["kind"] != "TrainJob"], "--dry-run=server")
        where = _where_now(self.profile.namespace)
        done: list[Record] = []
        created: list[list[Values]] = []
        try:
            for spec, name, objects in made:
                record = write(new_record(self.site.jobs, spec, "kubernetes"))
                done.append(record)
                created.append(objects)
                self._forget_failures(spec)
                _create(objects)
                done[-1] = record.update(number=f"{_kind(objects)}/{name}", **where)
        except BaseException:
            _take_back(created)
            for record in done:
                shutil.rmtree(record.folder, ignore_errors=True)
            raise
        return done

    def _forget_failures(self, spec: JobSpec) -> None:
        """What an earlier evaluation told of its shards must not end the merge of this one."""
        if spec.kind == "evaluate" and spec.shards:
            run, dataset, of = parse_place(str(spec.artifacts)), option_of(spec, "--dataset"), shard_count(spec)
            for shard in spec.shards:
                clear_failure(run, dataset, shard, of, self.site)

    def _documents(self, spec: JobSpec, name: str) -> list[Values]:
        return documents(spec, with_environment(self.site, os.environ), self.profile, name=name)


def _unique(name: str) -> str:
    """A name that no other submission has, short enough for what operators append to it."""
    return f"{name[:LONGEST].rstrip('-')}-{secrets.token_hex(3)[:5]}"


def _kind(objects: Sequence[Values]) -> str:
    return next(KINDS[each["kind"]] for each in objects if each["kind"] in KINDS)


def _create(objects: Sequence[Values], *options: str) -> None:
    """Raises UsageError with what the cluster says, and what to do about it."""
    first = [each for each in objects if each["kind"] != "TrainJob"]
    for some in (first, [each for each in objects if each not in first]):
        if some:
            _create_together(some, options)


def _create_together(objects: Sequence[Values], options: Sequence[str]) -> None:
    for pause in (1, 2, 4, None):
        done = _kubectl("create", "-f", "-", *options, text=to_yaml(objects))
        # Trainer's webhook sees a new runtime a moment later than the server does
        if pause is None or "must be created before" not in done.stderr:
            break
        time.sleep(pause)
    if done.returncode:
        said = _said(done) or f"exit code {done.returncode}"
        raise UsageError(f"the cluster refuses {objects[-1]['metadata']['name']}: {said}; {_remedy(said)}")


def _remedy(said: str) -> str:
    for kind, absent in OPERATORS.items():
        if "no matches for kind" in said and f'"{kind}"' in said:
            return f"{absent}: ask for it, or set `api:` in the Kubernetes profile (docs/kubernetes.md)"
    for part, remedy in REMEDIES.items():
        if part in said:
            return remedy
    return "correct the Kubernetes profile, then look at it with --dry-run"


REMEDIES: Final = {
    "exceeded quota": "ask for less (--gpus, --memory-gib, --cpus) or wait until the quota has room",
    "namespaces": "set `namespace:` in the Kubernetes profile to one that there is",
    "forbidden": "ask for the right to create jobs and configmaps there, or set `namespace:` in the Kubernetes profile",
    "PodSecurity": "set `run_as_user` in the Kubernetes profile to what the namespace allows",
    "connection": "is the cluster up, and kubectl logged in? `kubectl cluster-info` tells",
    "Unauthorized": "log in again: `kubectl auth whoami` tells who you are",
}
"""Part of what kubectl says -> what to do."""


def _take_back(created: Sequence[Sequence[Values]]) -> None:
    """Delete all of them; one that stays is said, and does not keep the others."""
    for objects in created:
        try:
            done = _kubectl("delete", "-f", "-", "--ignore-not-found", "--wait=false", text=to_yaml(objects))
            said = _said(done) if done.returncode else ""
        except AbetError as error:
            said = str(error)
        if said:
            name = objects[-1]["metadata"]["name"]
            print(f"abet: warning: {name} may still be there: {said}", file=sys.stderr, flush=True)


def _where_now(namespace: str | None) -> dict[str, str | None]:
    """Context and namespace that kubectl uses now: later commands mean these, whatever it is switched to."""
    context = _kubectl("config", "current-context")
    default = _kubectl("config", "view", "--minify", "--output", "jsonpath={..namespace}")
    return {
        "context": context.stdout.strip() or None,  # inside of a cluster there is none
        "namespace": namespace or default.stdout.strip() or None,
    }


def cancel(record: Record, *, now: bool) -> None:
    """Delete a job: its pods get their grace period to save, or none.

    Raises:
        AbetError: the cluster does not do it.
    """
    kind, _, name = str(record.job.number).partition("/")
    # In the foreground the job is there, and said to stop, until its pods have saved
    cascade = "background" if now else "foreground"
    orders = [(kind, name, f"--cascade={cascade}"), ("configmap", config_name(name))]
    orders += [("trainingruntimes.trainer.kubeflow.org", name)] if kind.startswith("trainjobs") else []
    if now:  # the job's own deletion leaves its pods their grace; before it, they would be replaced
        orders.append(("pods", "--selector", f"{NAME_LABEL}={name}", "--grace-period=0", "--force"))
    for order in orders:
        done = _kubectl("delete", *order, *where(record), "--ignore-not-found", "--wait=false")
        if done.returncode:
            what, said = " ".join(order), _said(done)
            raise AbetError(f"kubectl delete {what}: {said}; try again when the cluster answers")


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """What kubectl told a user, in one line: without its library's log lines, and advice to switch checks off."""
    lines = [line for line in done.stderr.splitlines() if not re.match(r"[EWI]\d{4} ", line)]
    return re.sub(r"; if you choose to ignore these errors.*?--validate=false", "", " ".join(" ".join(lines).split()))


def _kubectl(*words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Raises UsageError where it cannot be run at all."""
    try:
        return subprocess.run(
            ["kubectl", *words], input=text, capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(
            f"kubectl {words[0]}: {error}; `kubectl cluster-info` tells whether the cluster answers"
        ) from None
