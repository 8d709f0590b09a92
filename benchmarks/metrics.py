"""Pixel metrics against scikit-learn: time, throughput and peak memory.

    python benchmarks/metrics.py --output benchmarks/results/metrics-cpu.md
    python benchmarks/metrics.py --multiples 10 20

Every row is measured in processes of its own on the same scores: images of 1024 x 2048 float32 pixels, 2% of them OOD
in one rectangle. Making the images is not timed. scikit-learn computes AUROC, AP and the ROC curve for FPR95 from all
pixels at once; ours counts image by image and computes the three with their brackets.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import in_own_process, machine, peak_mib, positive, publish

Image = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]

HEIGHT, WIDTH = 1024, 2048
OOD_HEIGHT, OOD_WIDTH = 200, 210
SKLEARN_REPEATS = 2


def images(pixels: int) -> Iterator[Image]:
    """Score and label images of so many pixels in all; the last one is cut."""
    for index, start in enumerate(range(0, pixels, HEIGHT * WIDTH)):
        rng = np.random.default_rng(index)
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        row, column = rng.integers(HEIGHT - OOD_HEIGHT), rng.integers(WIDTH - OOD_WIDTH)
        labels[row : row + OOD_HEIGHT, column : column + OOD_WIDTH] = 1
        scores = rng.standard_normal(labels.shape, np.float32) - 6 + 2 * labels.astype(np.float32)
        kept = min(pixels - start, labels.size)
        yield scores.ravel()[:kept], labels.ravel()[:kept]


def run_ours(pixels: int) -> dict[str, Any]:
    """Stream the images through a counter."""
    from abet.metrics.pixel import PixelCounter
    from abet.metrics.ranking import summarise

    counter, seconds = PixelCounter(), 0.0
    for scores, labels in images(pixels):
        start = time.perf_counter()
        counter.add(scores, labels)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    state = counter.state()
    summary = summarise(state)
    seconds += time.perf_counter() - start
    figures = {name: summary[name]["value"] for name in ("auroc", "ap", "fpr95")}
    brackets = {name: [summary[name]["low"], summary[name]["high"]] for name in figures}
    return {"seconds": seconds, "figures": figures, "brackets": brackets, "shift": state.shift}


def run_scikit_learn(pixels: int) -> dict[str, Any]:
    """Keep every pixel, then sort them three times."""
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    scores, labels = np.empty(pixels, np.float32), np.empty(pixels, np.uint8)
    filled = 0
    for image_scores, image_labels in images(pixels):
        part = slice(filled, filled + image_scores.size)
        scores[part], labels[part] = image_scores, image_labels
        filled += image_scores.size
    start = time.perf_counter()
    figures = {
        "auroc": float(roc_auc_score(labels, scores)),
        "ap": float(average_precision_score(labels, scores)),
    }
    fpr, tpr, _ = roc_curve(labels, scores)
    figures["fpr95"] = float(fpr[np.argmax(tpr >= 0.95)])
    return {"seconds": time.perf_counter() - start, "figures": figures}


def run_nothing(pixels: int) -> dict[str, Any]:
    """Make the images alone: what the interpreter and one image take."""
    for _ in images(min(pixels, HEIGHT * WIDTH)):
        pass
    return {"seconds": 0.0}


CONTESTANTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "images alone": run_nothing,
    "abet": run_ours,
    "scikit-learn": run_scikit_learn,
}


def measure(name: str, pixels: int, repeats: int = 1) -> dict[str, Any]:
    """One contestant, each run in a fresh process: the least seconds and the largest peak memory."""
    answers = [in_own_process(__file__, "--contestant", name, "--pixels", pixels) for _ in range(repeats)]
    best = min(answers, key=lambda answer: float(answer["seconds"]))
    return best | {"pixels": pixels, "peak_mib": max(answer["peak_mib"] for answer in answers)}


def row(label: str, answer: dict[str, Any], baseline: float) -> str:
    """One line of the table; ``baseline``: scikit-learn's seconds per pixel."""
    seconds, pixels = answer["seconds"], answer["pixels"]
    rate = f"{pixels / seconds / 1e6:.2f} M" if seconds else "-"
    ratio = f"{baseline * pixels / seconds:.1f}" if seconds else "-"
    figures = " / ".join(f"{value:.9f}" for value in answer.get("figures", {}).values()) or "-"
    return f"| {label} | {pixels:,} | {seconds:.2f} | {rate} | {ratio} | {answer['peak_mib']:.0f} | {figures} |"


def report(pixels: int, multiples: Sequence[int], repeats: int) -> str:
    """Run every contestant and describe the result."""
    on = machine()
    learned, ours = measure("scikit-learn", pixels, SKLEARN_REPEATS), measure("abet", pixels, repeats)
    larger = {multiple: measure("abet", multiple * pixels) for multiple in multiples}
    baseline = learned["seconds"] / pixels
    lines = [
        "# Pixel metrics: streaming counts against scikit-learn\n",
        f"{on}; Python {platform.python_version()}, numpy {np.__version__}, scikit-learn {version('scikit-learn')}. "
        f"Every run is a process of its own, one thread each. The fastest of {repeats} runs (abet) and of "
        f"{SKLEARN_REPEATS} (scikit-learn), of one run for the multiples; the largest peak memory of them.\n",
        "| | pixels | seconds | pixels/s "
        f"| times scikit-learn's pixels/s at {pixels:,} | peak MiB | AUROC / AP / FPR95 |",
        "|---|---:|---:|---:|---:|---:|---|",
        row("scikit-learn", learned, baseline),
        row("abet", ours, baseline),
        *(row(f"abet, {multiple} times the pixels", answer, baseline) for multiple, answer in larger.items()),
        row("one image made, none counted", measure("images alone", HEIGHT * WIDTH), baseline),
        "",
    ]
    lines += [
        f"- Peak memory {answer['peak_mib'] - ours['peak_mib']:+.0f} MiB at {n} times the pixels."
        for n, answer in larger.items()
    ]
    for name, (low, high) in ours["brackets"].items():
        inside = low <= learned["figures"][name] <= high
        where = "inside" if inside else "OUTSIDE"
        lines.append(f"- {name}: bracket {high - low:.1e} wide, scikit-learn's figure {where}.")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table; with the hidden option, measure one contestant and print its answer as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=positive, default=20_000_000, help="of the rows that are compared")
    parser.add_argument("--multiples", type=positive, nargs="*", default=[10], help="of them, to see memory stay flat")
    parser.add_argument("--repeats", type=positive, default=3, help="runs of abet's row")
    parser.add_argument("--output", type=Path, help="also write the report to this Markdown file")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        print(json.dumps(CONTESTANTS[arguments.contestant](arguments.pixels) | {"peak_mib": peak_mib()}))
        return
    if arguments.pixels < HEIGHT * WIDTH:
        parser.error(f"--pixels {arguments.pixels}: less than one image, which has {HEIGHT * WIDTH}")
    publish(report(arguments.pixels, arguments.multiples, arguments.repeats), arguments.output)


if __name__ == "__main__":
    main()
