"""The starts of a training job's pods, kept with its run: Kubernetes starts again for ever what was killed.

``restartPolicy: ExitCode`` retries 137 (out of memory, a lost node) and 139 without an end, each time on eight GPUs. So
every start leaves a line in ``starts.json`` of the run, and its exit code when it ends; one that finds too many
predecessors that died without a word and without a new checkpoint gives up, with a code that is not retried.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from abet.errors import AbetError
from abet.places import Place
from abet.run import CHECKPOINTS, STARTS
from abet.site import SiteConfig
from abet.storage import ABSENT, Conflict, NotFound, Storage, open_storage

KEPT: Final = 200
"""Newest starts that are kept."""
TRIES: Final = 5
GIVEN_UP: Final = "given up"


class GivenUp(AbetError):  # noqa: N818
    """Too many pods of a job died one after the other without getting anywhere."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """One start of a pod."""

    pod: str
    time: str
    step: int | None
    """Newest step that was kept in the run then."""
    code: int | None = None
    """How it ended; None while it runs, and for ever when it died without a word."""
    note: str = ""


def silent_deaths(starts: Sequence[Start], step: int | None) -> int:
    """How many of the last starts, in a row, died without a word and left no newer checkpoint than they found.

    Args:
        starts: oldest first, all of them over.
        step: newest step that is kept now.
    """
    count = 0
    for start in reversed(starts):
        if start.code is not None or start.note or start.step != step:
            break
        count += 1
    return count


class Diary:
    """``starts.json`` of one run."""

    def __init__(self, *, run: Place, site: SiteConfig, pod: str) -> None:
        self._storage: Storage = open_storage(run, site.s3)
        self._pod = pod

    def begin(self, *, retries: int) -> None:
        """Note a start.

        Raises:
            GivenUp: more than ``retries`` before it died in a row without a new checkpoint. The next start, which
                somebody wants then, begins a new count.
            AbetError: of the storage.
        """
        step = self._newest_step()
        starts = self._read()[0]
        died = silent_deaths(starts, step)
        if died > retries:
            self._append(Start(pod=self._pod, time=_now(), step=step, code=1, note=GIVEN_UP))
            raise GivenUp(
                f"given up: the last {died} pods of this job died without a word, and without a checkpoint after "
                f"{'the start' if step is None else f'step {step}'} (out of memory? a node that is lost each time? "
                "`kubectl describe pod` and `kubectl get events` tell); mend that, delete the job and apply it again"
            )
        self._append(Start(pod=self._pod, time=_now(), step=step))

    def end(self, code: int) -> None:
        """Note how this start ended."""
        self._change(lambda starts: _closed(starts, self._pod, code))

    def _append(self, start: Start) -> None:
        self._change(lambda starts: [*starts, start][-KEPT:])

    def _change(self, change: Any) -> None:
        for _ in range(TRIES):
            starts, version = self._read()
            text = json.dumps({"schema": 1, "starts": [asdict(start) for start in change(starts)]}, indent=1)
            try:
                self._storage.write(STARTS, text.encode(), expect=version)
                return
            except Conflict:
                continue
        raise AbetError(
            f"{self._storage.place / STARTS}: changed by others {TRIES} times in a row; is the job there twice?"
        )

    def _read(self) -> tuple[list[Start], str]:
        try:
            content, version = self._storage.read(STARTS)
        except NotFound:
            return [], ABSENT
        try:
            return [Start(**values) for values in json.loads(content)["starts"]], version
        except (ValueError, KeyError, TypeError):
            return [], version  # damaged: the count begins anew

    def _newest_step(self) -> int | None:
        try:
            step = json.loads(self._storage.read(f"{CHECKPOINTS}/latest.json")[0])["step"]
        except (NotFound, ValueError, KeyError, TypeError):
            return None
        return step if isinstance(step, int) else None


def _closed(starts: Sequence[Start], pod: str, code: int) -> list[Start]:
    """The same with the last open start of ``pod`` ended."""
    found = list(starts)
    for place in reversed(range(len(found))):
        if found[place].pod == pod and found[place].code is None:
            found[place] = Start(**{**asdict(found[place]), "code": code})
            break
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
