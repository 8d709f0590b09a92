"""Write synthetic data sets with worker processes; the bytes do not depend on how many.

abet data synthesize /data/synthetic --seed 0
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from abet.data.synthetic.more_trees import MORE_PARTS
from abet.data.synthetic.scene import Picture, render
from abet.data.synthetic.traffic import Theme
from abet.data.synthetic.trees import PARTS, Part, Shot, mapillary_config
from abet.errors import AbetError, UsageError, unknown_name
from abet.files import read_json, write_bytes, write_json
from abet.progress import progress

GENERATOR: Final = 1
"""Raised with every change that alters a picture."""
MARKER: Final = "synthetic.json"
"""Below ROOT once everything is there; says how it was made."""
UNFINISHED: Final = ".synthetic-unfinished.json"
"""Below ROOT until then."""
SMALLEST: Final = 64
LARGEST: Final = 4096
_CHUNK: Final = 8
_STREET: Final = 1
"""Seeds the street that objects are pasted into, beside their own scene."""
ALL_PARTS: Final[Mapping[str, Part]] = MappingProxyType({**PARTS, **MORE_PARTS})
"""Every split that can be drawn, by ``data set/split``."""
SETS: Final = tuple(dict.fromkeys(name.split("/")[0] for name in ALL_PARTS))

Variety = Literal["full", "calm"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to write: how many scenes of each part, their size in pixels, and the seed."""

    scenes: Mapping[str, int]
    seed: int = 0
    height: int = 128
    width: int = 256
    variety: Variety = "full"
    """``calm``: see `abet.data.synthetic.traffic.Theme`."""

    def __post_init__(self) -> None:
        for name, count in self.scenes.items():
            if name not in ALL_PARTS:
                raise unknown_name(kind="part", name=name, choices=ALL_PARTS)
            if count < 0:
                raise UsageError(f"{name}: {count} scenes; a count is 0 or more")
        if not any(self.scenes.values()):
            raise UsageError("no scene at all is asked for: let one part have at least 1")
        if self.variety not in get_args(Variety):
            raise unknown_name(kind="variety", name=self.variety, choices=get_args(Variety))
        for word, pixels in (("height", self.height), ("width", self.width)):
            if not SMALLEST <= pixels <= LARGEST:
                raise UsageError(f"{word} {pixels}: scenes are {SMALLEST} to {LARGEST} pixels high and wide")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: a seed is 0 or more")

    def describe(self) -> dict[str, Any]:
        """The marker's content; what is drawn by name alone stands in it where it is."""
        named = [name for name in MORE_PARTS if self.scenes.get(name)]
        return {
            "schema": 1,
            "generator": GENERATOR,
            "seed": self.seed,
            "height": self.height,
            "width": self.width,
            "variety": self.variety,
            "scenes": {name: self.scenes.get(name, 0) for name in (*PARTS, *named)},
        }

    def jobs(self) -> Iterator["Job"]:
        """Every scene, in order of the parts."""
        for name, part in ALL_PARTS.items():
            for index in range(self.scenes.get(name, 0)):
                seed = (self.seed, part.number, index)
                yield Job(name, index, seed, self.height, self.width, self.variety == "calm")


@dataclass(frozen=True)
class Job:
    """One scene of one part."""

    part: str
    index: int
    seed: tuple[int, ...]
    height: int
    width: int
    calm: bool

    def done(self, root: Path) -> bool:
        """Whether all its files stand below ``root``."""
        return all((root / name).is_file() for name in ALL_PARTS[self.part].files(self.index))

    def run(self, root: Path) -> None:
        """Render the scene and write its files, each of them whole or not at all."""
        part = ALL_PARTS[self.part]
        picture = self._render(part.theme, [])
        street = self._render(Theme(), [_STREET]) if part.pasted else None
        shot = Shot(index=self.index, picture=picture, street=street)
        for name, content in zip(part.files(self.index), part.encode(shot), strict=True):
            write_bytes(root / name, content)

    def _render(self, theme: Theme, more: list[int]) -> Picture:
        return render([*self.seed, *more], height=self.height, width=self.width, theme=replace(theme, calm=self.calm))


def default_scenes(sets: Iterable[str] = ()) -> dict[str, int]:
    """How many scenes each part of these sets, or of the usual four, has unless told otherwise.

    Raises:
        UsageError: a set that is not drawn.
    """
    named = set(sets)
    for name in sorted(named.difference(SETS)):
        raise unknown_name(kind="set", name=name, choices=SETS)
    chosen = {name: part for name, part in ALL_PARTS.items() if name.split("/")[0] in named} if named else PARTS
    return {name: part.scenes for name, part in chosen.items()}


def parse_scenes(changes: Iterable[str], sets: Iterable[str] = ()) -> dict[str, int]:
    """The default counts of ``sets`` with changes of the form ``SET/SPLIT=N`` or ``N`` (all parts so far), the later
    ones winning. A part of another set that is named is drawn too.

    Raises:
        UsageError: a change of another form, an unknown part or set.
    """
    scenes = default_scenes(sets)
    for change in changes:
        name, equals, number = change.rpartition("=")
        try:
            count = int(number)
        except ValueError:
            raise UsageError(f"--scenes {change!r}: expected SET/SPLIT=N or N, for example cityscapes/val=24") from None
        if equals and name not in ALL_PARTS:
            raise unknown_name(kind="part", name=name, choices=ALL_PARTS)
        scenes.update({name: count} if equals else dict.fromkeys(scenes, count))
    return scenes


def synthesize(root: Path, plan: Plan, *, workers: int) -> int:
    """Write all scenes of ``plan`` below ``root`` and return how many were missing.

    What an interrupted call with the same plan has written is kept; the marker is written last.

    Raises:
        UsageError: fewer than one worker, or a ``root`` that holds anything else; nothing is overwritten.
        AbetError: a worker process died.
    """
    if workers < 1:
        raise UsageError(f"workers {workers}: at least one is needed")
    _claim(root, plan)
    missing = [job for job in plan.jobs() if not job.done(root)]
    if missing:
        with progress("synthesize", len(missing)) as advance:
            for count in _run(root, missing, workers):
                advance(count)
    _finish(root, plan)
    return len(missing)


def _claim(root: Path, plan: Plan) -> None:
    """Begin or rejoin a root that belongs to ``plan``."""
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file: give the name of a folder")
    wanted = plan.describe()
    for name in (MARKER, UNFINISHED):
        if (root / name).is_file():
            _require_same(root, read_json(root / name), wanted)
            return
    if root.is_dir() and any(root.iterdir()):
        raise UsageError(f"{root} is not empty and holds no synthetic scenes: choose another ROOT or remove it")
    write_json(root / UNFINISHED, wanted)


def _require_same(root: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    changed = [key for key, value in wanted.items() if found.get(key) != value]
    if changed:
        differences = "; ".join(part for key in changed for part in _differences(key, found.get(key), wanted[key]))
        raise UsageError(f"{root} holds other synthetic scenes ({differences}): choose another ROOT or remove it")


def _differences(name: str, there: object, here: object) -> list[str]:
    """In what an entry differs; of counts by part, those parts alone."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        parts = {**there, **here}
        return [
            f"{part} {there.get(part, 0)} there, {here.get(part, 0)} here"
            for part in parts
            if there.get(part, 0) != here.get(part, 0)
        ]
    return [f"{name} {there!r} there, {here!r} here"]


def _finish(root: Path, plan: Plan) -> None:
    if any(count for name, count in plan.scenes.items() if name.startswith("mapillary/")):
        config = root / "mapillary" / "config.json"
        if not config.is_file():
            write_bytes(config, mapillary_config())
    if not (root / MARKER).is_file():
        write_json(root / MARKER, plan.describe())
    (root / UNFINISHED).unlink(missing_ok=True)


def _run(root: Path, jobs: list[Job], workers: int) -> Iterator[int]:
    """Yields how many scenes were finished since the last time."""
    chunks = [jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK)]
    if workers == 1 or len(chunks) == 1:
        for job in jobs:
            job.run(root)
            yield 1
        return
    # spawn: safe beside threads, and equal on every system
    pool = ProcessPoolExecutor(min(workers, len(chunks)), mp_context=get_context("spawn"))
    try:
        for future in as_completed([pool.submit(_run_chunk, root, chunk) for chunk in chunks]):
            yield future.result()
    except BrokenProcessPool:
        raise AbetError(
            f"a worker process died (out of memory?) while writing {root}: run the same command again, it goes on "
            "where it stopped; --workers 1 takes the least memory"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _run_chunk(root: Path, chunk: list[Job]) -> int:
    for job in chunk:
        job.run(root)
    return len(chunk)
