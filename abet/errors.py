"""Errors that a user can mend, each with the exit code that schedulers act on.

0 done; 2 bad usage or configuration; 3 bad data or checkpoint (2 and 3 are permanent: never retried);
1 anything else.
"""

import difflib
from collections.abc import Iterable


class AbetError(ValueError):
    """Base of every error whose message is meant for the user: value, rule, remedy; shown without traceback."""

    exit_code = 1


class UsageError(AbetError):
    """A command line, configuration or site file that cannot be meant."""

    exit_code = 2


class DataError(AbetError):
    """A data set, image or label that breaks its contract."""

    exit_code = 3


class CheckpointError(DataError):
    """A checkpoint that is missing, damaged, hostile or of another network."""


def unknown_name(*, kind: str, name: str, choices: Iterable[str]) -> UsageError:
    """The error for a name outside a list: says the nearest choice and then all of them.

    >>> str(unknown_name(kind="score", name="abbet", choices=["abet", "msp"]))
    "unknown score 'abbet': did you mean 'abet'? The choices are: abet, msp"
    """
    options = list(choices)
    near = difflib.get_close_matches(name, options, n=1)
    hint = f": did you mean {near[0]!r}? The" if near else ". The"
    return UsageError(f"unknown {kind} {name!r}{hint} choices are: {', '.join(options)}")


def not_finite(name: str, what: str) -> DataError:
    """The error for a network that gives NaN or infinity on the image ``name`` where ``what`` should be numbers."""
    return DataError(
        f"{name}: the network's {what} are not finite there: its weights are damaged or training diverged; choose "
        "another checkpoint"
    )
