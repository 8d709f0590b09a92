"""Counting all scores of a whole evaluation: pixels per second, and memory that does not grow with the images.

    python benchmarks/evaluation_stream.py --output benchmarks/results/evaluation-stream-cpu.md
    python benchmarks/evaluation_stream.py --frames 10 100 --device cuda

Frames of 1024 x 2048 pixels with 8 scores each go through what `abet evaluate` counts by (figures and the reference's
100 bins). There is no network: a frame's score maps are a few maps that are used again and again, each time scaled and
moved by other amounts; making them is not timed. The baseline keeps every score of every pixel and gives them to
scikit-learn, at so many frames as that is bearable for. Every row is a process of its own.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from common import in_own_process, machine, peak_mib, positive, publish

HEIGHT, WIDTH = 1024, 2048
FRAME_PIXELS = HEIGHT * WIDTH
OOD_HEIGHT, OOD_WIDTH = 200, 210
VOID_ROWS = 64
"""At the bottom: the car's own bonnet."""
POOL = 4
FIGURES = ("auroc", "ap", "fpr95")


def when_done() -> float:
    """The time when the GPU has done what it was asked to."""
    torch.cuda.synchronize()
    return time.perf_counter()


# On a CPU other people's work counts as well, if one looks at the wall
CLOCKS: dict[str, tuple[Callable[[], float], str]] = {
    "cpu": (time.process_time, "the processor's"),
    "cuda": (when_done, "those that passed, to the GPU's last operation"),
}


class Work(NamedTuple):
    """What one process does."""

    frames: int
    scores: int
    device: str


class Frame(NamedTuple):
    """Labels (H, W) uint8 of one frame, and its maps, which are made one by one: float32 (H, W) on the device."""

    labels: npt.NDArray[np.uint8]
    maps: Iterator[torch.Tensor]


def frames(work: Work) -> Iterator[Frame]:
    """The same frames each time. OOD pixels score higher by 2 standard deviations."""
    pool = [_frame(index) for index in range(min(POOL, work.frames))]
    drawn = [torch.from_numpy(noise).to(work.device) for noise, _ in pool]
    for number in range(work.frames):
        rng = np.random.default_rng(1000 + number)
        moves = rng.normal(0, 0.2, work.scores).tolist()
        one = drawn[number % len(pool)]
        maps = (one * (1 + index / 10) - 6 + move for index, move in enumerate(moves))
        yield Frame(pool[number % len(pool)][1], maps)


def _frame(index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(index)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    row, column = rng.integers(HEIGHT - OOD_HEIGHT - VOID_ROWS), rng.integers(WIDTH - OOD_WIDTH)
    labels[row : row + OOD_HEIGHT, column : column + OOD_WIDTH] = 1
    noise = rng.standard_normal(labels.shape, np.float32) + 2 * labels.astype(np.float32)
    labels[-VOID_ROWS:] = 255
    return noise, labels


def run_ours(work: Work) -> dict[str, Any]:
    """Stream the frames through the counters of `abet evaluate`."""
    from abet.counting import Counter, LabelledImage
    from abet.metrics.ranking import summarise
    from abet.scores import SCORES

    device, keys = torch.device(work.device), (list(SCORES) * work.scores)[: work.scores]
    counters = [Counter(key, num_classes=19, device=device, protocols=False) for key in keys]
    seconds = 0.0
    for number, frame in enumerate(frames(work)):
        with timed(device) as clock:
            image = LabelledImage.of(str(number), frame.labels, device)
        seconds += clock.seconds
        for counter, raw in zip(counters, frame.maps, strict=True):
            with timed(device) as clock:
                counter.add_map(raw, image)
            seconds += clock.seconds
    with timed(device) as clock:
        found = [(summarise(counter.pixel()), counter.reference())[0] for counter in counters]
    figures = [{name: summary[name]["value"] for name in FIGURES} for summary in found]
    brackets = [{name: [summary[name]["low"], summary[name]["high"]] for name in FIGURES} for summary in found]
    on_device = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None
    return {"seconds": seconds + clock.seconds, "figures": figures, "brackets": brackets, "device_mib": on_device}


class timed:  # noqa: N801
    """Seconds of a block by the device's clock."""

    def __init__(self, device: torch.device) -> None:
        self._now = CLOCKS[device.type][0]
        self.seconds = 0.0

    def __enter__(self) -> "timed":
        self._start = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = self._now() - self._start


def run_scikit_learn(work: Work) -> dict[str, Any]:
    """Keep every score of every valid pixel, then sort them score by score."""
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    labels, scores = [], [[] for _ in range(work.scores)]  # type: ignore[var-annotated]
    for frame in frames(work):
        valid = frame.labels != 255
        labels.append(frame.labels[valid])
        for kept, raw in zip(scores, frame.maps, strict=True):
            kept.append(raw.cpu().numpy()[valid])
    truth, figures, seconds = np.concatenate(labels), [], 0.0
    for kept in scores:
        start = time.process_time()
        score = np.concatenate(kept)
        fpr, tpr, _ = roc_curve(truth, score)
        found = {"auroc": roc_auc_score(truth, score), "ap": average_precision_score(truth, score)}
        figures.append({**found, "fpr95": float(fpr[np.argmax(tpr >= 0.95)])})
        seconds += time.process_time() - start
    return {"seconds": seconds, "figures": figures}


def run_nothing(work: Work) -> dict[str, Any]:
    """Make the frames alone: what the interpreter, torch and the maps take."""
    for frame in frames(work):
        for _ in frame.maps:
            pass
    return {"seconds": 0.0}


CONTESTANTS: dict[str, Callable[[Work], dict[str, Any]]] = {
    "frames alone": run_nothing,
    "abet": run_ours,
    "scikit-learn": run_scikit_learn,
}


def measure(name: str, work: Work) -> dict[str, Any]:
    """One contestant in a fresh process."""
    options = (f"--{key}={value}" for key, value in work._asdict().items())
    return in_own_process(__file__, "--contestant", name, *options)


def row(label: str, work: Work, answer: dict[str, Any], baseline: float) -> str:
    """One line of the table; ``baseline``: scikit-learn's seconds per score and pixel."""
    pixels, seconds = work.frames * FRAME_PIXELS * work.scores, answer["seconds"]
    rate = f"{pixels / seconds / 1e6:.2f} M" if seconds else "-"
    each = f"{seconds / work.frames:.2f}" if seconds else "-"
    ratio = f"{baseline * pixels / seconds:.1f}" if seconds and baseline else "-"
    device = f" (device {answer['device_mib']:.0f})" if answer.get("device_mib") else ""
    return (
        f"| {label} | {work.frames:,} | {seconds:.1f} | {rate} | {each} | {ratio} | {answer['peak_mib']:.0f}{device} |"
    )


def agreement(ours: dict[str, Any], learned: dict[str, Any]) -> Iterator[str]:
    """How far the brackets reach, and whether scikit-learn's figures lie in them."""
    for name in FIGURES:
        pairs = list(zip(ours["brackets"], learned["figures"], strict=True))
        inside = sum(bracket[name][0] <= figure[name] <= bracket[name][1] for bracket, figure in pairs)
        width = max(bracket[name][1] - bracket[name][0] for bracket, _ in pairs)
        where = f"inside the bracket for {inside} of {len(pairs)} scores"
        yield f"- {name}: scikit-learn's figure {where}; at most {width:.1e} wide."


def report(counts: Sequence[int], compared: int, scores: int, device: str) -> str:
    """Run every contestant and describe the result."""
    on = machine() if device == "cpu" else f"{torch.cuda.get_device_name()}; {machine()}"
    small = Work(compared, scores, "cpu")
    learned, ours = measure("scikit-learn", small), measure("abet", small._replace(device=device))
    baseline = learned["seconds"] / (compared * FRAME_PIXELS * scores)
    streams = [(work, measure("abet", work)) for work in (Work(count, scores, device) for count in counts)]
    nothing = measure("frames alone", small._replace(device=device))
    lines = [
        "# Counting a whole evaluation: streams against keeping everything\n",
        f"{on}; Python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}, "
        f"scikit-learn {version('scikit-learn')}. Frames of {HEIGHT} x {WIDTH} pixels with {scores} scores each; every "
        f"row is a process of its own, one run, one thread. Seconds are {CLOCKS[device][1]}; making the frames is not "
        "among them.\n",
        "| | frames | seconds | pixels/s, each score's counted | seconds per frame "
        "| times scikit-learn's pixels/s | peak MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
        row("scikit-learn, everything kept", small, learned, baseline),
        row("abet", small, ours, baseline),
        *(row("abet", work, answer, baseline) for work, answer in streams),
        row("frames made, none counted", small, nothing, baseline),
        "",
        *agreement(ours, learned),
    ]
    for (before, less), (after, more) in pairwise(streams):
        growth = more["peak_mib"] - less["peak_mib"]
        lines.append(f"- Peak memory from {before.frames:,} to {after.frames:,} frames: {growth:+.0f} MiB.")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table; with the hidden option, measure one contestant and print its answer as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=positive, nargs="+", default=[10, 100, 1200], help="of abet's rows")
    parser.add_argument("--compared", type=positive, default=4, help="frames that scikit-learn gets, too")
    parser.add_argument("--scores", type=positive, default=8, help="of each frame")
    parser.add_argument("--device", choices=CLOCKS, default="cpu", help="where the scores are")
    parser.add_argument("--output", type=Path, help="also write the report to this Markdown file")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here")
    if arguments.contestant:
        work = Work(arguments.frames[0], arguments.scores, arguments.device)
        print(json.dumps(CONTESTANTS[arguments.contestant](work) | {"peak_mib": peak_mib()}))
        return
    publish(report(arguments.frames, arguments.compared, arguments.scores, arguments.device), arguments.output)


if __name__ == "__main__":
    main()
