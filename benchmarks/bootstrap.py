"""Image-level bootstrap against the pixels of each draw written out and handed to scikit-learn.

    python benchmarks/bootstrap.py --output benchmarks/results/bootstrap-cpu.md

1,200 made images that differ in difficulty and in their share of OOD pixels. Ours resamples counts by image over shared
bins, so the number of pixels does not matter to it; scikit-learn gets the pixels of one draw, and its figures must lie
inside the bracket of that draw. Making and counting the images is not timed. Every row is a process of its own.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import in_own_process, machine, peak_mib, positive, publish

Image = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]

PIXELS = 20_000
SEED = 0
DRAWS = 1000
MERGED_IMAGES = 64
FIGURES = ("auroc", "ap", "fpr95")


def images(count: int) -> Iterator[Image]:
    """Scores around 0 as of logits, in which some images are harder than others; up to 5% OOD."""
    for index in range(count):
        rng = np.random.default_rng(index)
        labels = (rng.random(PIXELS) < rng.uniform(0, 0.05)).astype(np.uint8)
        yield (rng.normal(0.5 * rng.standard_normal() - 6, 1, PIXELS) + 2 * labels).astype(np.float32), labels


def run_ours(count: int) -> dict[str, Any]:
    """All draws, from counts by image."""
    from abet.metrics.bootstrap import resample
    from abet.metrics.image_counts import ImageCounts
    from abet.metrics.pixel import PixelState

    parts: list[ImageCounts] = []
    for index, image in enumerate(images(count)):
        parts.append(ImageCounts.count(f"{index:06}", PixelState.count(*image)))
        if len(parts) == MERGED_IMAGES:
            parts = [ImageCounts.merge(*parts)]
    counts = ImageCounts.merge(*parts)
    start = time.perf_counter()
    drawn = resample(counts, seed=SEED, count=DRAWS)
    interval = drawn.interval()
    seconds = time.perf_counter() - start
    _, low, high = drawn.figures[0].T.tolist()
    brackets = {name: [low[place], high[place]] for place, name in enumerate(FIGURES)}
    return {"seconds": seconds, "draws": DRAWS, "interval": interval, "first": brackets, "bins": counts.low_key.size}


def run_scikit_learn(count: int) -> dict[str, Any]:
    """The first draw, from its pixels."""
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    from abet.metrics.bootstrap import weights

    drawn = weights(count, seed=SEED, count=DRAWS)[0]
    pairs = [pair for pair, times in zip(images(count), drawn, strict=True) for _ in range(times)]
    scores, labels = (np.concatenate(part) for part in zip(*pairs, strict=True))
    start = time.perf_counter()
    figures = {"auroc": float(roc_auc_score(labels, scores)), "ap": float(average_precision_score(labels, scores))}
    fpr, tpr, _ = roc_curve(labels, scores)
    figures["fpr95"] = float(fpr[np.argmax(tpr >= 0.95)])
    return {"seconds": time.perf_counter() - start, "draws": 1, "figures": figures}


CONTESTANTS: dict[str, Callable[[int], dict[str, Any]]] = {"abet": run_ours, "scikit-learn": run_scikit_learn}


def row(name: str, answer: dict[str, Any]) -> str:
    """One line of the table."""
    each = answer["seconds"] / answer["draws"]
    return f"| {name} | {answer['draws']:,} | {answer['seconds']:.2f} | {1000 * each:.2f} | {answer['peak_mib']:.0f} |"


def report(count: int) -> str:
    """Run both and describe the result."""
    on = machine()
    ours, learned = (in_own_process(__file__, "--contestant", name, "--images", count) for name in CONTESTANTS)
    lines = [
        "# Image-level bootstrap: counts over shared bins against pixels written out\n",
        f"{on}; Python {platform.python_version()}, numpy {np.__version__}, scikit-learn {version('scikit-learn')}. "
        f"{count:,} images of {PIXELS:,} pixels, {ours['bins']:,} shared bins. One run each.\n",
        "| | draws | seconds | ms per draw | peak MiB |",
        "|---|---:|---:|---:|---:|",
        *(row(name, answer) for name, answer in (("abet", ours), ("scikit-learn", learned))),
        "",
    ]
    for name in FIGURES:
        found, (low, high), interval = learned["figures"][name], ours["first"][name], ours["interval"][name]
        lines.append(
            f"- {name}: interval {interval['low']:.4f} to {interval['high']:.4f}, binning {interval['binning']:.4f}; "
            f"scikit-learn's figure of the first draw {'inside' if low <= found <= high else 'OUTSIDE'} its bracket."
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table; with the hidden option, measure one contestant and print its answer as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive, default=1200)
    parser.add_argument("--output", type=Path, help="also write the report to this Markdown file")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        print(json.dumps(CONTESTANTS[arguments.contestant](arguments.images) | {"peak_mib": peak_mib()}))
        return
    publish(report(arguments.images), arguments.output)


if __name__ == "__main__":
    main()
