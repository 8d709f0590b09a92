"""Pixel metrics against scikit-learn: time, throughput and peak memory.

    python benchmarks/metrics.py [--pixels 20000000]

Prints a Markdown table. Every row is measured in a process of its own on the same scores: images of 1024 x 2048 float32
pixels, 2% of them OOD in one rectangle. Making the images is not timed. scikit-learn computes AUROC, AP and the ROC
curve for FPR95 from all pixels at once; ours counts image by image and computes the three with their brackets.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1]))

Image = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]

HEIGHT, WIDTH = 1024, 2048
OOD_HEIGHT, OOD_WIDTH = 200, 210


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


def measure(name: str, pixels: int) -> dict[str, Any]:
    """One contestant in a fresh process: its answer and its peak memory."""
    command = [sys.executable, __file__, "--contestant", name, "--pixels", str(pixels)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


def row(label: str, pixels: int, answer: dict[str, Any], baseline: float) -> str:
    """One line of the table; the ratio is of time per pixel, against scikit-learn's."""
    seconds = answer["seconds"]
    rate = f"{pixels / seconds / 1e6:.1f} M" if seconds else ""
    ratio = f"{baseline * pixels / seconds:.1f}" if seconds else ""
    figures = " / ".join(f"{value:.9f}" for value in answer.get("figures", {}).values())
    return f"| {label} | {pixels:,} | {seconds:.2f} | {rate} | {ratio} | {answer['peak_mib']:.0f} | {figures} |"


def main() -> None:
    """Measure every contestant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=20_000_000)
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        answer = CONTESTANTS[arguments.contestant](arguments.pixels)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(answer | {"peak_mib": peak / (2**20 if sys.platform == "darwin" else 2**10)}))
        return
    pixels = arguments.pixels
    reference = measure("scikit-learn", pixels)
    ours, ten = measure("abet", pixels), measure("abet", 10 * pixels)
    baseline = reference["seconds"] / pixels
    print(f"CPU: {cpu_model()}; Python {platform.python_version()}, numpy {np.__version__}, one thread\n")
    print("| | pixels | seconds | pixels/s | times scikit-learn | peak MiB | AUROC / AP / FPR95 |")
    print("|---|---|---|---|---|---|---|")
    print(row("scikit-learn", pixels, reference, baseline))
    print(row("abet", pixels, ours, baseline))
    print(row("abet, ten times the pixels", 10 * pixels, ten, baseline))
    print(row("images alone", pixels, measure("images alone", pixels), baseline))
    for name, (low, high) in ours["brackets"].items():
        inside = low <= reference["figures"][name] <= high
        print(f"\n{name}: bracket {high - low:.1e} wide, scikit-learn's figure {'inside' if inside else 'OUTSIDE'}.")


def cpu_model() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()
