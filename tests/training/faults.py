"""Faults at a chosen call: everything that changes the disk during a commit is counted, and fails on order."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import abet.checkpoint
import abet.training.state


class Killed(BaseException):
    """The process ends here: nothing that follows happens, not even cleaning up."""


WRITES = ("write_bytes", "save_tensors")
"""Calls that may leave half a file."""
REMOVALS = ("unlink", "rmdir")
"""Calls that succeed on a full disk."""


@dataclass
class Faults:
    """``kind``: kill (before the call), torn (in the middle of a write), full (no space from here on), blip (once)."""

    kind: str
    at: int
    calls: list[str] = field(default_factory=list)

    def before(self, name: str, paths: tuple[Path, ...]) -> None:
        self.calls.append(name)
        here, past = len(self.calls) - 1 == self.at, len(self.calls) - 1 > self.at
        if self.kind in ("kill", "torn") and (past or here):
            if here and self.kind == "torn":
                assert name in WRITES
                path_write_bytes(paths[0], b"half")
            raise Killed
        if (here or (past and self.kind == "full")) and self.kind in ("full", "blip") and name not in REMOVALS:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *named(name, paths))


path_write_bytes = Path.write_bytes


def named(name: str, paths: tuple[Path, ...]) -> tuple[object, ...]:
    """What else the kernel's error says: writes and fsync do not know their path."""
    if name in ("fsync", *WRITES):
        return ()
    return (str(paths[0]), None, str(paths[1])) if len(paths) > 1 else (str(paths[0]),)


@contextmanager
def injected(kind: str = "none", at: int = -1) -> Iterator[Faults]:
    """Count the calls in the block, and let number ``at`` fail. Nothing waits for the disk."""
    faults = Faults(kind, at)

    def counted(name: str, function: Callable[..., Any], paths: slice) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name != "mkdir" or not Path(args[0]).exists():  # that one changes nothing
                faults.before(name, args[paths])
            return function(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", counted("fsync", lambda descriptor: None, slice(0)))
        for name, paths in (("rename", 2), ("replace", 2), ("mkdir", 1), ("unlink", 1), ("rmdir", 1)):
            patch.setattr(os, name, counted(name, getattr(os, name), slice(paths)))
        patch.setattr(Path, "write_bytes", counted("write_bytes", Path.write_bytes, slice(1)))
        for module in (abet.checkpoint, abet.training.state):
            patch.setattr(module, "save_tensors", counted("save_tensors", module.save_tensors, slice(1, 2)))
        yield faults
