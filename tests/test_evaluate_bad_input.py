"""What a data set may be wrong in: said with value, rule and remedy before the network runs, and nothing is lost."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from abet import counting
from abet import evaluate as module
from abet.data.index import open_dataset
from abet.detector import Detector
from abet.files import read_json
from abet.labels import ID, OOD, VOID
from tests.conftest import Cli, Finished
from tests.trees import make_road_anomaly, make_sample, make_segment_me, save, save_palette, translate

Damage = Callable[[Path], object]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_road_anomaly(tmp_path / "set")
    return tmp_path / "set"


@pytest.fixture
def no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network must not run."""

    def output(_self: Detector, _image: object) -> None:
        raise AssertionError("the network ran")

    monkeypatch.setattr(Detector, "output", output)


def evaluate(cli: Cli, checkpoint: Path, root: Path, output: Path, *more: object) -> Finished:
    return cli(
        *("evaluate", "--checkpoint", checkpoint, "--dataset", "road_anomaly", "--data-root", root),
        *("--output", output, "--device", "cpu", "--scores", "msp", *more),
    )


IMAGE, LABEL = "original/animal01.png", "labels/animal01.png"


def bomb(path: Path) -> None:
    """A PNG that says it has 400 megapixels."""
    data = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", 20_000, 20_000) + data[24:29]
    path.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


FAULTS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "another size": (
        lambda root: save(root / LABEL, np.zeros((5, 7), np.uint8)),
        (LABEL, "label of 7x5 pixels for an image of 64x48", "must be equal", "take both from one archive"),
    ),
    "values outside the rule": (
        lambda root: save(root / LABEL, np.full((48, 64), 9, np.uint8)),
        (LABEL, "label value 9 in 3072 pixels", "ID 0; OOD 1; void 255", "docs/datasets.md"),
    ),
    "no image": (
        lambda root: (root / IMAGE).write_bytes(b"<html>404</html>"),
        (IMAGE, "not an image of a kind that is read here, or damaged", "copy it again"),
    ),
    "truncated image": (
        lambda root: (root / IMAGE).write_bytes((root / IMAGE).read_bytes()[:-400]),
        (IMAGE, "damaged or truncated", "copy or unpack it again"),
    ),
    "empty label": (lambda root: (root / LABEL).write_bytes(b""), (LABEL, "empty file (0 bytes)", "unpack it again")),
    "16-bit label": (
        lambda root: save(root / LABEL, np.full((48, 64), 1000, np.uint16)),
        (LABEL, "values up to 1000 (3072 pixels above 255)", "indices are 0 to 255", "not of instances"),
    ),
    "RGB label": (
        lambda root: save(root / LABEL, make_sample().image),
        (LABEL, "this PNG is RGB", "one index per pixel", "keep one: python -c"),
    ),
    "a second image of another suffix": (
        lambda root: save((root / IMAGE).with_suffix(".jpg"), make_sample().image),
        ("1 x duplicate stem", "animal01.png", "the same label would serve", "keep one"),
    ),
    "a link to itself": (
        lambda root: loop(root / IMAGE),
        (IMAGE, "not readable: Too many levels of symbolic links"),
    ),
    "a decompression bomb": (
        lambda root: bomb(root / IMAGE),
        (IMAGE, "too many pixels", "400000000", "is it the right file"),
    ),
    "a bomb as label": (lambda root: bomb(root / LABEL), (LABEL, "too many pixels", "400000000")),
    "an image without label": (
        lambda root: (root / LABEL).unlink(),
        ("1 x image without label", IMAGE, f"expected {LABEL}", "abet data check"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.usefixtures("no_pass")
def test_a_fault_of_the_files_is_said_before_the_network_runs(
    cli: Cli, learned_checkpoint: Path, root: Path, tmp_path: Path, name: str
) -> None:
    damage, words = FAULTS[name]
    damage(root)
    finished = evaluate(cli, learned_checkpoint, root, tmp_path / "run")
    assert finished.code == 3
    for word in words:
        assert word in finished.err, finished.err
    assert not (tmp_path / "run").exists()


def test_what_was_evaluated_before_the_fault_stands(
    cli: Cli, learned_checkpoint: Path, root: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert evaluate(cli, learned_checkpoint, root, run, "--shard", "1/2").code == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    image = root / IMAGE
    size = image.stat().st_size
    image.write_bytes(b"\0" * size)  # as a lost block leaves it: the list of sizes is the same
    finished = evaluate(cli, learned_checkpoint, root, run, "--shard", "2/2")
    assert finished.code == 3
    assert IMAGE in finished.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("no_pass")
def test_a_file_that_may_not_be_read_is_named_with_the_reason(
    cli: Cli, learned_checkpoint: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests may run as root, who may read all."""
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path == root / IMAGE:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    finished = evaluate(cli, learned_checkpoint, root, tmp_path / "run")
    assert finished.code == 3
    assert f"{IMAGE}: image: not readable: Permission denied" in finished.err


@pytest.mark.usefixtures("no_pass")
def test_a_folder_that_may_not_be_listed_is_named(
    cli: Cli, learned_checkpoint: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path) == root / "labels":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    finished = evaluate(cli, learned_checkpoint, root, tmp_path / "run")
    assert finished.code == 3
    assert f"{root / 'labels'}: folder not readable: Permission denied" in finished.err


@pytest.mark.usefixtures("no_pass")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--images", ""), "names no image"),
        (("--images", "@list.txt"), "names no image"),
        (("--images", "moose"), "has no image 'moose' among its 3"),
        (("--limit", 0), "--limit"),
        (("--shard", "4/4"), "only 3 images; use at most 3 shards"),
        (("--ood-definition", "whole"), "The choices are: image"),
        (("--split", "validation"), "unknown split of road_anomaly 'validation'"),
    ],
)
def test_a_choice_of_nothing_or_of_what_is_not_there_exits_2(
    cli: Cli, learned_checkpoint: Path, root: Path, tmp_path: Path, options: tuple[object, ...], words: str
) -> None:
    Path("list.txt").write_text("\n\n")
    finished = evaluate(cli, learned_checkpoint, root, tmp_path / "run", *options)
    assert finished.code == 2
    assert words in finished.err
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_pass")
def test_hidden_labels_are_refused_by_every_command_that_would_need_them(cli: Cli, tmp_path: Path) -> None:
    make_segment_me(tmp_path / "set")
    data = ("--dataset", "road_anomaly_21", "--data-root", tmp_path / "set", "--split", "test")
    for command in (
        ("evaluate", "--checkpoint", tmp_path / "no.pth", *data, "--output", tmp_path / "run"),
        ("controls", *data, "--train-root", tmp_path, "--output", tmp_path / "run"),
        ("data", "check", "road_anomaly_21", tmp_path / "set", "--split", "test"),
    ):
        finished = cli(*command)
        assert finished.code == 2, command
        assert "labels of its 100 images are hidden" in finished.err
        assert "abet submission" in finished.err
    assert not (tmp_path / "run").exists()


def test_labels_as_palette_or_16_bit_give_the_figures_of_grey_ones(
    cli: Cli, learned_checkpoint: Path, root: Path, tmp_path: Path
) -> None:
    evaluate(cli, learned_checkpoint, root, tmp_path / "grey")
    for index, sample in enumerate(make_road_anomaly(tmp_path / "set").values()):
        numbers = translate(sample.label, {ID: 0, OOD: 1, VOID: 255})
        path = root / f"labels/animal{index:02d}.png"
        if index:
            save_palette(path, numbers, [(grey, 0, 255 - grey) for grey in range(256)])
        else:
            save(path, numbers.astype(np.uint16))
    finished = evaluate(cli, learned_checkpoint, root, tmp_path / "other")
    assert finished.code == 0, finished.err
    figures = [(tmp_path / run / "evaluation/road_anomaly/curves.json").read_bytes() for run in ("grey", "other")]
    assert figures[0] == figures[1]


def test_of_scores_none_of_which_the_head_defines_nothing_is_begun(
    cli: Cli, plain_checkpoint: Path, root: Path, tmp_path: Path
) -> None:
    finished = evaluate(cli, plain_checkpoint, root, tmp_path / "run", "--scores", "abet,godin")
    assert finished.code == 2
    assert "--scores abet,godin: none is defined here (abet: " in finished.err
    assert "choose among energy,entropy,msp,max_logit" in finished.err
    assert not (tmp_path / "run").exists()
    assert evaluate(cli, plain_checkpoint, root, tmp_path / "run", "--scores", "abet,msp").code == 0


def test_a_network_that_gives_no_number_anywhere_is_called_damaged(
    cli: Cli, learned_checkpoint: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_tensor = counting.score_tensor
    monkeypatch.setattr(counting, "score_tensor", lambda key, output: score_tensor(key, output) * float("nan"))
    finished = evaluate(cli, learned_checkpoint, root, tmp_path / "run")
    assert finished.code == 0, finished.err
    wrong = "no score is a number anywhere: the weights are damaged or training diverged"
    assert wrong in finished.out
    monkeypatch.setattr(
        counting, "score_tensor", lambda key, output: score_tensor(key, output) * (1 if key == "msp" else float("nan"))
    )
    finished = evaluate(cli, learned_checkpoint, root, tmp_path / "other", "--scores", "msp,entropy")
    assert "entropy: not a finite number in" in finished.out
    assert wrong not in finished.out


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_ranked_counted_and_reported(
    cli: Cli, learned_checkpoint: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """Broken pixels are ranked as scikit-learn ranks them once their place among the numbers is given."""
    dataset = open_dataset("road_anomaly", root)
    score_tensor, seen = counting.score_tensor, []

    def broken(key: str, output: Any) -> Any:
        raw = score_tensor(key, output).clone()
        raw[20:25] = value
        seen.append(raw.numpy())
        return raw

    monkeypatch.setattr(module, "estimate_seconds", lambda *_: 1.0)
    monkeypatch.setattr(counting, "score_tensor", broken)
    finished = evaluate(cli, learned_checkpoint, root, tmp_path / "run")
    assert finished.code == 0, finished.err
    entry = read_json(tmp_path / "run/evaluation/road_anomaly/metrics.json")["scores"]["msp"]
    labels, scores = np.stack([dataset.read(pair)[1] for pair in dataset.pairs]), np.stack(seen)
    counts = {word: int((labels[:, 20:25] == kind).sum()) for word, kind in (("id", ID), ("ood", OOD))}
    assert entry["non_finite"] == entry["reference_protocol"]["dropped"] == counts
    assert f"not a finite number in {counts['id']} ID and {counts['ood']} OOD pixels" in finished.out
    placed = np.where(np.isfinite(scores), scores, -9 if value == -np.inf else 9)[labels != VOID]
    auroc = roc_auc_score(labels[labels != VOID] == OOD, placed)
    assert entry["auroc"]["value"] == pytest.approx(auroc, abs=1e-12)
