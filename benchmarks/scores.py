"""Every score of the table on the demo's scenes, and what each costs beside the network's own pass.

    make demo
    python benchmarks/scores.py --runs runs/demo --output benchmarks/results/scores-demo.md

Each of the demo's two trained networks is fitted on its training scenes and evaluated on both OOD sets as `abet fit`
and `abet evaluate` do it, into a temporary folder. Costs are the median processor seconds of a score's function over
those of the network's pass on the same image: for the demo's network, and for the full-size one with random weights.
What two scores share (a shaped head) is counted in each.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine, positive, publish

from abet.checkpoint import Normalisation
from abet.config import load_recipe
from abet.data.index import open_dataset
from abet.detector import Detector, load_detector, score_map
from abet.evaluate import Evaluation
from abet.fit import Fit
from abet.fit.run import Statistics
from abet.merge import merge
from abet.models.build import build_model
from abet.scores import SCORES
from abet.scores.fitted import FORMAT, FitHeader, FitSettings, pack, unpack

SETS = ("road_anomaly", "lost_and_found")
HEADS = {"abet": "AbeT head", "plain": "plain head"}
FIGURES = ("auroc", "ap", "fpr95")
FULL_SIZE_PIXELS = (128, 256)


def fitted(detector: Detector, scenes: Path, limit: int | None) -> Detector:
    """The detector with what `abet fit` finds on the training scenes, in memory."""
    data = open_dataset("cityscapes", scenes / "cityscapes").select(limit=limit)
    content = Fit(detector=detector, dataset=data, settings=FitSettings()).run()
    return replace(detector, fitted=unpack(content, source="benchmark"))


def evaluated(detector: Detector, scenes: Path, limit: int | None) -> dict[str, Mapping[str, Any]]:
    """Data set -> score -> its entry in metrics.json."""
    found = {}
    for name in SETS:
        data = open_dataset(name, scenes / name).select(limit=limit)
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            Evaluation(detector=detector, dataset=data, scores=tuple(SCORES), samples=0).run_shard(run, 1)
            found[name] = merge(run, name)["scores"]
    return found


def full_size() -> Detector:
    """The published network's shape with random weights, fitted on one random image."""
    config = load_recipe("cityscapes_finetune").model
    torch.manual_seed(0)
    network = build_model(config).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    detector = Detector(
        network=network,
        config=config,
        normalisation=Normalisation(),
        device=torch.device("cpu"),
        uri="random",
        sha256="0" * 64,
    )
    image, label = noise(FULL_SIZE_PIXELS)
    settings = FitSettings()
    found = Statistics(detector, settings)
    found.add("noise", detector.observe(image, ("knn",)), label)
    header = FitHeader(
        format=FORMAT,
        abet="0",
        weights_sha256=detector.sha256,
        dataset="noise",
        split="train",
        list_sha256="0" * 64,
        images=1,
        pixels=found.pixels,
        positions=found.positions,
        settings=settings,
    )
    return replace(detector, fitted=unpack(pack(found.tensors(), header), source="benchmark"))


def noise(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An image and its label, drawn."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (*size, 3), dtype=np.uint8), rng.integers(0, 19, size, dtype=np.uint8)


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median processor time of ``repeats`` runs, after one that warms up: what else runs here counts little."""
    work()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def costs(detector: Detector, size: tuple[int, int], repeats: int) -> tuple[float, dict[str, float]]:
    """Seconds of the network's pass, and of every score by key as a share of it."""
    image, _ = noise(size)
    alone = seconds(lambda: detector.output(image), max(1, repeats // 4))
    keys = detector.available_scores()
    seen = detector.observe(image, keys)
    # a new observation each time: what two scores share is not kept from one run to the next
    shares = {key: seconds(lambda key=key: score_map(key, replace(seen)), repeats) / alone for key in keys}  # type: ignore[misc]
    return alone, shares


def row(head: str, key: str, figures: Mapping[str, Mapping[str, Any]]) -> str:
    """One line of the table, in percent."""
    cells = [f"{100 * figures[name][key][figure]['value']:.1f}" for name in SETS for figure in FIGURES]
    return f"| {HEADS[head]} | {key} | {' | '.join(cells)} |"


def report(runs: Path, repeats: int, limit: int | None) -> str:
    """Fit, evaluate, measure and describe."""
    on = machine()
    detectors = {
        head: fitted(load_detector(runs / head, device="cpu"), runs / "scenes", limit)
        for head in HEADS
        if (runs / head).is_dir()
    }
    rows = []
    for head, detector in detectors.items():
        figures = evaluated(detector, runs / "scenes", limit)
        rows += [row(head, key, figures) for key in detector.available_scores()]
    measured = [costs(detectors["abet"], (128, 256), repeats), costs(full_size(), FULL_SIZE_PIXELS, repeats)]
    (small, small_shares), (large, large_shares) = measured
    images = open_dataset("cityscapes", runs / "scenes" / "cityscapes").select(limit=limit)
    lines = [
        "# Every score on the demo's scenes\n",
        f"{on}; torch {torch.__version__}, {torch.get_num_threads()} threads. Fitted on {len(images.pairs)} training "
        f"scenes with the defaults of `abet fit`: {FitSettings().bank_vectors} features at most and neighbour "
        f"{FitSettings().neighbours} for knn, percentile {FitSettings().react_percentile:.0f} for react and "
        f"{FitSettings().dice_percentile:.0f} for dice. Percent. Small networks, trained for minutes on synthetic "
        "scenes: that all of it works, not which score is best.\n",
        "| network | score | RoadAnomaly-like: AUROC | AP | FPR95 | LostAndFound-like: AUROC | AP | FPR95 |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        "## Cost\n",
        f"Processor seconds of a score over those of the network's pass: {small:.3f} s for the demo's network at "
        f"256x128 pixels ({repeats} runs, medians), {large:.2f} s for the full-size one with random weights at "
        f"{FULL_SIZE_PIXELS[1]}x{FULL_SIZE_PIXELS[0]}.\n",
        "| score | demo's network | full-size network |",
        "|---|---:|---:|",
        *(f"| {key} | {small_shares[key]:.3f} | {large_shares[key]:.4f} |" for key in large_shares),
        f"| **all in one pass** | {sum(small_shares.values()):.2f} | {sum(large_shares.values()):.3f} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/demo"), help="what `abet demo` wrote")
    parser.add_argument("--repeats", type=positive, default=20, help="runs per cost")
    parser.add_argument("--limit", type=positive, help="only so many images of each set")
    parser.add_argument("--output", type=Path, help="also write the report to this Markdown file")
    arguments = parser.parse_args()
    if not (arguments.runs / "abet").is_dir():
        parser.error(f"--runs {arguments.runs}: no folder abet in it; run `abet demo` first")
    publish(report(arguments.runs, arguments.repeats, arguments.limit), arguments.output)


if __name__ == "__main__":
    main()
