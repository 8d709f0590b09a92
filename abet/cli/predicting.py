"""abet predict"""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from abet.cli.options import (
    CheckpointOption,
    DeviceOption,
    ModelOption,
    check_names,
    choose_checkpoint,
    folder_of,
    load,
    place_of,
    require_output,
    say,
    with_fitted,
)
from abet.cli.panels import USE
from abet.errors import DataError, UsageError
from abet.text import counted

if TYPE_CHECKING:
    pass


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command(rich_help_panel=USE)(predict)


def predict(
    input_: Annotated[
        str,
        typer.Option(
            "--input",
            metavar="PATH",
            help="An image, or a folder of images (hidden ones and earlier results left out).",
        ),
    ],
    output: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the results.")],
    checkpoint: CheckpointOption = None,
    score: Annotated[str, typer.Option(help="Score key (see `abet scores`).")] = "abet",
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|NAME",
            help="Write a mask of pixels with raw score >= this, and list its regions: a number, or of the "
            "checkpoint's calibration (`abet calibrate`) tpr95, fpr1, f1-pixel or f1-component.",
        ),
    ] = None,
    threshold_from: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Take the 95% TPR threshold from this metrics.json (of the same checkpoint)."
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(metavar="DATASET", help="Which calibration a named threshold is of, where there are several."),
    ] = None,
    min_component_pixels: Annotated[
        int | None,
        typer.Option(
            min=1, help="List regions of at least so many pixels. Default: as the calibration counted them, else 50."
        ),
    ] = None,
    device: DeviceOption = "auto",
    model: ModelOption = "cityscapes_finetune",
) -> None:
    """Class overlay, heat map, 16-bit score, mask and the regions in it for anyone's photographs."""
    from abet.scores import SCORES

    check_names("score", [score], SCORES)
    if threshold is not None and threshold_from is not None:
        raise UsageError("--threshold and --threshold-from both name a threshold: give one")
    limit = None if threshold is None else _number_or_name(threshold)
    named = limit if isinstance(limit, str) else None
    if calibration is not None and named is None:
        raise UsageError(f"--calibration {calibration}: says which one a named threshold is of: add --threshold NAME")
    if min_component_pixels is not None and threshold is None and threshold_from is None:
        raise UsageError("--min-component-pixels is of regions above a threshold: add --threshold or --threshold-from")
    results = folder_of("--output", output, remedy="copy the results with `abet sync` afterwards")
    require_output(results, kind="folder")
    source = folder_of("--input", input_, remedy="fetch the images with `abet sync` first")
    metrics = None
    if threshold_from is not None:
        metrics = folder_of("--threshold-from", threshold_from, remedy="fetch it with `abet sync` first")
    from abet.calibration import definition_words, threshold_of
    from abet.metrics.components import SIZES
    from abet.predict import PredictionJob, find_images, predict_all
    from abet.predict import threshold_from as read_threshold
    from abet.site import load_site

    found = find_images(source, results)
    site = load_site()
    detector = load(choose_checkpoint(place_of(checkpoint), site), device, model, site)
    detector = with_fitted(detector, [score], site, named=True)
    reason = detector.why_missing(score)
    if reason is not None:
        raise UsageError(f"score {score!r} is not defined here: {reason}; try --score {detector.available_scores()[0]}")
    chosen = None
    if metrics is not None:
        limit = read_threshold(metrics, score, detector)
    elif named is not None:
        fitted = detector.fitted_sha256([score])
        chosen = threshold_of(
            detector.uri, detector.sha256, named, score, site.s3, dataset=calibration, fitted_sha256=fitted
        )
        limit = chosen.value
        told = definition_words(chosen.dataset, chosen.ood_definition)
        told += ", which papers test on" if chosen.tested_on else ""
        say(f"threshold {named}: {chosen.value:.6g}, calibrated on {chosen.dataset} ({chosen.split}{told})")
        say(*([f"note: {chosen.note}"] if chosen.note else []))
    assert not isinstance(limit, str)
    usual = SIZES["obstacle-track"].prediction if chosen is None else chosen.minimum_pixels
    job = PredictionJob(
        detector=detector,
        score=score,
        threshold=limit,
        calibrated=chosen,
        minimum_component_pixels=min_component_pixels or usual,
    )
    faults = predict_all(job, found, results)
    say(f"wrote {len(found) - len(faults)} of {counted(len(found), 'prediction')} below {results}")
    if faults:
        raise DataError("; ".join(faults))


def _number_or_name(text: str) -> float | str:
    """What --threshold says: a number of raw score units, or a calibration's name for one. Raises UsageError."""
    from abet.metrics.operating import NAMES

    try:
        value = float(text)
    except ValueError:
        if text not in NAMES:
            choices = ", ".join(NAMES)
            raise UsageError(f"--threshold {text!r}: neither a number nor a calibrated one: {choices}") from None
        return text
    if not math.isfinite(value):
        raise UsageError(f"--threshold {text}: a finite number of raw score units is needed")
    return value
