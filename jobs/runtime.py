"""From a job to the words that start it on a node: bare or in a container, alone or under the launcher."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from abet.errors import UsageError
from jobs.mounts import container_mounts
from jobs.profile import ROOT, SlurmProfile
from jobs.spec import JobSpec


@dataclass(frozen=True, kw_only=True)
class Runner:
    """How `abet` is called on a node."""

    prefix: tuple[str, ...] = ()
    """What stands before it: a shell with setup lines, a container."""
    abet: tuple[str, ...]
    """``python -m abet``, or ``abet`` in an image."""

    def text(self) -> str:
        """One line of shell."""
        return shlex.join((*self.prefix, *self.abet))


def bare_runner(python: str, setup: Sequence[str] = ()) -> Runner:
    """Without a container: the given Python, relative to the checkout, after the setup lines."""
    path = Path(python).expanduser()
    return Runner(prefix=_shell(setup), abet=(str(path if path.is_absolute() else ROOT / path), "-m", "abet"))


def runner_of(profile: SlurmProfile, spec: JobSpec, *, image: str | None, scratch: Path) -> Runner:
    """How a job of this profile calls `abet`.

    Args:
        profile: the site's.
        spec: its mounts and GPUs count.
        image: the site's, for profiles that name none.
        scratch: the site's; in a container it is the same as here, whatever $TMPDIR the node has.

    Raises:
        UsageError: the profile wants a container and nobody names an image, or one can see no folder of that name.
    """
    container = profile.container
    if container.runtime == "none":
        return bare_runner(profile.python, profile.setup)
    chosen = container.image or image
    if not chosen:
        raise UsageError(
            f"the profile wants a container ({container.runtime}) and no image is named: `image:` in the site file"
        )
    mounts = container_mounts(profile, spec)
    made = [mount.source for mount in mounts if mount.made]
    own = [f"export ABET_SCRATCH={shlex.quote(str(scratch))}", *([f"mkdir -p {shlex.join(made)}"] if made else [])]
    setup = _shell([*profile.setup, *own])
    if container.runtime == "apptainer":
        words = ["apptainer", "exec", *(["--nv"] if spec.gpus_per_node else []), "--pwd", str(ROOT)]
        for mount in mounts:
            words += ["--bind", f"{mount.source}:{mount.target}:{'ro' if mount.read_only else 'rw'}"]
        return Runner(prefix=(*setup, *words, *container.arguments, chosen), abet=("abet",))
    # A step within the step: it takes over neither the variables that the supervisor sets nor the number of CPUs
    words = ["srun", "--overlap", "--nodes=1", "--ntasks=1", "--nodelist={node}", *srun_options(spec)]
    words += [f"--container-image={chosen}", f"--container-workdir={ROOT}", "--no-container-mount-home"]
    listed = (f"{mount.source}:{mount.target}{':ro' if mount.read_only else ''}" for mount in mounts)
    words += [f"--container-mounts={','.join(listed)}"] if mounts else []
    return Runner(prefix=(*setup, *words, *container.arguments), abet=("abet",))


def srun_options(spec: JobSpec) -> list[str]:
    """Of every step of a job.

    It gets what the batch script has (srun would take --export for itself) and all of a node's CPUs (since 22.05 srun
    no longer takes them from sbatch); one node's end must not end the others before they have spoken.
    """
    return ["--kill-on-bad-exit=0", "--export=ALL", f"--cpus-per-task={spec.cpus_per_node}"]


def _shell(setup: Sequence[str]) -> tuple[str, ...]:
    """A shell that runs the setup lines, ends at the first that fails, and becomes what follows."""
    if not setup:
        return ()
    return ("bash", "-c", "\n".join(["set -e", *setup, 'exec "$@"']), "abet-setup")
