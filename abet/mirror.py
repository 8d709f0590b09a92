"""A run in S3, worked on in a folder of this machine; a run in a folder is worked on where it lies. No torch import.

    with mirrored(run, site) as mirror:
        mirror.pull(lambda name: name == "config.yaml")
        ...                                   # read and write below mirror.folder
        mirror.agree(mirror.folder / "evaluation" / "config.yaml")
        mirror.push(mirror.folder / "evaluation" / "road_anomaly" / "metrics.json")

Whoever works on a run need not know where it lies: for one on this machine, all of this does nothing.
"""

import fcntl
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from abet.errors import AbetError
from abet.places import Place, S3Uri
from abet.run import (
    CHECKPOINTS,
    COMPONENTS_NAME,
    CONFIG,
    OWNER,
    SHARD_NAME,
    evaluation_config,
    evaluation_dir,
    parse_step_name,
    require_ours_among,
    run_of,
    shard_path,
)
from abet.site import SiteConfig
from abet.storage import ABSENT, Conflict, Storage, StorageRefused, StorageUnavailable, open_storage, version_of

WORK: Final = "run-"
"""How the folders below scratch begin that stand for runs in S3."""
ALIVE: Final = ".alive"
"""In such a folder: locked by the kernel as long as its process lives."""


class Mirror:
    """A run's place, and the folder of this machine that stands for it. `mirrored` makes it."""

    def __init__(self, place: Place, folder: Path, storage: Storage | None) -> None:
        self.place = place
        self.folder = folder
        """The run itself, where it lies on this machine."""
        self._storage = storage
        self._versions: dict[str, str] = {}
        self.unpublished = False
        """Whether the folder holds results that could not be stored."""

    def pull(self, wanted: Callable[[str], bool]) -> list[str]:
        """Fetch every file whose name below the run is ``wanted``; returns the names of all of the run's files.

        An empty ``checkpoints/`` stands for those of a training run: that it has them decides where evaluations say
        what they belong to.
        """
        if self._storage is None:
            return []
        names = [entry.name for entry in self._storage.list()]
        self._versions = {name: version for name, version in self._versions.items() if name in names}
        for name in filter(wanted, names):
            self._versions[name] = self._storage.download(name, self.folder / name)
        if any(name.startswith(f"{CHECKPOINTS}/") for name in names):
            (self.folder / CHECKPOINTS).mkdir(exist_ok=True)
        return names

    def agree(self, path: Path) -> None:
        """Publish a file that decides unless one is there; afterwards the folder holds what stands in the run."""
        if self._storage is None:
            return
        name = self._name(path)
        try:
            self._storage.write(name, path.read_bytes(), expect=ABSENT)
        except Conflict:
            self._storage.download(name, path)

    def push(self, *paths: Path) -> None:
        """Publish results in this order, in place of what is there."""
        if self._storage is not None:
            for path in paths:
                with self._keeping_results():
                    self._storage.upload(path, self._name(path))

    def push_new(self, path: Path, *, damaged: str = ABSENT) -> bool:
        """Publish a result unless one is there, which is kept; returns whether ours is the one.

        A ``damaged`` one, of this `version`, is no result: ours takes its place.
        """
        if self._storage is not None:
            with self._keeping_results():
                try:
                    self._storage.write(self._name(path), path.read_bytes(), expect=damaged)
                except Conflict:
                    return False
        return True

    def replace(self, path: Path) -> bool:
        """Publish a result in place of the one that was pulled; returns False where that stands there no longer.

        What is not replaced stays as it is: pull again, and compute from that.
        """
        return self.push_new(path, damaged=self.version(path))

    def remove(self, path: Path) -> None:
        """Remove a result that is no longer one from the run; that it is not there is no error."""
        if self._storage is not None:
            self._storage.delete([self._name(path)])
            self._versions.pop(self._name(path), None)

    def version(self, path: Path) -> str:
        """The version, in the run, of a file that was pulled; of a run on this machine, of what is there now."""
        return version_of(path) if self._storage is None else self._versions.get(self._name(path), ABSENT)

    def seen(self, path: Path) -> Place:
        """Where a file of the folder stands for users."""
        return path if self._storage is None else self.place / self._name(path)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    @contextmanager
    def _keeping_results(self) -> Iterator[None]:
        try:
            yield
        except (StorageRefused, StorageUnavailable) as error:
            self.unpublished = True
            remedy = f"abet sync {self.folder} {shlex.quote(str(self.place))}"
            raise type(error)(f"{error}. What was computed is kept: {remedy}") from None


@contextmanager
def mirrored(place: Place, site: SiteConfig) -> Iterator[Mirror]:
    """Work on the run at ``place``; of one in S3 the folder is below the site's scratch, and removed in the end.

    Errors name the run, not the folder. Results that could not be stored stay in the folder, and the error names it.
    """
    if isinstance(place, Path):
        yield Mirror(place, place, None)
        return
    with _work_folder(site.scratch_folder) as folder:
        mirror = Mirror(place, folder, open_storage(place, site.s3))
        try:
            yield mirror
        except AbetError as error:
            if mirror.unpublished:
                (folder / ALIVE).unlink()  # a mark of ours that keeps it
            else:
                error.args = tuple(str(part).replace(str(folder), str(place)) for part in error.args)
            raise


@contextmanager
def _work_folder(root: Path) -> Iterator[Path]:
    """A folder that is removed in the end, or by the next one who comes when this process was killed."""
    root.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
    with (new / ALIVE).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        folder = new.rename(root / f"{WORK}{new.name.removeprefix('.new-')}")
        try:
            yield folder
        finally:
            if (folder / ALIVE).exists():
                shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(root: Path) -> None:
    for folder in root.glob(f"{WORK}*"):
        try:
            with (folder / ALIVE).open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # at work, results that were kept, or gone meanwhile
            continue


def pull_evaluation(mirror: Mirror, dataset: str, *, shard: tuple[int, int] | None = None) -> None:
    """Fetch what decides whether ``dataset`` may be evaluated into the run: whose it is, and ``shard`` (I, N) of it.

    Raises:
        UsageError: the prefix holds files that no run wrote.
    """
    folder = evaluation_dir(mirror.folder, dataset)
    paths = [folder / "evaluation.json", folder / "metrics.json"]
    if shard is not None:
        paths.append(shard_path(mirror.folder, dataset, *shard))
    known = {CONFIG, OWNER, f"evaluation/{CONFIG}", *(path.relative_to(mirror.folder).as_posix() for path in paths)}
    names = mirror.pull(known.__contains__)
    config = evaluation_config(mirror.folder).relative_to(mirror.folder).as_posix()
    if isinstance(mirror.place, S3Uri) and config not in names:
        require_ours_among(mirror.place, {name.partition("/")[0] for name in names})


def pull_results(mirror: Mirror) -> None:
    """Fetch what a report shows of a run: figures, curves and samples of every data set, and whose they are."""
    mirror.pull(lambda name: name == CONFIG or (name.startswith("evaluation/") and not _is_count(name)))


def _is_count(name: str) -> bool:
    last = name.rpartition("/")[2]
    return any(pattern.fullmatch(last) for pattern in (SHARD_NAME, COMPONENTS_NAME))


def remote_run_of(checkpoint: S3Uri, site: SiteConfig) -> S3Uri | None:
    """The training run that a checkpoint in S3 (a run, or one of its steps) belongs to; None for other places."""
    if parse_step_name(checkpoint.name) and checkpoint.parent.name == CHECKPOINTS:
        return checkpoint.parent.parent
    return checkpoint if open_storage(checkpoint, site.s3).list(f"{CHECKPOINTS}/") else None


def default_run(checkpoint: Place, site: SiteConfig) -> Place:
    """Where a checkpoint is evaluated: in the run that it belongs to, else below the site's artifacts."""
    if isinstance(checkpoint, S3Uri):
        return remote_run_of(checkpoint, site) or site.artifacts / checkpoint.name.removesuffix(".pth")
    return run_of(checkpoint.absolute()) or site.artifacts / checkpoint.resolve().name.removesuffix(".pth")
