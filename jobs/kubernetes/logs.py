"""Logs of a job's pods by kubectl: one pod after the other, also those that the cluster starts in place of others."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from abet.errors import UsageError
from jobs.executors.states import output_of
from jobs.kubernetes.states import status_of
from jobs.records import Record

POLL_SECONDS: Final = 2.0
SHOWABLE: Final = ("Running", "Succeeded", "Failed")
"""Phases of pods that have, or had, a log."""


def print_logs(record: Record, *, follow: bool) -> None:
    """Print what the pods wrote, oldest pod first; with ``follow`` until the job has ended.

    A pod that was started again has the same name and another uid: its log is printed too.

    Raises:
        UnansweredError: the cluster cannot be asked.
    """
    seen: set[str] = set()
    while True:
        ended = not follow or status_of(record).ended  # asked before looking: what an ended job wrote is complete
        pods = [pod for pod in pods_of(record) if pod["metadata"]["uid"] not in seen]
        shown = [pod for pod in pods if pod.get("status", {}).get("phase") in SHOWABLE]
        streamed = shown[:1] if follow and not ended else shown
        for pod in streamed:
            _print(record, pod, follow=follow and not ended, headed=bool(seen) or len(shown) > 1)
            seen.add(pod["metadata"]["uid"])
        if ended:
            break
        if not streamed:
            time.sleep(POLL_SECONDS)
    if not seen:
        print(f"no pod of {record.job.id} has written anything yet: `python -m jobs status` says why", file=sys.stderr)


def pods_of(record: Record) -> list[dict[str, Any]]:
    """The job's pods, oldest first. Raises UnansweredError, and UsageError for a job that was not handed over."""
    if record.job.number is None:
        raise UsageError(f"{record.job.id}: its submission has not come to its end, so it has no pods")
    name = record.job.number.partition("/")[2]
    text = output_of(
        ["kubectl", "get", "pods", *_where(record), "-l", f"app.kubernetes.io/instance={name}", "-o", "json"]
    )
    items: list[dict[str, Any]] = json.loads(text)["items"] if text.strip() else []
    return sorted(items, key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]))


def _where(record: Record) -> Sequence[str]:
    return ("--namespace", record.job.namespace) if record.job.namespace else ()


def _print(record: Record, pod: dict[str, Any], *, follow: bool, headed: bool) -> None:
    name = pod["metadata"]["name"]
    if headed:
        print(f"==> {name}", file=sys.stderr, flush=True)
    subprocess.run(["kubectl", "logs", name, *_where(record), *(["--follow"] if follow else [])], check=False)
