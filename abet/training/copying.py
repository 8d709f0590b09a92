"""Copies what a run commits to S3, behind training: one step at a time, and nothing that another trainer could miss.

    copier.submit(step)  # returns at once
    copier.wait()        # raises what went wrong

The order is that of a commit on a disk: the files of a step under a name that no other trainer writes to; metrics and
all else that is told of it; the manifest, with which it counts; ``latest.json`` and ``best.json``; then older steps go.
Small files are replaced only where they are still what this trainer last saw, so a trainer that lost the run can
overwrite nothing.
"""

import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Final

from abet.checkpoint import BEST, MANIFEST, read_manifest, step_folder
from abet.errors import AbetError
from abet.exits import record_progress
from abet.progress import note
from abet.remote import RemoteStep, remote_steps
from abet.run import CHECKPOINTS, CONFIG, FAILED_BATCHES, METRICS, PICTURES, PROVENANCE, TENSORBOARD, step_name
from abet.storage import ABSENT, Conflict, NotFound, StorageUnavailable
from abet.training.commit import LATEST
from abet.training.ownership import (
    WRITES,
    LostOwnership,
    RemoteOwnership,
    pause_before_next_try,
    refuses_conditions,
)

BEST_NAME: Final = f"{CHECKPOINTS}/{BEST}"
POINTERS: Final = (f"{CHECKPOINTS}/{LATEST}", BEST_NAME)
"""What names a step: written only when that step is there."""
DESCRIPTIONS: Final = (METRICS, PROVENANCE, CONFIG)
GROWING: Final = (TENSORBOARD, PICTURES, FAILED_BATCHES)
"""Folders of files that no other start writes to."""
TRIES: Final = 3
"""Each waits for an S3 that does not answer as long as the site file says (s3.patience_seconds)."""


class CopyFailed(AbetError):  # noqa: N818
    """What was committed here could not be copied to S3; it is safe on this machine."""


class Copier:
    """Keeps a run in S3 up with its folder on this machine; on rank 0 alone."""

    def __init__(
        self,
        *,
        ownership: RemoteOwnership,
        run: Path,
        keep_last: int,
        versions: Mapping[str, str],
        there: Mapping[int, str],
    ) -> None:
        """Nothing is copied yet.

        Args:
            ownership: the right to write to the run, and where that is.
            run: the folder on this machine.
            keep_last: newest steps that are kept in S3, beside the one of the best mIoU.
            versions: name -> version of the small files as this trainer last saw them.
            there: step -> folder, relative to the run, of the committed steps that need no copy.
        """
        self.ownership = ownership
        self._storage, self._run, self._keep_last = ownership.storage, run, keep_last
        self._versions, self._there = dict(versions), dict(there)
        self._contents: dict[str, bytes] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self.in_flight: int | None = None
        """The step that is being copied."""

    @property
    def failed(self) -> bool:
        """Whether the last copy failed for good; `wait` says why."""
        return self._error is not None

    def describe(self) -> None:
        """Copy, now, what says of this start that it began. Raises LostOwnership, StorageUnavailable."""
        self._replace_all((PROVENANCE, CONFIG), self._read_small())

    def submit(self, step: int) -> None:
        """Begin to copy the committed ``step`` and all that is new. The last copy must have been waited for."""
        assert self.in_flight is None, self.in_flight
        self.in_flight = step
        small = self._read_small()  # now: the loop goes on writing
        self._thread = threading.Thread(target=self._copy_patiently, args=(step, small), name="abet-copy", daemon=True)
        self._thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Until the last copy is complete, or for so long.

        Raises:
            LostOwnership: a later trainer owns the run; of this copy nothing counts.
            CopyFailed: S3 did not answer for minutes, or refused.
        """
        if self._thread is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                return
        self._thread = self.in_flight = None
        self.require_owner()
        if self._error is not None and not isinstance(self._error, AbetError | OSError):
            raise self._error  # a mistake of ours
        if self._error is not None:
            raise CopyFailed(
                f"{self._storage.place}: the last checkpoint could not be copied there ({self._error}). It is safe in "
                f"{self._run} on {socket.gethostname()}: run the same command again on this machine to go on from it"
            )

    def require_owner(self) -> None:
        """Raises LostOwnership when the last copy found out that another trainer owns the run."""
        if isinstance(self._error, LostOwnership):
            raise self._error

    def folder_of(self, step: int) -> str:
        """Where a step is that was found in S3 or copied there, relative to the run."""
        return self._there[step]

    def copy(self, step: int) -> None:
        """Copy ``step`` and all that is new, now. Raises as `wait`."""
        self.submit(step)
        self.wait()

    def _copy_patiently(self, step: int, small: Mapping[str, bytes]) -> None:
        """The thread: whatever goes wrong travels to `wait`. What was copied before an error is not copied again."""
        started = time.monotonic()
        for attempt in range(1, TRIES + 1):
            try:
                self._copy(step, small)
                return
            except StorageUnavailable as error:
                if attempt == TRIES:
                    self._error = error
                    return
                note(f"copying step {step}: {error}; trying again, {time.monotonic() - started:.0f} s so far")
            except Exception as error:
                self._error = error
                return

    def _copy(self, step: int, small: Mapping[str, bytes]) -> None:
        self.ownership.check()
        if step not in self._there:
            self._copy_files(step)
        # What is told of a step comes before the step counts, so that whoever goes on from it misses nothing
        self._replace_all(DESCRIPTIONS, small)
        self._copy_growing()
        if step not in self._there:
            self._there[step] = self._copy_manifest(step)
        for name in POINTERS:
            if _step_in(small.get(name)) in self._there:
                self._replace(name, small[name])
        self._prune(step, _step_in(small.get(BEST_NAME)))
        record_progress(step)

    def _copy_files(self, step: int) -> None:
        source = step_folder(self._run, step)
        for entry in read_manifest(source).files:
            self._storage.upload(source / entry.name, f"{self._folder(step)}/{entry.name}")

    def _copy_manifest(self, step: int) -> str:
        """The folder's name in S3; it counts from this moment on."""
        self.ownership.check()
        name, content = f"{self._folder(step)}/{MANIFEST}", (step_folder(self._run, step) / MANIFEST).read_bytes()
        try:
            self._storage.write(name, content, expect=ABSENT)
        except Conflict:  # an earlier try got through, and only its answer was lost
            if self._storage.read(name)[0] != content:
                raise
        return self._folder(step)

    def _folder(self, step: int) -> str:
        return f"{CHECKPOINTS}/{step_name(step, self.ownership.owner.generation)}"

    def _replace_all(self, names: Sequence[str], small: Mapping[str, bytes]) -> None:
        for name in names:
            if name in small:
                self._replace(name, small[name])

    def _replace(self, name: str, content: bytes) -> None:
        if content == self._contents.get(name):
            return
        for _ in range(WRITES):
            try:
                self._versions[name] = self._storage.write(name, content, expect=self._versions.get(name, ABSENT))
            except Conflict:
                # Written by a predecessor on its way out, unless the run is another's by now
                self.ownership.check()
                pause_before_next_try()
                self._versions[name] = self._version_of(name)
                continue
            self._contents[name] = content
            return
        raise refuses_conditions(self._storage, name)

    def _version_of(self, name: str) -> str:
        try:
            return self._storage.read(name)[1]
        except NotFound:
            return ABSENT

    def _copy_growing(self) -> None:
        """Whole files as they are now; what is appended meanwhile comes with the next copy.

        Each as a copy that grows no more: S3 is told a checksum before it gets the bytes.
        """
        for folder in GROWING:
            for path in sorted((self._run / folder).rglob("*")):
                if not path.name.startswith("."):  # else not complete yet
                    self._copy_growing_file(path)

    def _copy_growing_file(self, path: Path) -> None:
        name = path.relative_to(self._run).as_posix()
        with tempfile.TemporaryDirectory(dir=self._run, prefix=".copying-") as folder:
            try:
                stat = path.stat()
                seen = (stat.st_size, stat.st_mtime_ns)
                if not S_ISREG(stat.st_mode) or self._seen.get(name) == seen:
                    return
                still = Path(shutil.copyfile(path, Path(folder) / path.name))
            except FileNotFoundError:  # removed since it was listed
                return
            self._storage.upload(still, name)
        self._seen[name] = seen

    def _prune(self, step: int, best: int | None) -> None:
        """Remove steps that are neither among the newest nor the best, and what dead trainers left half-copied."""
        self.ownership.check()
        generation = self.ownership.owner.generation
        found = [each for each in remote_steps(self._storage) if each.generation <= generation]
        # Higher steps of earlier trainers were passed over at the start: they go when we have come as far
        committed = [each for each in found if each.committed and each.step <= step]
        abandoned = [each for each in found if not each.committed and each.generation < generation]
        # Damaged ones, and what a predecessor still committed on its way out, are no part of this run's past
        sound = [each for each in committed if self._there.get(each.step) == each.folder]
        kept = {each.folder for place, each in enumerate(sound) if place < self._keep_last or each.step == best}
        for each in (*abandoned, *committed):
            if each.folder not in kept:
                self._remove(each)

    def _remove(self, found: RemoteStep) -> None:
        """The manifest first: at no time does one vouch for files that are gone."""
        self._storage.delete([f"{found.folder}/{MANIFEST}"] if found.committed else [])
        self._storage.delete(found.objects)
        self._there = {step: folder for step, folder in self._there.items() if folder != found.folder}

    def _read_small(self) -> dict[str, bytes]:
        paths = {name: self._run / name for name in (*POINTERS, *DESCRIPTIONS)}
        return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}


def _step_in(pointer: bytes | None) -> int | None:
    """The step that a file of `POINTERS` names."""
    return None if pointer is None else int(json.loads(pointer)["step"])
