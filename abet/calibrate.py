"""Thresholds chosen on a labelled set, with intervals: two passes, each over all images, in bounded memory.

    abet calibrate --checkpoint runs/finetune --dataset lost_and_found --split train

The first pass counts pixels by score, which gives the pixel thresholds and a grid for components; the second counts
pixels and components at each threshold of the grid (`abet.metrics.operating`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from abet.arithmetic import arithmetic
from abet.counting import Counter, LabelledImage
from abet.data.index import Dataset
from abet.data.opencv import keep_to_one_thread
from abet.data.registry import OOD_SETS, named_definition
from abet.detector import Detector, score_map
from abet.errors import DataError
from abet.memory import readable_memory_errors
from abet.metrics import bootstrap
from abet.metrics.components import SIZES, Objects
from abet.metrics.keys import Scores
from abet.metrics.label_counts import NO_PIXELS, add_labels
from abet.metrics.operating import ThresholdCounts, grid, operating_points
from abet.metrics.pixel import PixelState
from abet.metrics.protocols import SEED, ProtocolState
from abet.metrics.sorted_keys import sorted_classes
from abet.progress import progress
from abet.scores import Observation
from abet.version import __version__

Label = NDArray[np.uint8]
PASSES: Final = 2


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """One detector on one labelled set."""

    detector: Detector
    dataset: Dataset
    scores: tuple[str, ...]
    """All defined by the detector, with what is fitted for it."""
    track: str
    """Key of `SIZES`: whose minimum sizes components have."""

    def count_map(self, scores: Scores, labels: Label) -> ThresholdCounts:
        """What both passes count of one map, were it all of the set: to be timed beforehand.

        On this machine's processor, where the second pass, which takes most of the time, counts in any case.
        """
        classes = sorted_classes(scores, labels)
        state = PixelState.of_sorted(*classes)
        ProtocolState.of_sorted("", state, *classes)
        return ThresholdCounts.count(scores, Objects.find(labels, SIZES[self.track]), thresholds=grid(state))


def papers_test_on(dataset: str, split: str) -> bool:
    """Whether papers report figures on this split: then a threshold chosen on it has seen what it is tested on.

    A benchmark with hidden labels is tested on those, not on the images with public labels.
    """
    spec = OOD_SETS[dataset]
    return split == spec.default_split and spec.submission is None


def calibrate(job: Calibration) -> dict[str, Any]:
    """The set's entry of ``calibration.json``, as plain values; the same for the same weights, images and arithmetic.

    Raises:
        DataError: an image or label breaks its contract, the images hold no ID or no OOD pixel, or no score has a
            finite threshold at all.
    """
    keep_to_one_thread()
    data = job.dataset
    device, classes = job.detector.device, job.detector.config.num_classes
    counters = {key: Counter(key, num_classes=classes, device=device, protocols=True) for key in job.scores}
    pixels = dict(NO_PIXELS)

    def count_pixels(name: str, output: Observation, label: Label) -> None:
        pixels.update(add_labels(pixels, label))
        labelled = LabelledImage.of(name, label, device)
        for counter in counters.values():
            counter.add(output, labelled)

    _pass(job, 1, count_pixels)
    if missing := [kind.upper() for kind in ("id", "ood") if not pixels[kind]]:
        raise DataError(f"{data.name} ({data.split}): no {' and no '.join(missing)} pixel, so no threshold to choose")
    states = {key: counter.pixel() for key, counter in counters.items()}
    grids = {key: grid(state) for key, state in states.items()}
    found: dict[str, dict[str, ThresholdCounts]] = {key: {} for key in job.scores}

    def count_at_thresholds(name: str, output: Observation, label: Label) -> None:
        objects = Objects.find(label, SIZES[job.track])
        for key in job.scores:
            found[key][name] = ThresholdCounts.count(score_map(key, output), objects, thresholds=grids[key])

    if not any(values.size for values in grids.values()):
        raise DataError(
            f"{data.name} ({data.split}) defines no threshold for any of {', '.join(job.scores)}: their scores are not "
            "finite numbers wherever a threshold could be; nothing was kept. `abet evaluate` counts them"
        )
    _pass(job, 2, count_at_thresholds)
    weights = bootstrap.weights(len(data.pairs), seed=SEED)
    points = {}
    for key, state in states.items():
        counted = counters[key].protocols()
        assert counted is not None
        counts = ThresholdCounts.stack(*(found[key][name] for name in counted.images.names))
        points[key] = operating_points(state, counted.images, counts, weights)
    return _entry(job, pixels, points)


def _pass(job: Calibration, number: int, take: Callable[[str, Observation, Label], None]) -> None:
    data = job.dataset
    with progress(f"{data.name} {number}/{PASSES}", len(data.pairs)) as advance:
        for pair in data.pairs:
            image, label = data.read(pair)
            with readable_memory_errors(f"{pair.name} ({label.shape[1]}x{label.shape[0]} pixels)"):
                take(pair.name, job.detector.observe(image, job.scores), label)
            advance(1)


def _entry(job: Calibration, pixels: Mapping[str, int], points: Mapping[str, Any]) -> dict[str, Any]:
    data = job.dataset
    leaks = papers_test_on(data.name, data.split)
    return {
        "dataset": data.name,
        "split": data.split,
        **({"ood_definition": name} if (name := named_definition(data.name, data.definition)) else {}),
        "images": len(data.pairs),
        "list_sha256": data.list_sha256(),
        "pixels": dict(pixels),
        "tested_on": leaks,
        **({"note": leak_note(data.name, data.split)} if leaks else {}),
        "track": job.track,
        "minimum_pixels": SIZES[job.track]._asdict(),
        "intervals": {
            "protocol": bootstrap.PROTOCOL,
            "confidence": bootstrap.CONFIDENCE,
            "resamples": bootstrap.RESAMPLES,
            "seed": SEED,
        },
        "arithmetic": arithmetic(job.detector),
        **({"fitted_sha256": fitted} if (fitted := job.detector.fitted_sha256(job.scores)) else {}),
        "abet": __version__,
        "scores": dict(points),
    }


def leak_note(dataset: str, split: str) -> str:
    """What to bear in mind about thresholds that were chosen where papers test."""
    others = [name for name in OOD_SETS[dataset].splits if name != split]
    choose = f"--split {others[0]}, or another set" if others else "another set"
    return (
        f"papers test on {dataset} ({split}): figures measured there with these thresholds have seen the answers; "
        f"calibrate on {choose}"
    )
