"""Sample images of a data set with what each run says of them, as pictures inside the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from abet.labels import ID, OOD
from abet.report.render import (
    Mask,
    Picture,
    above,
    colour_ramp,
    heat_map,
    mask_picture,
    outline,
    overlay_classes,
    robust_range,
    tint_label,
)
from abet.report.runs import DatasetResults, RunResults, Sample

MAX_WIDTH = 640
"""Widest picture of the page, in pixels."""
JPEG_QUALITY = 82


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """One score of one run on one image."""

    score: str
    picture: str
    low: str
    high: str
    threshold_percent: float | None
    """Where the 95% threshold of the data set lies on the colour bar, 0..100; None without threshold."""
    verdict: str
    """What the threshold does to this image."""


@dataclass(frozen=True, kw_only=True)
class RunView:
    """What one run says of an image."""

    run: str
    prediction: str
    heat_maps: Sequence[HeatMap]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image: pictures are data URIs."""

    name: str
    size: str
    image: str
    label: str
    ood_share: str
    views: Sequence[RunView]


def gallery(runs: Sequence[RunResults], labels: Sequence[str], dataset: str, max_images: int) -> list[Item]:
    """At most ``max_images`` images of which samples were kept, evenly spread over the sorted names."""
    evaluated = [(run, label) for run, label in zip(runs, labels, strict=True) if dataset in run.datasets]
    names = sorted({name for run, _ in evaluated for name in run.datasets[dataset].samples})
    return [_item(name, dataset, evaluated) for name in evenly(names, max_images)]


def evenly(names: Sequence[str], count: int) -> list[str]:
    """``count`` of the names at even distances, the first and the last among them; all when there are no more."""
    if len(names) <= count:
        return list(names)
    picks = np.linspace(0, len(names) - 1, count).round().astype(int)
    return [names[pick] for pick in picks]


def _item(name: str, dataset: str, evaluated: Sequence[tuple[RunResults, str]]) -> Item:
    views = []
    first: Sample | None = None
    for run, label in evaluated:
        results = run.datasets[dataset]
        if name in results.samples:
            sample = results.sample(name)
            first = first or sample
            views.append(_view(sample, results, run.num_classes, label))
    assert first is not None, name
    height, width = first.label.shape
    known = int(np.isin(first.label, (ID, OOD)).sum())
    ood = first.label == OOD
    return Item(
        name=name,
        size=f"{width} x {height}",
        image=jpeg(first.image),
        label=jpeg(outline(_fit(tint_label(first.image, first.label)), _fit_mask(ood))),
        ood_share=f"{100 * int(ood.sum()) / max(known, 1):.2f} % of the valid pixels are OOD",
        views=views,
    )


def _view(sample: Sample, results: DatasetResults, num_classes: int, label: str) -> RunView:
    order = [key for key in results.metrics.scores if key in sample.scores]
    return RunView(
        run=label,
        prediction=jpeg(overlay_classes(sample.image, sample.prediction, num_classes, opacity=0.6)),
        heat_maps=[_heat_map(sample, key, results.metrics.scores[key].threshold) for key in order],
    )


def _heat_map(sample: Sample, key: str, threshold: float | None) -> HeatMap:
    score = sample.scores[key]
    low, high = robust_range(score)
    if threshold is not None:
        # Small objects lie above the 99th percentile; with the threshold on the bar they saturate only beyond it
        low, high = min(low, threshold), max(high, threshold)
    picture = outline(_fit(heat_map(score, low, high)), _fit_mask(sample.label == OOD))
    return HeatMap(
        score=key,
        picture=jpeg(picture),
        low=f"{low:.3g}",
        high=f"{high:.3g}",
        threshold_percent=100 * (threshold - low) / (high - low) if threshold is not None and high > low else None,
        verdict=_verdict(sample, key, threshold),
    )


def _verdict(sample: Sample, key: str, threshold: float | None) -> str:
    """Shares of this image's OOD and ID pixels that the data set's 95% threshold flags."""
    if threshold is None:
        return "no threshold"
    flagged = above(sample.scores[key], threshold)
    parts = [
        f"{100 * float(flagged[chosen].mean()):.1f} % of {kind}"
        for kind, value in (("OOD", OOD), ("ID", ID))
        if (chosen := sample.label == value).any()
    ]
    return "flags " + ", ".join(parts) if parts else "no valid pixel"


def jpeg(picture: Picture) -> str:
    """A data URI of the picture, no wider than the page needs."""
    buffer = io.BytesIO()
    Image.fromarray(_fit(picture)).save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def colour_bar() -> str:
    """A data URI of the heat map's colours, dark to bright, one pixel high."""
    buffer = io.BytesIO()
    Image.fromarray(colour_ramp()[None]).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _fitted_size(height: int, width: int) -> tuple[int, int]:
    """(width, height) as PIL wants it."""
    return (width, height) if width <= MAX_WIDTH else (MAX_WIDTH, max(1, round(height * MAX_WIDTH / width)))


def _fit(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    size = _fitted_size(height, width)
    return (
        picture if size == (width, height) else np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
    )


def _fit_mask(mask: Mask) -> Mask:
    """Any OOD pixel below a shown one marks it: an object a few pixels wide keeps its outline."""
    grown = _fit(mask_picture(mask))
    return np.asarray(grown > 0)
