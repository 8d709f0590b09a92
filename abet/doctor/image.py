"""What an image must hold and be, whatever site it runs for: `abet doctor --image`, inside of it."""

import os
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from abet.doctor.check import Check
from abet.doctor.machine import check_gpus, check_install, check_shared_memory
from abet.install import FULL_INSTALL

POD_ENTRY = "jobs.kubernetes.pod"


def examine_image() -> Iterator[Check]:
    """Every check of the image itself; no site file is looked for."""
    yield from check_install()
    yield _imports()
    yield _user()
    yield _scratch()
    yield _compiler()
    yield from check_gpus()
    yield from check_shared_memory()


def _imports() -> Check:
    """Everything is imported once: a library that the base lacks shows here, and not after hours in a queue."""
    broken = []
    for name in (*FULL_INSTALL, "abet.train", "abet.evaluate", POD_ENTRY):
        try:
            import_module(name)
        except Exception as error:  # of any kind: a missing shared library is an OSError or an ImportError
            broken.append(f"{name} ({type(error).__name__}: {error})")
    if broken:
        return Check.problem("imports", "; ".join(broken), "build the image anew from a sound base: make image")
    return Check.ok("imports", f"{len(FULL_INSTALL)} libraries, abet, {POD_ENTRY}")


def _user() -> Check:
    if os.getuid() == 0:
        return Check.problem("user", "root", "run it as another user: pods with runAsNonRoot refuse root")
    return Check.ok("user", f"{os.getuid()}:{os.getgid()}, with or without a name")


def _scratch() -> Check:
    """Whether there is anywhere to write to, and whether the rest is closed."""
    try:
        with tempfile.TemporaryDirectory(prefix="abet-"):
            pass
    except OSError as error:
        return Check.problem("temporary files", str(error), "mount an emptyDir (docker: --tmpfs /tmp:exec) on /tmp")
    root = "read-only" if not os.access("/", os.W_OK) else "writable"
    return Check.ok("temporary files", f"{Path(tempfile.gettempdir())}; the root folder is {root} for this user")


def _compiler() -> Check:
    """What Triton and torch.compile build kernels with when a run starts, and where."""
    programs = [os.environ.get(name) or usual for name, usual in (("CC", "gcc"), ("CXX", "g++"))]
    headers = Path(sysconfig.get_path("include"), "Python.h")
    absent = [f"no {name}" for name in programs if shutil.which(name) is None]
    absent += [] if headers.is_file() else [f"no {headers}"]
    folder = tempfile.gettempdir()
    absent += [f"{folder} is mounted noexec"] if os.statvfs(folder).f_flag & os.ST_NOEXEC else []
    if absent:
        return Check.unset(
            "compiler",
            f"{', '.join(absent)}: the head runs on a GPU by slower operations, and training.compile not at all",
            "install g++ and python3-dev in the base; mount /tmp as an emptyDir, or with docker --tmpfs /tmp:exec",
        )
    return Check.ok("compiler", f"{' and '.join(programs)}, {headers}")
