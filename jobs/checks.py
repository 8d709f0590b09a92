"""What can be found out of a profile before a job waits for hours and then fails: asked of this machine and of SLURM.

python -m jobs profile [NAME]
"""

import getpass
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from jobs.executors.states import UnansweredError, output_of
from jobs.profile import ROOT, SlurmProfile

Run = Callable[[Sequence[str]], str]
IMAGE_FILES: Final = (".sif", ".sqsh", ".img")


def problems(profile: SlurmProfile, *, image: str | None, run: Run = output_of) -> list[str]:
    """What would keep jobs of this profile from running, each with its remedy; none where all is well.

    Args:
        profile: the profile.
        image: the site's, for profiles that name none.
        run: gives a command's output, or raises UnansweredError; what does not answer is not held against the profile.
    """
    return [*_of_python(profile), *_of_container(profile, image, run), *_of_slurm(profile, run)]


def _of_python(profile: SlurmProfile) -> Iterator[str]:
    bare = profile.container.runtime == "none"
    name, key = (profile.python, "python") if bare else (profile.host_python, "host_python")
    if name is None:
        return
    # A name alone is looked up on PATH, as the shell on the node does
    path = name if not bare and os.sep not in name else str(ROOT / Path(name).expanduser())
    if shutil.which(path) is None:
        remedy = "`make setup` in the checkout builds .venv" if bare else "`make setup-light` builds .venv-light"
        yield f"{key} {path} is no program here: {remedy}, or name another one"


def _of_container(profile: SlurmProfile, image: str | None, run: Run) -> Iterator[str]:
    container = profile.container
    if container.runtime == "none":
        return
    # Setup lines may bring it: `module load apptainer`
    if container.runtime == "apptainer" and not profile.setup and not shutil.which("apptainer"):
        yield "apptainer is not on PATH: install it, load it in `setup`, or choose another container.runtime"
    if container.runtime == "pyxis" and "--container-image" not in _answer(
        run, "srun", "--help", default="--container-image"
    ):
        yield "srun knows no --container-image: SLURM's plugin pyxis is missing; choose another container.runtime"
    chosen = container.image or image
    if not chosen:
        yield "no image is named: `image:` in the site file, or container.image in the profile"
    elif is_file_name(chosen) and not (ROOT / chosen).exists():
        yield f"there is no image {ROOT / chosen}: correct `image:` in the site file, or container.image in the profile"


def is_file_name(image: str) -> bool:
    """Whether an image is named by its path; else by a registry."""
    return image.startswith(("/", "./", "../")) or (image.endswith(IMAGE_FILES) and "://" not in image)


def _of_slurm(profile: SlurmProfile, run: Run) -> Iterator[str]:
    there = _answer(run, "sinfo", "--noheader", "--format=%R").split()
    for name in (profile.partition or "").split(","):
        if name and there and name not in there:
            yield f"SLURM has no partition {name}: set `partition` to one of {', '.join(sorted(set(there)))}"
    if profile.account:
        asked = ("show", "assoc", f"user={getpass.getuser()}", "format=Account")
        accounts = _answer(run, "sacctmgr", "--noheader", "--parsable2", *asked).split()
        if accounts and profile.account not in accounts:
            mine = ", ".join(sorted(set(accounts)))
            yield f"SLURM does not let you use account {profile.account}: set `account` to one of {mine}"


def _answer(run: Run, *command: str, default: str = "") -> str:
    try:
        return run(command)
    except UnansweredError:
        return default
