"""``abet reproduce`` with stand-in networks, sets and table, whose figures are computed as the reference does it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from abet.data.index import open_dataset
from abet.detector import Detector
from abet.labels import ID, OOD
from tests.conftest import Cli, Finished
from tests.evaluations import evaluate
from tests.trees import make_lost_and_found, make_road_anomaly

BOUNDED = {
    "abet": lambda raw: 1 + raw / 19,
    "entropy": lambda raw: raw / np.log(19),
    "max_logit": lambda raw: 1 + raw / 30,
}
"""The reference's scores from ours."""


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sets")
    make_road_anomaly(folder / "road_anomaly", count=3)
    make_lost_and_found(folder / "lost_and_found", count=2)
    return {name: folder / name for name in ("road_anomaly", "lost_and_found")}


def figures(detector: Detector, root: Path, name: str, score: str) -> dict[str, float]:
    """Percent by the paper's protocol: scikit-learn on 100 bins, each as often as the reference writes it."""
    data, scores, labels = open_dataset(name, root), [], []
    for pair in data.pairs:
        image, label = data.read(pair)
        scores.append(BOUNDED[score](detector.score(image, score)).astype(np.float64).ravel())
        labels.append(label.ravel())
    pooled, label = np.concatenate(scores), np.concatenate(labels)
    histograms = [np.histogram(pooled[label == kind], np.linspace(0, 1, 101))[0] for kind in (ID, OOD)]
    truth, number = np.repeat([0, 1], 100), np.tile(np.arange(100), 2)
    balanced = np.concatenate([(bins / bins.sum() * 1e5).astype(int) for bins in histograms])
    fpr, tpr, _ = roc_curve(truth, number, sample_weight=balanced)
    nearest = int(np.abs(tpr - 0.95).argmin())
    nearest -= tpr[nearest] == 1
    true_share = np.concatenate([(bins / sum(map(np.sum, histograms)) * 1e7).astype(int) for bins in histograms])
    auprc = average_precision_score(truth, number, sample_weight=true_share)
    values = {"auroc": roc_auc_score(truth, number, sample_weight=balanced), "auprc": auprc, "fpr95": fpr[nearest]}
    return {key: round(100 * float(value), 2) for key, value in values.items()}


@pytest.fixture(scope="module")
def table(roots: dict[str, Path], learned: Detector, plain: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AbeT's row as it comes out, Max Logit's with another FPR@95, and rows that nobody computes."""
    rows: list[dict[str, Any]] = []
    for method, role, score, detector in (
        ("AbeT", "abet", "abet", learned),
        ("Max Logit", "plain", "max_logit", plain),
        ("Tuned", "plain", "no_such_score", None),
    ):
        nothing = dict.fromkeys(("auroc", "auprc", "fpr95"))
        found = {name: figures(detector, root, name, score) if detector else nothing for name, root in roots.items()}
        rows.append({"method": method, "checkpoint": role, "score": score, "reason": "unread", "figures": found})
    for printed in rows[1]["figures"].values():
        printed["fpr95"] = abs(printed["fpr95"] - 50)
    sets = {"road_anomaly": {"split": "test", "images": 3}, "lost_and_found": {"split": "test", "images": 2}}
    words = {"schema": 1, "paper": "Stand-in", "arxiv": "0000.00000", "version": "v1", "table": "2"}
    path = tmp_path_factory.mktemp("table") / "table.yaml"
    path.write_text(yaml.safe_dump({**words, "sets": sets, "rows": rows}, sort_keys=False))
    return path


@pytest.fixture
def reproduce(cli: Cli, table: Path, roots: dict[str, Path], learned_checkpoint: Path, plain_checkpoint: Path):
    """``reproduce("--partial", plain=None)``: the command with everything there but what is None."""

    def run(*more: object, **other: Path | None) -> Finished:
        given: dict[str, Path | None] = {"abet": learned_checkpoint, "plain": plain_checkpoint, **roots, **other}
        words: list[object] = ["reproduce", "--output", "runs", "--table", table, "--device", "cpu"]
        for name, place in given.items():
            option = ("--data-root", f"{name}={place}") if name in roots else (f"--{name}-checkpoint", place)
            words += option if place else ()
        return cli(*words, *more)

    return run


def verdicts() -> dict[tuple[str, str, str], tuple[str, str]]:
    result = json.loads(Path("runs/reproduction.json").read_text())
    rows = result["figures"]
    return {(row["dataset"], row["method"], row["figure"]): (row["verdict"], row["because"]) for row in rows}


def refused(finished: Finished, code: int, *said: str) -> None:
    assert finished.code == code, finished.err
    assert "Traceback" not in finished.err
    for part in said:
        assert part in finished.err
    assert not Path("runs").exists()


def test_the_paper_is_compared_with_first_in_part_then_in_full_and_what_is_done_is_kept(reproduce) -> None:
    part = reproduce("--partial", plain=None, lost_and_found=None)
    assert part.code == 0, part.err
    assert part.err.count("$ abet evaluate") == 1
    assert "note: lost_and_found: no --data-root" in part.err
    found = verdicts()
    assert found["road_anomaly", "AbeT", "auroc"][0] == "reproduced"
    assert found["road_anomaly", "Max Logit", "auroc"][0] == "not computed"
    assert "NVIDIA's plain network: no " in found["road_anomaly", "Max Logit", "auroc"][1]
    assert "lost_and_found: no --data-root" in found["lost_and_found", "AbeT", "fpr95"][1]

    whole = reproduce()
    assert whole.code == 0, whole.err
    assert whole.err.count("$ abet evaluate") == 3
    found = verdicts()
    assert len(found) == 2 * 3 * 3
    for (name, method, figure), (verdict, because) in found.items():
        expected = {"AbeT": "reproduced", "Max Logit": "reproduced", "Tuned": "not computed"}[method]
        assert verdict == ("differs" if (method, figure) == ("Max Logit", "fpr95") else expected), (name, because)
    assert "by the protocol 50.00 points" in found["road_anomaly", "Max Logit", "fpr95"][1]
    assert "10 reproduced, 2 differs, 6 not computed" in whole.out
    assert "arXiv 0000.00000 (v1), Table 2" in whole.out
    assert "threshold" not in whole.out  # the figures of each evaluation go to stderr

    files = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.npz")}
    again = reproduce("--format", "csv", "--tolerance", 100)
    assert again.code == 0, again.err
    assert "$ abet evaluate" not in again.err
    assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.npz")} == files
    lines = again.out.splitlines()
    assert lines[0] == "dataset,method,checkpoint,score,figure,paper,reference,exact,verdict,because"
    assert sum(",reproduced," in line for line in lines) == 12

    # Figures of runs that are finished need neither the weights nor the sets any more
    bare = reproduce("--format", "md", abet=None, plain=None, road_anomaly=None, lost_and_found=None)
    assert bare.code == 0, bare.err
    assert "| road_anomaly | AbeT | AUROC |" in bare.out
    assert r"\begin{tabular}" in reproduce("--format", "latex").out


def test_everything_that_is_missing_is_said_at_once_before_any_work(reproduce) -> None:
    refused(
        reproduce(abet=None, plain=None, lost_and_found=None),
        2,
        *("AbeT's network", "--abet-checkpoint", "abet-cityscapes", "NVIDIA's plain network", "cityscapes_best.pth"),
        *("docs/weights.md", "lost_and_found: no --data-root", "`abet data info lost_and_found`", "--partial"),
    )


def test_a_part_of_nothing_is_nothing(reproduce) -> None:
    finished = reproduce("--partial", abet=None, plain=None)
    refused(finished, 2, "AbeT's network", "NVIDIA's plain network", "nothing was evaluated")


def test_weights_in_the_sites_folder_are_found(reproduce, learned_checkpoint: Path, plain_checkpoint: Path) -> None:
    shutil.copytree(learned_checkpoint, "weights/nvidia-cityscapes")
    finished = reproduce(abet=None, plain=None)
    said = ("AbeT's network: no ", "weights/nvidia-cityscapes: a model with head 'learned'")
    refused(finished, 3, *said)


@pytest.mark.parametrize("more", [(), ("--partial",)])
def test_damaged_or_exchanged_weights_are_refused_before_any_work(
    reproduce, learned_checkpoint: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    shutil.copytree(learned_checkpoint, tmp_path / "damaged")
    weights = tmp_path / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    said = ("differs from the manifest's SHA-256", "a model with head 'learned'", "takes a model with head 'none'")
    refused(reproduce(*more, abet=tmp_path / "damaged", plain=learned_checkpoint), 3, *said)
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04")
    refused(reproduce(*more, plain=tmp_path / "cut.pth"), 3, "cut.pth: not readable as a PyTorch checkpoint")


def test_a_damaged_image_is_found_before_the_first_set_is_evaluated(
    reproduce, roots: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(roots["lost_and_found"], tmp_path / "laf")
    image = next((tmp_path / "laf").rglob("*_leftImg8bit.png"))
    image.write_bytes(image.read_bytes()[:100])
    refused(reproduce(lost_and_found=tmp_path / "laf"), 3, image.name, "nothing was evaluated")
    refused(reproduce(lost_and_found=tmp_path / "nowhere"), 3, "does not exist", "abet data info lost_and_found")


def test_runs_of_other_weights_or_another_reading_are_refused(
    reproduce, roots: dict[str, Path], plain: Detector, learned: Detector
) -> None:
    sets = [open_dataset("lost_and_found", roots["lost_and_found"], definition=name) for name in (None, "image")]
    evaluate(plain, sets[0], Path("runs/abet"), scores=("msp",), samples=0)
    finished = reproduce()
    assert (finished.code, "holds figures of other weights" in finished.err) == (2, True)
    shutil.rmtree("runs")
    evaluate(learned, sets[1], Path("runs/abet"), scores=("msp",), samples=0)
    finished = reproduce()
    assert (finished.code, "definition image" in finished.err) == (2, True)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--data-root", "fishyscapes_static=x"), "expected SET=PLACE with SET one of road_anomaly, lost_and_found"),
        (("--data-root", "road_anomaly"), "expected SET=PLACE"),
        (("--data-root", "road_anomaly=x"), "road_anomaly is named twice"),
        (("--device", "gpu"), "unknown device 'gpu'"),
        (("--tolerance", "inf"), "a finite number of percentage points"),
        (("--tolerance", -1), "greater than or equal to 0"),
    ],
)
def test_bad_usage_exits_2(reproduce, more: tuple[object, ...], said: str) -> None:
    refused(reproduce(*more), 2, said)
