"""Anyone's photographs: class overlay, heat map, 16-bit score, mask and the regions in it, for one image or a folder.

abet predict --checkpoint weights/abet-cityscapes --input photos/ --output predictions/
"""

import errno
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from abet.calibration import ChosenThreshold
from abet.data.images import is_image_name, read_image
from abet.data.pairing import files_in, is_utf8
from abet.detector import Detector
from abet.errors import DataError, UsageError
from abet.files import read_json, write_json
from abet.memory import readable_memory_errors
from abet.metrics.components import SIZES
from abet.progress import note, progress
from abet.regions import find_regions
from abet.report.records import Metrics
from abet.report.region_picture import draw_regions
from abet.report.render import Picture, above, heat_map, mask_picture, overlay_classes, write_png, write_score_png
from abet.text import counted

SUMMARY = "predictions.json"


@dataclass(frozen=True, kw_only=True)
class PredictionJob:
    """What to predict with."""

    detector: Detector
    score: str
    threshold: float | None
    """Raw score units: pixels at or above it are OOD in the mask; None writes no mask."""
    calibrated: ChosenThreshold | None = None
    """Where the threshold comes from, if from a calibration."""
    minimum_component_pixels: int = SIZES["obstacle-track"].prediction
    """Smaller regions above the threshold are not listed; the mask has them."""

    @property
    def settings(self) -> dict[str, Any]:
        """What all predictions of a folder share, as strict JSON."""
        settings: dict[str, Any] = {
            "checkpoint": {"uri": self.detector.uri, "sha256": self.detector.sha256},
            "score": self.score,
            "threshold": self.threshold,
        }
        if fitted := self.detector.fitted_sha256([self.score]):
            settings["fitted_sha256"] = fitted
        if self.threshold is not None:
            settings["minimum_component_pixels"] = self.minimum_component_pixels
        if self.calibrated is not None:
            found = self.calibrated
            names = ("name", "dataset", "split", "tested_on")
            settings["calibrated"] = {name: getattr(found, name) for name in names}
            more = {"ood_definition": found.ood_definition, "note": found.note}
            settings["calibrated"] |= {name: value for name, value in more.items() if value}
        return settings


def find_images(source: Path, output: Path) -> list[tuple[str, Path]]:
    """(name without suffix, path) of one image, or of every image below a folder, sorted by relative path.

    Hidden files and folders are left out, and so are folders of predictions: ``output`` itself where it lies inside
    ``source``, and those of earlier runs (they hold a ``predictions.json``).

    Raises:
        DataError: nothing there, or no image in the folder.
        UsageError: two images would write the same outputs, or ``output`` is ``source`` or the folder it lies in.
    """
    if source.is_file():
        if source.resolve().parent == output.resolve():
            raise UsageError(
                f"{output} is the folder of the --input: results beside photographs are not told apart afterwards"
            )
        return [(source.stem, source)]
    if not source.is_dir():
        raise DataError(f"{source}: no such image or folder")
    if source.resolve() == output.resolve():
        raise UsageError(f"{output} is the --input itself: results beside photographs are not told apart afterwards")
    files = list(files_in(source, recursive=True))
    own = {path.parent for path in files if path.name == SUMMARY and path.parent != source}
    paths = sorted(
        path
        for path in files
        if is_image_name(path.name) and own.isdisjoint(path.parents) and not _lies_between(path, source, output)
    )
    if not paths:
        raise DataError(f"{source}: no image in this folder (PNG, JPEG, WebP, TIFF, ... by suffix)")
    named = [(path.relative_to(source).with_suffix("").as_posix(), path) for path in paths]
    twins = sorted(name for name, count in Counter(name for name, _ in named).items() if count > 1)
    if twins:
        raise UsageError(f"{source}: images that differ only in suffix would share outputs: {', '.join(twins)}")
    return named


def _lies_between(path: Path, source: Path, output: Path) -> bool:
    """Whether ``output`` is inside ``source``, and ``path`` inside ``output``."""
    inner = output.resolve()
    return inner.is_relative_to(source.resolve()) and path.parent.resolve().is_relative_to(inner)


def predict_all(job: PredictionJob, images: Sequence[tuple[str, Path]], output: Path) -> list[str]:
    """Write the outputs of every image below ``output``; returns a message for each image without them.

    Per image ``NAME.classes.png`` (overlay), ``NAME.heat.png``, ``NAME.score.png`` (16 bit, scale and offset in its
    text chunks); with a threshold ``NAME.mask.png`` (255 = OOD) and ``NAME.components.png`` (the photograph with the
    flagged pixels tinted, and each region of the minimum size in a box, with its number and mean score).
    `predictions.json` holds the settings from the start, so that a stopped run's folder takes no other's results, and
    lists the images in the end, with their regions; those of earlier calls stay listed, as their pictures stay (what
    could not be read is of the last call alone).

    Raises:
        UsageError: ``output`` holds predictions of another checkpoint, score or threshold.
    """
    settings = job.settings
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
    if broken := [str(row["name"]) for row in rows if "not_finite_pixels" in row]:
        shown = ", ".join(broken[:3]) + (" ..." if len(broken) > 3 else "")
        share = f"{len(broken)} of {counted(len(rows), 'image')} ({shown})"
        note(f"note: the score is not a finite number in pixels of {share}; NaN is above every threshold")
    by_name = {row["name"]: row for row in [*_listed(output), *rows]}
    write_json(output / SUMMARY, {**settings, "images": [*by_name.values()], "unreadable": faults})
    return faults


def _claim(output: Path, settings: dict[str, Any]) -> None:
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file: choose another --output")
    write_json(output / SUMMARY, {**settings, "images": [], "unreadable": []}, keep_existing=True)
    found = read_json(output / SUMMARY)
    changed = [f"{key} ({found.get(key)}, not {value})" for key, value in settings.items() if found.get(key) != value]
    if changed:
        raise UsageError(f"{output} holds predictions with another {', '.join(changed)}: choose another --output")
    _listed(output)


def _listed(output: Path) -> list[dict[str, Any]]:
    """The images of which pictures lie in ``output``, as its summary has them."""
    rows = read_json(output / SUMMARY).get("images")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and _is_named(row) for row in rows):
        raise DataError(f"{output / SUMMARY}: damaged, it does not list its images by name; choose another --output")
    return rows


def _is_named(row: dict[str, Any]) -> bool:
    return isinstance(row.get("name"), str)


def _predict_one(job: PredictionJob, name: str, path: Path, output: Path) -> dict[str, Any]:
    if not is_utf8(path.as_posix()):
        raise DataError(f"{path.as_posix()!a}: the name is not UTF-8; rename it")
    with readable_memory_errors(str(path)):
        image = read_image(path)
    with readable_memory_errors(f"{path} ({image.shape[1]}x{image.shape[0]} pixels)"):
        try:
            return _write_outputs(job, name, path, image, output)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise DataError(f"{path}: with this name, those of its outputs are too long; shorten it") from None


def _write_outputs(job: PredictionJob, name: str, path: Path, image: Picture, output: Path) -> dict[str, Any]:
    prediction = job.detector.predict(image, scores=(job.score,))
    score = prediction.scores[job.score]
    write_png(
        output / f"{name}.classes.png", overlay_classes(image, prediction.classes, job.detector.config.num_classes)
    )
    write_png(output / f"{name}.heat.png", heat_map(score))
    scale, offset = write_score_png(output / f"{name}.score.png", score)
    row: dict[str, Any] = {"image": path.as_posix(), "name": name, "height": image.shape[0], "width": image.shape[1]}
    row |= {"score_scale": scale, "score_offset": offset}
    if broken := int(np.count_nonzero(~np.isfinite(score))):
        row["not_finite_pixels"] = broken
    if job.threshold is not None:
        mask = above(score, job.threshold)
        write_png(output / f"{name}.mask.png", mask_picture(mask))
        row["ood_fraction"] = float(mask.mean())
        row["components"] = find_regions(score, mask, minimum_pixels=job.minimum_component_pixels)
        write_png(output / f"{name}.components.png", draw_regions(image, mask, row["components"]))
    return row


def threshold_from(metrics_path: Path, score: str, detector: Detector) -> float:
    """The threshold at 95% TPR that an evaluation of the same checkpoint found for ``score``.

    Raises:
        DataError: the file is not a sound metrics.json, or holds no threshold for this score.
        UsageError: it belongs to another checkpoint, or to another fit of this score.
    """
    path = metrics_path / "metrics.json" if metrics_path.is_dir() else metrics_path
    try:
        metrics = Metrics.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: not a metrics.json that `abet merge` wrote: {where}: {first['msg']}") from None
    sha256, figures = metrics.checkpoint.sha256, metrics.scores.get(score)
    if sha256 != detector.sha256:
        raise UsageError(f"{path}: thresholds of another checkpoint (sha256 {sha256[:12]}, not {detector.sha256[:12]})")
    if figures is None or figures.threshold is None:
        raise DataError(f"{path}: holds no 95% threshold for score {score!r}")
    if (fitted := detector.fitted_sha256([score])) not in (None, metrics.fitted_sha256):
        raise UsageError(
            f"{path}: score {score!r} was fitted anew since (fitted sha256 {(metrics.fitted_sha256 or 'none')[:12]}, "
            f"not {fitted[:12]}): evaluate again, into another run"
        )
    return figures.threshold
