"""Logs of a job's pods by kubectl: one pod after the other, also those that the cluster starts in place of others."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any, Final

from abet.errors import UsageError
from jobs.executors.states import output_of
from jobs.kubernetes.states import NAME_LABEL, by_age, status_of, where
from jobs.records import Record

POLL_SECONDS: Final = 2.0
OVER: Final = ("Succeeded", "Failed")


def print_logs(record: Record, *, follow: bool) -> None:
    """Print what the pods wrote, oldest pod first; with ``follow`` until the job has ended.

    A pod that was started again has the same name and another uid: its log is printed too. A stream that breaks off is
    taken up again.

    Raises:
        UnansweredError: the cluster cannot be asked.
    """
    told: dict[str, str] = {}  # uid -> since when there is more; empty: all is told
    while True:
        ended = not follow or status_of(record).ended  # asked before looking: what an ended job wrote is complete
        pods = [pod for pod in pods_of(record) if _phase(pod) in ("Running", *OVER) and told.get(_uid(pod), "0")]
        streamed = pods if ended else pods[:1]
        for pod in streamed:
            _print(record, pod, follow=not ended, since=told.get(_uid(pod)), headed=bool(told) or len(pods) > 1)
            told[_uid(pod)] = "" if ended or _phase(pod) in OVER else f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        if ended:
            break
        time.sleep(POLL_SECONDS)
    if not told:
        print(f"no pod of {record.job.id} has written anything yet: `python -m jobs status` says why", file=sys.stderr)


def pods_of(record: Record) -> list[dict[str, Any]]:
    """The job's pods, oldest first. Raises UnansweredError, and UsageError for a job that was not handed over."""
    if record.job.number is None:
        raise UsageError(f"{record.job.id}: its submission has not come to its end, so it has no pods")
    name = record.job.number.partition("/")[2]
    selector = f"{NAME_LABEL}={name}"
    text = output_of(["kubectl", "get", "pods", *where(record), "--selector", selector, "--output", "json"])
    return by_age(json.loads(text)["items"] if text.strip() else [])


def _uid(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["uid"])


def _phase(pod: dict[str, Any]) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def _print(record: Record, pod: dict[str, Any], *, follow: bool, since: str | None, headed: bool) -> None:
    name = pod["metadata"]["name"]
    if headed and since is None:
        print(f"==> {name}", file=sys.stderr, flush=True)
    options = [*(["--follow"] if follow else []), *(["--since-time", since] if since else [])]
    subprocess.run(["kubectl", "logs", name, *where(record), *options], check=False)
