"""A folder as a storage.

Conditional writes hold between all processes of one machine that go through here, and between machines as far as the
file system's locks (flock) reach. A write that must be the first has one winner without locks, too, wherever there are
hard links: NFS, say.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from abet.errors import DataError
from abet.files import TEMPORARY, atomic_path
from abet.storage.protocol import ABSENT, Conflict, Entry, NotFound, require_name, require_prefix
from abet.text import printable

LOCK = ".abet.lock"
"""The file in a folder that is locked while one of the folder's files is replaced. Never listed."""


class LocalStorage:
    """The files below a folder, which may be a link and need not exist yet.

    What lies in the folder is the storage: links to other parts of it are followed, links that leave it are refused.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> Path:
        """The folder."""
        return self._folder

    def list(self, prefix: str = "") -> list[Entry]:
        """See `Storage`. Raises DataError, too, for a link that leaves the folder, leads nowhere or in a circle."""
        require_prefix(prefix, self.place)
        within = prefix.rpartition("/")[0]
        folder = self._real(within) if within else self._folder
        if not folder.is_dir():
            return []
        found = self._walk(folder, f"{within}/" if within else "", (os.path.realpath(folder),))
        return sorted(entry for entry in found if entry.name.startswith(prefix))

    def read(self, name: str) -> tuple[bytes, str]:
        """See `Storage`."""
        try:
            with self._real(name).open("rb") as file:
                return file.read(), _version(os.fstat(file.fileno()))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise self._absent(name) from None

    def write(self, name: str, content: bytes, *, expect: str | None) -> str:
        """See `Storage`."""
        path = self._path(name)
        with locked(path.parent):
            there = _stat(path)
            if expect is not None and _version(there) != expect:
                found = f"version {_version(there)}" if there else "it is gone"
                raise Conflict(f"{path}: somebody else wrote it since we last looked ({found})")
            with atomic_path(path, keep_existing=expect == ABSENT) as temporary:
                temporary.write_bytes(content)
                # A clock that is coarse or was set back must not give two contents one version
                now = max(time.time_ns(), there.st_mtime_ns + 1 if there else 0)
                os.utime(temporary, ns=(now, now))
                version = version_of(temporary)  # which the new name does not change
            if expect == ABSENT and version_of(path) != version:
                raise Conflict(f"{path}: somebody else wrote it since we last looked (version {version_of(path)})")
            return version

    def upload(self, source: Path, name: str) -> str:
        """See `Storage`."""
        path = self._path(name)
        with atomic_path(path) as temporary:
            shutil.copyfile(source, temporary)
            return version_of(temporary)  # which the new name does not change

    def download(self, name: str, target: Path) -> str:
        """See `Storage`."""
        source = self._real(name)
        if not source.is_file():
            raise self._absent(name)
        version = version_of(source)
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
        return version

    def delete(self, names: Iterable[str]) -> None:
        """See `Storage`. Folders that become empty vanish too, as in S3."""
        for name in names:
            path = self._path(name)
            with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                path.unlink()
            folder = path.parent
            while folder != self._folder and _remove_if_empty(folder):
                folder = folder.parent

    def abandon(self) -> None:
        """See `Storage`: nothing is queued here, and a disk answers."""

    def _path(self, name: str) -> Path:
        """Where to write an object: its folders may be links that stay in the root."""
        path = self._folder / require_name(name, self.place)
        self._require_inside(path.parent, name)
        return path

    def _real(self, name: str) -> Path:
        """Where to read an object or a folder, which may be a link itself."""
        path = self._path(name)
        self._require_inside(path, name)
        return path

    def _require_inside(self, path: Path, name: str) -> None:
        root, real = os.path.realpath(self._folder), os.path.realpath(path)
        if real != root and not real.startswith(root.rstrip("/") + "/"):
            raise DataError(
                f"{self.place}: '{printable(name)}' is or lies behind a link that leaves the folder ({printable(real)})"
                "; copy what it points to, or make the folder itself the link"
            )

    def _walk(self, folder: Path, prefix: str, above: tuple[str, ...]) -> Iterator[Entry]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name == LOCK or TEMPORARY.fullmatch(entry.name):
                    continue
                name = require_name(prefix + entry.name, self.place)
                if entry.is_symlink():
                    self._require_target(Path(entry), name, above)
                if entry.is_dir():
                    path = Path(entry)
                    yield from self._walk(path, f"{name}/", (*above, os.path.realpath(path)))
                elif entry.is_file():
                    stat = entry.stat()
                    yield Entry(name, stat.st_size, _version(stat))

    def _require_target(self, link: Path, name: str, above: tuple[str, ...]) -> None:
        if not link.exists():
            raise DataError(f"{self.place}: '{printable(name)}' is a link to nothing; remove it or mend it")
        self._require_inside(link, name)
        if os.path.realpath(link) in above:
            raise DataError(f"{self.place}: '{printable(name)}' is a link to a folder around it; remove it")

    def _absent(self, name: str) -> NotFound:
        return NotFound(f"{self._folder / name}: no such file")


@contextmanager
def locked(folder: Path, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep out all others that lock ``folder`` (made if absent), until the block or this process ends.

    ``on_wait`` is called when somebody else holds it.
    """
    path = folder / LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("ab")
        except FileNotFoundError:  # the folder was removed since
            continue
        with file:
            _lock(file, on_wait)
            try:
                if not _is_still(file.fileno(), path):  # removed with its folder while we waited
                    continue
                yield
                return
            finally:
                # said aloud: a process forked meanwhile would keep it locked beyond our closing the file
                fcntl.flock(file, fcntl.LOCK_UN)


def _lock(file: IO[bytes], on_wait: Callable[[], None]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        on_wait()
        fcntl.flock(file, fcntl.LOCK_EX)


def _is_still(descriptor: int, path: Path) -> bool:
    there = _stat(path)
    return there is not None and os.path.samestat(os.fstat(descriptor), there)


def _remove_if_empty(folder: Path) -> bool:
    try:
        if [entry.name for entry in folder.iterdir()] == [LOCK]:
            with locked(folder):
                if len(list(folder.iterdir())) == 1:
                    (folder / LOCK).unlink()
        folder.rmdir()
    except OSError:  # not empty, or gone
        return False
    return True


def version_of(path: Path) -> str:
    """The version of the object that a file is; ABSENT where there is none."""
    return _version(_stat(path))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _version(stat: os.stat_result | None) -> str:
    return ABSENT if stat is None else f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{stat.st_ino:x}"
