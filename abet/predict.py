"""Anyone's photographs: class overlay, heat map, 16-bit score and mask for an image or a folder of images.

abet predict --checkpoint weights/abet-cityscapes --input photos/ --output predictions/
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abet.data.images import is_image_name, read_image
from abet.detector import Detector
from abet.errors import DataError, UsageError
from abet.files import read_json, write_json
from abet.progress import progress
from abet.report.render import above, heat_map, mask_picture, overlay_classes, write_png, write_score_png

SUMMARY = "predictions.json"


@dataclass(frozen=True, kw_only=True)
class PredictionJob:
    """What to predict with."""

    detector: Detector
    score: str
    threshold: float | None
    """Raw score units: pixels at or above it are OOD in the mask; None writes no mask."""


def find_images(source: Path) -> list[tuple[str, Path]]:
    """(name without suffix, path) of one image, or of every image below a folder, sorted by relative path.

    Raises:
        DataError: nothing there, or no image in the folder.
        UsageError: two images would write the same outputs.
    """
    if source.is_file():
        return [(source.stem, source)]
    if not source.is_dir():
        raise DataError(f"{source}: no such image or folder")
    paths = sorted(path for path in source.rglob("*") if path.is_file() and is_image_name(path.name))
    if not paths:
        raise DataError(f"{source}: no image in this folder (PNG, JPEG, WebP, TIFF, ... by suffix)")
    named = [(path.relative_to(source).with_suffix("").as_posix(), path) for path in paths]
    twins = {name for i, (name, _) in enumerate(named) if i and named[i - 1][0] == name}
    if twins:
        raise UsageError(f"{source}: images that differ only in suffix would share outputs: {', '.join(sorted(twins))}")
    return named


def predict_all(job: PredictionJob, images: Sequence[tuple[str, Path]], output: Path) -> list[str]:
    """Write the outputs of every image below ``output``; returns a message for each image that could not be read.

    Per image ``NAME.classes.png`` (overlay), ``NAME.heat.png``, ``NAME.score.png`` (16 bit, scale and offset in its
    text chunks), ``NAME.mask.png`` (with a threshold; 255 = OOD); `predictions.json` lists them all.

    Raises:
        UsageError: ``output`` holds predictions of another checkpoint, score or threshold.
    """
    settings = {
        "checkpoint": {"uri": job.detector.uri, "sha256": job.detector.sha256},
        "score": job.score,
        "threshold": job.threshold,
    }
    _claim(output, settings)
    rows: list[dict[str, Any]] = []
    faults: list[str] = []
    with progress("predict", len(images)) as advance:
        for name, path in images:
            try:
                rows.append(_predict_one(job, name, path, output))
            except DataError as error:
                faults.append(str(error))
            advance(1)
    write_json(output / SUMMARY, {**settings, "images": rows, "unreadable": faults})
    return faults


def _claim(output: Path, settings: dict[str, Any]) -> None:
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file: choose another --output")
    if not (output / SUMMARY).exists():
        return
    found = read_json(output / SUMMARY)
    changed = [key for key, value in settings.items() if found.get(key) != value]
    if changed:
        raise UsageError(f"{output} holds predictions with another {', '.join(changed)}: choose another --output")


def _predict_one(job: PredictionJob, name: str, path: Path, output: Path) -> dict[str, Any]:
    image = read_image(path)
    prediction = job.detector.predict(image, scores=(job.score,))
    score = prediction.scores[job.score]
    write_png(
        output / f"{name}.classes.png", overlay_classes(image, prediction.classes, job.detector.config.num_classes)
    )
    write_png(output / f"{name}.heat.png", heat_map(score))
    write_score_png(output / f"{name}.score.png", score)
    row: dict[str, Any] = {"image": path.as_posix(), "name": name, "height": image.shape[0], "width": image.shape[1]}
    if job.threshold is not None:
        mask = above(score, job.threshold)
        write_png(output / f"{name}.mask.png", mask_picture(mask))
        row["ood_fraction"] = float(mask.mean())
    return row


def threshold_from(metrics_path: Path, score: str, detector: Detector) -> float:
    """The threshold at 95% TPR that an evaluation of the same checkpoint found for ``score``.

    Raises:
        DataError: the file is not a metrics.json, or holds no threshold for this score.
        UsageError: it belongs to another checkpoint.
    """
    path = metrics_path / "metrics.json" if metrics_path.is_dir() else metrics_path
    metrics = read_json(path)
    try:
        sha256 = metrics["checkpoint"]["sha256"]
        threshold = (metrics["scores"].get(score) or {}).get("fpr95", {})
        value = None if threshold is None else threshold.get("threshold")
    except (KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: not a metrics.json that `abet merge` wrote") from None
    if sha256 != detector.sha256:
        raise UsageError(f"{path}: thresholds of another checkpoint (sha256 {sha256[:12]}, not {detector.sha256[:12]})")
    if value is None:
        raise DataError(f"{path}: holds no 95% threshold for score {score!r}")
    return float(value)
