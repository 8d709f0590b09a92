"""What the tests of the loader share: a class table, and how a failing sequence is taken."""

import pytest

from abet.data.tables import ClassTable
from abet.labels import IGNORE, LabelClass

COUNT = 10
TABLE = ClassTable(
    title="three classes",
    classes=(LabelClass("road", (0, 0, 0)), LabelClass("car", (1, 1, 1)), LabelClass("sky", (2, 2, 2))),
    train_ids={0: 0, 1: 1, 2: 2},
    ignored=frozenset({IGNORE}),
)


def until_error(kind, call, limit=50):
    """What ``call`` returned before it raised an error of this kind, and the error."""
    results = []
    for _ in range(limit):
        try:
            results.append(call())
        except kind as error:
            return results, error
    pytest.fail(f"no {kind.__name__} in {limit} calls")
