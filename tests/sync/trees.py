"""Small trees of files: written, and read back from any storage."""

from pathlib import Path

from abet.storage import Storage
from abet.sync.manifest import MANIFEST

Tree = dict[str, bytes]


def write(folder: Path, tree: Tree) -> None:
    for name, content in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def contents(storage: Storage) -> Tree:
    return {entry.name: storage.read(entry.name)[0] for entry in storage.list() if entry.name != MANIFEST}


TREE: Tree = {"a": b"1", "b/c": b"22", "b/d.png": b"", "ä ö/x y": b"4444", "z/z/z/z": b"5" * 100_000}
