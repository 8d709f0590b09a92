"""The matrix of full-resolution maps: what is kept of it beside a run, when it is used again, by whose definition."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from abet.data.index import open_dataset
from tests.conftest import Cli, Finished
from tests.trees import make_cityscapes, make_lost_and_found, save

NAME = "lost_and_found"
ROAD, WHOLE = "road_all_objects", "image_all_objects"
"""Definitions that read the same files, by other tables."""


def evaluated(cli: Cli, checkpoint: Path, root: Path, output: Path, *more: object) -> Path:
    finished = cli(
        *("evaluate", "--checkpoint", checkpoint, "--dataset", NAME, "--data-root", root, "--output", output),
        *("--device", "cpu", "--scores", "msp", *more),
    )
    assert finished.code == 0, finished.err
    return output


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_lost_and_found(tmp_path / "laf", count=2)
    return tmp_path / "laf"


@pytest.fixture
def run(cli: Cli, learned_checkpoint: Path, root: Path, tmp_path: Path) -> Path:
    return evaluated(cli, learned_checkpoint, root, tmp_path / "run", "--ood-definition", ROAD)


def draw(cli: Cli, *runs: Path) -> Finished:
    return cli("report", *runs, "--matrix", runs[0].parent / "m.png", "--scores", "msp", "--device", "cpu")


def kept(run: Path) -> list[Path]:
    return sorted((run / "evaluation" / NAME / "matrix").glob("*.npz"))


def labels_of(run: Path) -> list[np.ndarray]:
    return [np.load(path)["label"] for path in kept(run)]


def test_each_run_is_read_by_its_own_definition_and_labels_that_differ_are_refused(
    cli: Cli, run: Path, root: Path, learned_checkpoint: Path, tmp_path: Path
) -> None:
    other = evaluated(cli, learned_checkpoint, root, tmp_path / "other", "--ood-definition", WHOLE)
    refused = draw(cli, run, other)
    assert refused.code == 3
    assert "the runs have different labels of it" in refused.err
    assert "draw runs that were evaluated with one --ood-definition" in refused.err
    assert kept(run) == kept(other) == [], "before any network ran"
    for path, definition in ((run, ROAD), (other, WHOLE)):
        data = open_dataset(NAME, root, definition=definition)
        assert draw(cli, path).code == 0, "by itself"
        wanted = [data.read(pair)[1] for pair in data.pairs]
        assert len(wanted) == len(labels_of(path)) == 2
        assert all(map(np.array_equal, labels_of(path), wanted))


def test_controls_have_nothing_to_draw(cli: Cli, run: Path, root: Path, tmp_path: Path) -> None:
    make_cityscapes(tmp_path / "c", count=2)
    data = ("--dataset", NAME, "--data-root", root, "--train-root", tmp_path / "c", "--ood-definition", ROAD)
    assert cli("controls", *data, "--output", tmp_path / "controls").code == 0
    refused = cli("report", run, tmp_path / "controls", "--matrix", tmp_path / "m.png")
    assert refused.code == 2, refused.err
    assert f"{tmp_path / 'controls'} holds controls, which have no network" in refused.err


def another_image(run: Path, root: Path) -> None:
    for path in (root / "leftImg8bit").rglob("*.png"):
        save(path, np.full((48, 64, 3), 7, np.uint8))


def another_label(run: Path, root: Path) -> None:
    for path in (root / "gtCoarse").rglob("*_gtCoarse_labelIds.png"):
        save(path, np.ones((48, 64), np.uint8))


def another_definition(run: Path, root: Path) -> None:
    file = run / "evaluation" / NAME / "evaluation.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "ood_definition": WHOLE}))


@pytest.mark.parametrize("change", [another_image, another_label, another_definition])
def test_kept_maps_are_used_again_until_what_they_were_made_from_changes(
    cli: Cli, run: Path, root: Path, change: Callable[[Path, Path], None]
) -> None:
    assert draw(cli, run).code == 0
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in kept(run)}
    assert draw(cli, run).code == 0
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in kept(run)} == before
    change(run, root)
    assert draw(cli, run).code == 0
    definition = WHOLE if change is another_definition else ROAD
    data = open_dataset(NAME, root, definition=definition)
    for pair, path in zip(data.pairs, kept(run), strict=True):
        assert path.read_bytes() != before[path][1]
        with np.load(path) as sample:
            for what, wanted in zip(("image", "label"), data.read(pair), strict=True):
                assert np.array_equal(sample[what], wanted)


def flipped(content: bytes) -> bytes:
    """A bit in the middle of the first array: its archive opens, and its checksum alone tells."""
    place = content.index(b"PK\x03\x04", 4) - 20
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def encrypted(content: bytes) -> bytes:
    """The flag in the archive's list for which reading raises RuntimeError."""
    place = content.index(b"PK\x01\x02") + 8
    return content[:place] + bytes([content[place] | 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damaged", [lambda content: b"", lambda content: content[:-9], lambda content: content[:40], flipped, encrypted]
)
def test_a_damaged_file_is_computed_again(cli: Cli, run: Path, damaged: Callable[[bytes], bytes]) -> None:
    assert draw(cli, run).code == 0
    whole = [path.read_bytes() for path in kept(run)]
    for path, content in zip(kept(run), whole, strict=True):
        path.write_bytes(damaged(content))
    finished = draw(cli, run)
    assert finished.code == 0, finished.err
    assert [path.read_bytes() for path in kept(run)] == whole
