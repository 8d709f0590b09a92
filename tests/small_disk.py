"""A disk that is full after some kilobytes, by a limit on file sizes: the kernel refuses a write in the same place."""

import os
import resource
import subprocess
import sys
from pathlib import Path

from tests.conftest import Finished

ROOT = Path(__file__).parents[1]


def limit_files(size_bytes: int) -> None:
    """From here on, no file of this process or its children grows past ``size_bytes``.

    Python 3.11 takes a refused rest of a module's bytecode for written, and every later process fails on that
    module; so no bytecode is kept from here on.
    """
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


def abet_with_small_disk(size_bytes: int, *arguments: object) -> Finished:
    """The command ``abet`` with ``arguments`` where no file grows past ``size_bytes``."""
    code = f"""
import sys
from abet.cli import main
from tests.small_disk import limit_files
import matplotlib.font_manager  # keeps a cache file of its own
limit_files({size_bytes})
sys.argv[0] = "abet"
main()
"""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return Finished(result.returncode, result.stdout, result.stderr)
