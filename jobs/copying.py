"""What a child prints, shown and kept. Standard library alone."""

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO


def start_copying(child: "subprocess.Popen[bytes]", folder: Path) -> list[threading.Thread]:
    """Copy a child's stdout and stderr to ours and, appended, to ``out.log`` and ``err.log`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    assert child.stdout is not None
    assert child.stderr is not None
    streams = ((child.stdout, sys.stdout.buffer, "out.log"), (child.stderr, sys.stderr.buffer, "err.log"))
    threads = [threading.Thread(target=_copy, args=(pipe, ours, folder / name)) for pipe, ours, name in streams]
    for thread in threads:
        thread.start()
    return threads


def _copy(source: IO[bytes], ours: BinaryIO, path: Path) -> None:
    with path.open("ab", buffering=0) as log, source:
        while block := source.read1(65536):  # type: ignore[attr-defined]
            for target in (log, ours):
                # A full disk, or a reader of our output that has left, must not stop the job
                with suppress(OSError, ValueError):
                    target.write(block)
                    target.flush()
