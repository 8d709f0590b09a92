"""This machine: what is installed, its scheduler, its GPUs."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from abet.doctor.check import Check
from abet.errors import AbetError
from abet.install import FULL_INSTALL, FULL_REMEDY, missing_modules, version_of
from abet.names import is_registry_image
from abet.settings import read_yaml
from abet.site import SiteConfig, find_site_file
from abet.version import __version__

LIGHT = ("boto3", "submitit", "pydantic")
CHECKOUT = Path(__file__).resolve().parents[2]
"""Where the package lies; its checkout, if it is no installed copy."""
SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_BYTES = 2**30
CUDA_13_DRIVER = 580
"""Oldest driver (its major number) that runs CUDA 13."""
OLDEST_OF_CUDA_13 = 7.5
"""Compute capability: Turing. CUDA 13 left out Volta (V100: 7.0) and older."""
OLD_GPUS = (
    "install a build of torch for CUDA 12.6, which still has them: torch >= 2.11, < 2.15 from PyTorch's own index cu126"
)


def check_install() -> Iterator[Check]:
    """Python, and whether everything that computes is here."""
    yield Check.ok("python", platform.python_version())
    missing = missing_modules()
    names = LIGHT if missing else (*LIGHT, "torch", "numpy")
    versions = ", ".join(f"{name} {version_of(name)}" for name in names)
    if not missing:
        yield Check.ok("install", f"full: abet {__version__}, {versions}")
    elif len(missing) == len(FULL_INSTALL):
        yield Check.ok(
            "install",
            f"light: abet {__version__}, {versions}; submits jobs, moves files and promotes; to train, evaluate and "
            f"report here: {FULL_REMEDY}",
        )
    else:
        yield Check.problem("install", f"incomplete: no {', '.join(missing)}", FULL_REMEDY)


def check_scheduler(site: SiteConfig | None) -> Iterator[Check]:
    """The commands of SLURM and Kubernetes, and the profiles that say how they are used here."""
    there = {name: shutil.which(name) for name in ("sbatch", "sinfo")}
    if not any(there.values()):
        yield Check.unset("scheduler", "no sbatch on PATH: jobs run on this machine")
    elif not all(there.values()):
        absent = ", ".join(name for name, path in there.items() if path is None)
        yield Check.problem("scheduler", f"{absent} is not on PATH", "install SLURM's client commands whole")
    else:
        yield _partitions()
    if site is not None:
        yield check_profile(site.profile)
    if site is not None and (shutil.which("kubectl") or site.kubernetes != SiteConfig().kubernetes):
        yield check_kubernetes(site)


def _partitions() -> Check:
    answer = _run("sinfo", "--noheader", "--format=%P %a")
    if answer is None:
        return Check.problem("scheduler", "sinfo gives no answer", "is slurmctld up, and SLURM_CONF right?")
    return Check.ok("scheduler", f"SLURM, partitions: {', '.join(sorted(set(answer.split()[::2]))) or 'none'}")


def check_profile(name: str, checkout: Path = CHECKOUT) -> Check:
    """What the checkout's own jobs say of the profile; without one, whether its file is readable at all."""
    profiles = checkout / "slurm" / "profiles"
    if (checkout / "jobs" / "__main__.py").is_file():
        there = ", ".join(sorted(path.stem for path in profiles.glob("*.yaml")))
        return _asked_of_jobs(name, checkout, f"correct it, or set `profile` in the site file to another of: {there}")
    if not name.endswith((".yaml", ".yml")):
        return Check.unset(
            "profile", f"{name}: not looked for, this is no checkout", "jobs are submitted from a checkout"
        )
    try:
        read_yaml(Path(name))
    except AbetError as error:
        return Check.problem("profile", str(error), "correct it, or `profile` in the site file")
    return Check.ok("profile", f"{name}: readable; what it says was not checked, this is no checkout")


def check_kubernetes(site: SiteConfig, checkout: Path = CHECKOUT) -> Check:
    """What the checkout's own jobs say of the profile, and whether kubectl is there; the cluster is not asked."""
    if not (checkout / "jobs" / "__main__.py").is_file():
        return Check.unset("kubernetes", "not looked for, this is no checkout", "jobs are submitted from a checkout")
    there = ", ".join(sorted(path.stem for path in (checkout / "k8s" / "profiles").glob("*.yaml")))
    fix = f"correct it, or set `kubernetes` in the site file to another of: {there}"
    found = _asked_of_jobs(site.kubernetes, checkout, fix, "--on", "kubernetes", name="kubernetes")
    if found.state != "ok":
        return found
    if not site.image or not is_registry_image(site.image):
        image = f"{site.image} is no image of a registry" if site.image else "no image"
        return Check.unset("kubernetes", f"{found.found}; {image}", "set `image` to what `make push` pushed")
    if not shutil.which("kubectl"):
        return Check.unset("kubernetes", f"{found.found}; no kubectl on PATH", "install it and log in to the cluster")
    return Check.ok("kubernetes", f"{found.found}; the cluster was not asked")


def _asked_of_jobs(profile: str, checkout: Path, fix: str, *options: str, name: str = "profile") -> Check:
    command = [sys.executable, "-m", "jobs", "profile", *options, "--", profile]
    site = find_site_file()
    # From the checkout, and still with the site file that was found from here
    environment = os.environ if site is None else os.environ | {"ABET_SITE": str(site.absolute())}
    try:
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check.problem(name, f"{' '.join(command)}: {error}", "run it from the checkout")
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return Check.problem(name, said[-1].removeprefix("abet: error: "), fix)
    return Check.ok(name, done.stdout.splitlines()[0])


class Gpu(NamedTuple):
    """What the driver says of one."""

    name: str
    driver: int
    """Major version."""
    capability: float


def check_gpus() -> Iterator[Check]:
    """GPUs and their driver, against the CUDA that the installed torch was built for."""
    gpus = list_gpus()
    if not gpus:
        yield Check.unset("gpus", "none here (no answer from nvidia-smi)")
        return
    shown = f"{len(gpus)} x {gpus[0].name}, driver {gpus[0].driver}"
    if "torch" in missing_modules():
        yield Check.ok("gpus", f"{shown}; no torch here to use them")
        return
    import torch

    cuda, usable = torch.version.cuda, torch.cuda.is_available()
    yield judge_gpus(shown, gpus, cuda=cuda, usable=usable)


def list_gpus() -> list[Gpu]:
    """The GPUs that nvidia-smi names; none where there is no such command, or no driver."""
    answer = _run("nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader") or ""
    found = []
    for line in answer.splitlines():
        name, _, rest = line.partition(", ")
        driver, _, capability = rest.partition(", ")
        try:
            found.append(Gpu(name, int(driver.partition(".")[0]), float(capability)))
        except ValueError:  # words in place of numbers
            continue
    return found


def judge_gpus(shown: str, gpus: list[Gpu], *, cuda: str | None, usable: bool) -> Check:
    """Whether a torch built for ``cuda`` ("13.0"; None: without CUDA) can use ``gpus``; ``usable``: what it says."""
    if cuda is None:
        return Check.problem("gpus", f"{shown}; the installed torch is built without CUDA", "install torch with CUDA")
    shown = f"{shown}, torch for CUDA {cuda}"
    if int(cuda.partition(".")[0]) >= 13:
        old = sorted({gpu.name for gpu in gpus if gpu.capability < OLDEST_OF_CUDA_13})
        if old:
            return Check.problem("gpus", f"{shown}: CUDA 13 leaves out {', '.join(old)}", OLD_GPUS)
        if gpus[0].driver < CUDA_13_DRIVER:
            fix = f"install driver {CUDA_13_DRIVER} or newer, or a build of torch for CUDA 12 from PyTorch's own index"
            return Check.problem("gpus", f"{shown}: CUDA 13 needs driver {CUDA_13_DRIVER} or newer", fix)
    if not usable:
        return Check.problem("gpus", f"{shown}: torch cannot use them", "python -c 'import torch; torch.cuda.init()'")
    return Check.ok("gpus", shown)


def check_shared_memory() -> Iterator[Check]:
    """/dev/shm, through which loader processes hand over images."""
    if not SHARED_MEMORY.is_dir():
        return
    size = shutil.disk_usage(SHARED_MEMORY).total
    text = f"{size / 2**30:.1f} GiB"
    if size < SHARED_MEMORY_BYTES:
        yield Check.problem(
            str(SHARED_MEMORY),
            f"{text}: loader processes need 1 GiB or more",
            "container: --shm-size=8g or --ipc=host; pod: an emptyDir of medium Memory; or data.workers_per_process=0",
        )
    else:
        yield Check.ok(str(SHARED_MEMORY), text)


def _run(*command: str) -> str | None:
    """What a command prints; None when it is not there, fails, or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
