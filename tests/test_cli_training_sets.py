"""The command line and training sets: checked like the others, never evaluated."""

from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.trees import make_cityscapes


@pytest.mark.parametrize("name", ["cityscapes", "mapillary"])
@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "--data-root", "x", "--checkpoint", "x"),
        ("merge", "run"),
        ("report", "run", "--matrix", "m.png"),
    ],
)
def test_a_training_set_cannot_be_evaluated(cli: Cli, name: str, command: tuple[str, ...]) -> None:
    finished = cli(*command, "--dataset", name)
    assert finished.code == 2
    assert f"--dataset {name}: a training set" in finished.err
    assert "The choices are: lost_and_found, road_anomaly" in finished.err
    assert not list(Path().iterdir())


def test_a_check_of_a_training_set_counts_its_classes(cli: Cli, tmp_path: Path) -> None:
    make_cityscapes(tmp_path, split="val")
    finished = cli("data", "check", "cityscapes", tmp_path, "--split", "val")
    assert finished.code == 0
    assert "traffic light" in finished.out
    next(tmp_path.rglob("*_labelIds.png")).write_bytes(b"")
    assert cli("data", "check", "cityscapes", tmp_path, "--split", "val").code == 3


def test_a_check_of_the_test_split_says_why_not(cli: Cli, tmp_path: Path) -> None:
    finished = cli("data", "check", "cityscapes", tmp_path, "--split", "test")
    assert finished.code == 2
    assert "withheld" in finished.err
