"""Run directories made by hand: street-like pictures, score maps with plausible faults, figures and curves."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from abet.labels import ID, OOD, VOID
from abet.metrics.image_table import image_table
from abet.metrics.pixel import PixelState
from abet.metrics.protocols import ProtocolState, summarise_protocols

ROAD, SIDEWALK, BUILDING, VEGETATION, SKY, CAR = 0, 1, 2, 8, 10, 13
SCORES = ("abet", "energy", "entropy", "msp", "max_logit")


def street(height: int, width: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """A road to a vanishing point, houses, sky, a parked car and an unknown ball: image, class of each pixel, label."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    horizon, vanish = 0.42 + 0.06 * rng.random(), 0.4 + 0.2 * rng.random()
    half_width = np.clip(y - horizon, 0, None) * 0.85
    houses = horizon - 0.25 * (0.5 + 0.5 * np.sin(9 * x + seed)) * np.abs(x - vanish) * 2
    classes = np.full((height, width), SKY, np.uint8)
    classes[y > houses] = BUILDING
    classes[(y > horizon - 0.05) & (np.sin(23 * x + seed) > 0.6) & (y < horizon + 0.1)] = VEGETATION
    classes[y > horizon] = SIDEWALK
    classes[np.abs(x - vanish) < half_width] = ROAD
    classes[(np.abs(x - vanish - 0.27) < 0.09) & (np.abs(y - horizon - 0.09) < 0.09)] = CAR
    place_x, place_y, radius = vanish - 0.08 + 0.12 * rng.random(), horizon + 0.24, 0.035 + 0.05 * rng.random()
    ball = (x - place_x) ** 2 * (width / height) ** 2 + (y - place_y) ** 2 < radius**2
    colours = {ROAD: 98, SIDEWALK: 150, BUILDING: 120, VEGETATION: 80, SKY: 205, CAR: 50}
    grey = np.vectorize(colours.get)(classes).astype(np.float32)
    tint = np.ones((height, width, 3), np.float32)
    for index, rgb in {SKY: (0.85, 0.95, 1.1), VEGETATION: (0.8, 1.2, 0.7), BUILDING: (1.1, 1, 0.88)}.items():
        tint[classes == index] = rgb
    dashes = (np.abs(x - vanish) < 0.012 * (y - horizon) * 4) & (np.sin(60 * np.sqrt(np.clip(y - horizon, 0, 1))) > 0)
    picture = grey[..., None] * tint
    picture[dashes & (classes == ROAD)] = 225
    picture[ball] = np.stack([200 - 300 * (y - place_y), 120 + 0 * y, 40 + 0 * y], axis=-1)[ball]
    picture += (
        np.asarray(Image.fromarray(rng.normal(0, 1, (height // 8, width // 8))).resize((width, height)))[..., None] * 7
    )
    picture += rng.normal(0, 4, picture.shape)
    label = np.full((height, width), ID, np.uint8)
    label[ball] = OOD
    label[y > 0.93] = VOID
    return np.clip(picture, 0, 255).astype(np.uint8), classes, label


def score_map(
    classes: NDArray[np.uint8], label: NDArray[np.uint8], *, quality: float, scale: float, seed: int
) -> NDArray[np.float32]:
    """High on the unknown, on class borders and in patches; quality says how far the unknown stands out."""
    rng = np.random.default_rng(seed)
    height, width = label.shape
    coarse = Image.fromarray(rng.normal(0, 1, (height // 16, width // 16)).astype(np.float32))
    patches = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    border = np.zeros((height, width), np.float32)
    border[:, 1:] += classes[:, 1:] != classes[:, :-1]
    border[1:] += classes[1:] != classes[:-1]
    small = Image.fromarray(border).resize((width // 4, height // 4), Image.Resampling.BOX)
    border = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
    smooth = Image.fromarray(rng.normal(0, 1, (height // 64 + 2, width // 64 + 2)).astype(np.float32))
    regions = np.asarray(smooth.resize((width, height), Image.Resampling.BICUBIC))
    raw = -8 + 0.25 * patches + 0.6 * regions + 3 * border + 0.4 * (classes == BUILDING) + quality * (label == OOD)
    return (scale * raw).astype(np.float32)


def curves_of(scores: NDArray[np.float32], labels: NDArray[np.uint8], points: int = 256) -> tuple[dict[str, Any], ...]:
    """The figures and curves of pooled scores by plain sorting."""
    valid = labels != VOID
    ranked = np.argsort(-scores[valid], kind="stable")
    is_ood = (labels[valid] == OOD)[ranked]
    true, false = np.cumsum(is_ood), np.cumsum(~is_ood)
    tpr, fpr, precision = true / true[-1], false / false[-1], true / (true + false)
    at = int(np.searchsorted(tpr, 0.95))
    auroc, ap = float(np.trapezoid(tpr, fpr)), float(precision[is_ood].sum() / true[-1])
    threshold = float(scores[valid][ranked[at]])
    figures = {
        "auroc": {"value": auroc, "low": auroc - 1e-7, "high": auroc + 1e-7},
        "ap": {"value": ap, "low": ap - 3e-4, "high": ap + 1e-4},
        "fpr95": {"value": float(fpr[at]), "low": float(fpr[at]), "high": float(fpr[at]), "tpr": float(tpr[at]),
                  "threshold": threshold},
        "non_finite": {"id": 0, "ood": 0},
        "reference_protocol": {"auroc": auroc - 0.004, "auprc": ap - 0.012, "fpr95": float(fpr[at]) + 0.006,
                               "tpr": 0.951, "threshold": 0.63, "threshold_of": "normalised score",
                               "dropped": {"id": 1234, "ood": 0}},
    }  # fmt: skip
    picks = np.unique(np.geomspace(1, len(tpr), points).astype(int)) - 1
    levels = [float(value) for value in scores[valid][ranked[picks]]]
    edges = np.linspace(scores.min(), scores.max(), 81)
    shares = [np.histogram(scores[labels == kind], edges)[0] / max((labels == kind).sum(), 1) for kind in (ID, OOD)]
    drawn = {
        "roc": {"fpr": fpr[picks].tolist(), "tpr": tpr[picks].tolist(), "threshold": levels},
        "pr": {"recall": tpr[picks].tolist(), "precision": precision[picks].tolist(), "threshold": levels},
        "histogram": {"edges": edges.tolist(), "id": shares[0].tolist(), "ood": shares[1].tolist()},
        "threshold": threshold,
    }
    return figures, drawn


def make_run(
    path: Path,
    *,
    dataset: str = "road_anomaly",
    checkpoint: str = "weights/abet-cityscapes",
    size: tuple[int, int] = (72, 128),
    images: int = 2,
    quality: float = 4.0,
    scores: tuple[str, ...] = SCORES,
    seed: int = 0,
    protocols: bool = False,
    samples: int | None = None,
    definition: str | None = None,
) -> Path:
    """A finished run directory with one data set; a second call with the same path adds another data set.

    ``samples`` images, spread evenly, keep their maps; default: all. With a ``definition``, which is named in the
    metrics, cars are OOD too and nothing is void.
    """
    folder = path / "evaluation" / dataset
    (folder / "samples").mkdir(parents=True)
    identity = {"uri": checkpoint, "sha256": hashlib.sha256(checkpoint.encode()).hexdigest()}
    (path / "config.yaml").write_text(yaml.safe_dump({"checkpoint": identity, "model": {"num_classes": 19}}))
    pooled: dict[str, list[NDArray[np.float32]]] = {key: [] for key in scores}
    labels = []
    names: list[str] = []
    kept = set(np.linspace(0, images - 1, images if samples is None else samples).round().astype(int).tolist())
    for number in range(images):
        image, classes, label = street(*size, seed=number)
        if definition is not None:
            label[label == VOID] = ID
            label[classes == CAR] = OOD
        maps = {}
        for place, key in enumerate(scores):
            maps[key] = score_map(
                classes, label, quality=quality - 0.55 * place, scale=1 / (1 + place), seed=seed + number
            )
            pooled[key].append(maps[key].ravel())
        labels.append(label.ravel())
        name = f"original/street{number:02d}.jpg"
        names.append(name)
        prediction = classes
        if number not in kept:
            continue
        np.savez_compressed(
            folder / "samples" / (name.replace("/", "__") + ".npz"),
            name=np.array(name), image=image, label=label, prediction=prediction,
            **{f"score_{key}": value for key, value in maps.items()},
        )  # fmt: skip
    label = np.concatenate(labels)
    both = {key: curves_of(np.concatenate(maps), label) for key, maps in pooled.items()}
    metrics = {
        "schema": 1, "dataset": dataset, "split": "test", "images": images, "checkpoint": identity,
        "pixels": {kind: int((label == value).sum()) for kind, value in (("id", ID), ("ood", OOD), ("void", VOID))},
        "scores": {key: figures for key, (figures, _) in both.items()},
        **({} if definition is None else {"ood_definition": definition}),
    }  # fmt: skip
    if protocols:
        counted = image_table_of(names, pooled, labels, metrics)
        (folder / "images.json").write_text(json.dumps({"schema": 1, "dataset": dataset, **counted}))
    curves = {"schema": 1, "dataset": dataset, "scores": {key: drawn for key, (_, drawn) in both.items()}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "curves.json").write_text(json.dumps(curves))
    return path


def image_table_of(
    names: list[str], pooled: dict[str, list[NDArray[np.float32]]], labels: list[NDArray[np.uint8]], metrics: Any
) -> dict[str, Any]:
    """images.json by the real counts; the protocols' entries are put into ``metrics``."""
    states = {
        key: [ProtocolState.count(name, *each) for name, *each in zip(names, maps, labels, strict=True)]
        for key, maps in pooled.items()
    }
    merged = {key: ProtocolState.merge(*parts) for key, parts in states.items()}
    pixel = {key: PixelState.count(np.concatenate(maps), np.concatenate(labels)) for key, maps in pooled.items()}
    entries, pairs = summarise_protocols(merged, {})
    for key, entry in entries.items():
        metrics["scores"][key]["protocols"] = entry
    metrics["paired_differences"] = pairs
    return image_table(pixel, merged)


def edit_metrics(path: Path, change: Any, *, dataset: str = "road_anomaly") -> dict[str, Any]:
    """Apply ``change`` to the metrics of a run in place and return them."""
    file = path / "evaluation" / dataset / "metrics.json"
    metrics: dict[str, Any] = json.loads(file.read_text())
    change(metrics)
    file.write_text(json.dumps(metrics))
    return metrics
