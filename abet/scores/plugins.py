"""Scores that other installed packages bring, by the entry-point group ``abet.scores`` (docs/scores.md).

    [project.entry-points."abet.scores"]
    my_score = "my_package:SCORE"

Nothing of it is looked for before scores are listed, or one is used that is not abet's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from abet.errors import UsageError
from abet.scores.score import NEEDS, Score

GROUP: Final = "abet.scores"
KEY: Final = re.compile(r"[a-z][a-z0-9_]*")


class ScoreTable(Mapping[str, Score]):
    """Every score by key, in the order of tables and reports: abet's own, then the plug-ins' by name.

    Iterating, and asking for a key that is not abet's own, raise UsageError for a plug-in that cannot be used.
    """

    def __init__(self, own: Sequence[Score]) -> None:
        self._own = {row.key: row for row in own}

    @cached_property
    def _all(self) -> dict[str, Score]:
        return {**self._own, **load_plugins(self._own)}

    def __getitem__(self, key: str) -> Score:
        return self._own[key] if key in self._own else self._all[key]

    def __contains__(self, key: object) -> bool:
        return key in self._own or key in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def load_plugins(own: Mapping[str, Score]) -> dict[str, Score]:
    """The plug-ins' rows by key, sorted.

    Raises:
        UsageError: one does not load, is no `Score`, needs what no network has, or has the name of another; says
            which distribution it is of.
    """
    found: dict[str, Score] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, _identity(point))):
        there = own.get(point.name) or found.get(point.name)
        if there is not None:
            raise UsageError(
                f"score {point.name!r} of {_identity(point)} has the name of one of {there.distribution or 'abet'}: "
                "rename or uninstall it"
            )
        found[point.name] = _load(point)
    return found


def _load(point: EntryPoint) -> Score:
    what = f"score {point.name!r} of {_identity(point)} ({point.value})"
    if not KEY.fullmatch(point.name):
        raise UsageError(f"{what}: a key of lower-case letters, digits and _ is needed; rename or uninstall it")
    try:
        score = point.load()
    except Exception as error:  # whatever somebody's module raises
        raise UsageError(
            f"{what} does not load ({type(error).__name__}: {error}): mend or uninstall that package"
        ) from None
    if not isinstance(score, Score):
        raise UsageError(
            f"{what} is a {type(score).__name__}, not an abet.scores.Score: mend or uninstall that package"
        )
    if score.key != point.name:
        raise UsageError(f"{what} has the key {score.key!r}: entry point and key are one name; mend or uninstall it")
    if score.fitted is not None:
        raise UsageError(f"{what}: `abet fit` fits abet's own scores alone; a plug-in's `fitted` is None")
    _require_known_needs(what, score)
    return replace(score, distribution=_identity(point))


def _require_known_needs(what: str, score: Score) -> None:
    if not isinstance(score.needs, tuple | list):  # of a string, every letter would be one
        raise UsageError(f"{what} has needs={score.needs!r}: a tuple is needed, of {', '.join(NEEDS)}")
    for need in score.needs:
        if need not in NEEDS:
            raise UsageError(
                f"{what} needs {need!r}, which no network has: the choices are {', '.join(NEEDS)}; mend or uninstall "
                "that package"
            )


def _identity(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
