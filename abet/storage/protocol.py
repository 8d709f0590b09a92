"""What every storage promises: names below one place, whole objects, and writes that can be made conditional.

A name is relative to the storage's place, with "/" between its parts on every system. A version tells one content of
an object from another and says nothing else: an ETag in S3, a file's times and size on this machine.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from abet.errors import AbetError, DataError, UsageError
from abet.places import Place
from abet.text import printable

ABSENT: Final = ""
"""The version of an object that is not there."""
MAX_NAME_BYTES: Final = 1024
"""S3's limit for a whole key, in UTF-8."""

CONTROL: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]")
SURROGATE: Final = re.compile("[\\ud800-\\udfff]")
"""What Python makes of file names that are not UTF-8."""


class StorageRefused(UsageError):  # noqa: N818
    """The storage answered, and the answer is no: no such bucket, wrong or missing keys, no permission. Permanent."""


class StorageUnavailable(AbetError):  # noqa: N818
    """The storage did not answer, or failed, for as long as we were willing to wait. Another try may succeed."""


class NotFound(DataError):  # noqa: N818
    """There is no object of this name."""


class Conflict(AbetError):  # noqa: N818
    """The object is not what the writer expected to replace: somebody else wrote it meanwhile."""


@dataclass(frozen=True, order=True)
class Entry:
    """One object of a listing."""

    name: str
    bytes: int
    version: str


class Storage(Protocol):
    """Objects below one place. Everything may be called from several threads at once.

    All methods raise StorageRefused and StorageUnavailable, and DataError for a name that `require_name` refuses.
    """

    @property
    def place(self) -> Place:
        """The folder or prefix that all names are relative to."""
        ...

    def list(self, prefix: str = "") -> list[Entry]:
        """All objects whose name begins with ``prefix`` (a plain string, such as "checkpoints/"), sorted by name."""
        ...

    def read(self, name: str) -> tuple[bytes, str]:
        """Content and version of a small object. Raises NotFound."""
        ...

    def write(self, name: str, content: bytes, *, expect: str | None) -> str:
        """Replace a small object whole, and return its new version.

        ``expect`` is the version that must be there now: ABSENT for none, a version from `list`, `read` or `write`,
        or None for whatever is there. Of several writers that expect the same one wins, the others change nothing.
        A writer whose answer got lost finds its own bytes there and has won; so contents that claim something must
        differ from writer to writer.

        Raises:
            Conflict: something else is there.
        """
        ...

    def upload(self, source: Path, name: str) -> str:
        """Store a file of any size, and return its version; it appears whole or not at all."""
        ...

    def download(self, name: str, target: Path) -> str:
        """Fetch an object of any size, and return its version.

        ``target`` appears whole or not at all, and its folders are made.

        Raises:
            NotFound: there is none.
            Conflict: it was replaced while it was read.
        """
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects, one after the other in this order. Those that are not there are no error."""
        ...

    def abandon(self) -> None:
        """Give up what is on its way, from any thread: this process ends, and nobody waits for the rest.

        What is queued is not begun, nothing is tried again, and whoever waits gets StorageUnavailable.
        """
        ...


def require_name(name: str, place: Place) -> str:
    """``name``, if it stays below ``place`` and can be a key as well as a path.

    Raises:
        DataError: an absolute name, an empty part, "." or "..", a backslash, a control character, or too long.
    """
    reason = _fault(name)
    if reason:
        raise DataError(f"{place}: the name '{printable(name)}' {reason}; rename or remove it where it comes from")
    return name


def require_prefix(prefix: str, place: Place) -> str:
    """``prefix``, if names that begin with it can be below ``place``. Raises as `require_name`."""
    if prefix:
        require_name(prefix.removesuffix("/") or "/", place)
    return prefix


def _fault(name: str) -> str | None:
    parts = name.split("/")
    faults = {
        "is absolute": name.startswith("/"),
        "leaves its root (..)": ".." in parts,
        "has an empty part or '.'": "" in parts or "." in parts,
        "has a backslash or a control character": "\\" in name or CONTROL.search(name) is not None,
        "is not valid Unicode": SURROGATE.search(name) is not None,
        f"is longer than {MAX_NAME_BYTES} bytes": len(name.encode(errors="replace")) > MAX_NAME_BYTES,
    }
    return next((fault for fault, found in faults.items() if found), None)
