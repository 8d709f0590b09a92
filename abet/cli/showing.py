"""abet report | predict"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from abet.cli.options import (
    CheckpointOption,
    DataRootOption,
    DeviceOption,
    ModelOption,
    check_names,
    choose_checkpoint,
    folder_of,
    load,
    place_of,
    require_ood_set,
    require_output,
    say,
    split_names,
    with_fitted,
)
from abet.cli.panels import EVALUATE, USE
from abet.errors import DataError, UsageError
from abet.places import Place, parse_place

if TYPE_CHECKING:
    from abet.report.runs import RunResults
    from abet.site import SiteConfig


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.command(rich_help_panel=EVALUATE)(report)
    app.command(rich_help_panel=USE)(predict)


def report(
    runs: Annotated[list[str], typer.Argument(help="Runs to compare: folders, or s3://.")],
    output: Annotated[
        str | None, typer.Option(metavar="PLACE", help="The page, one self-contained HTML file; also s3://.")
    ] = None,
    matrix: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the paper's figure, .png or .pdf: images x (checkpoint, score)."),
    ] = None,
    images: Annotated[str | None, typer.Option(help="Rows of the matrix: image names, comma-separated.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Data set of the matrix, if the runs hold several; or those of the table.")
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            help="Columns of the matrix per run, comma-separated (default: abet, else entropy); or rows of the table."
        ),
    ] = None,
    format_: Annotated[
        Literal["md", "csv", "latex"] | None,
        typer.Option("--format", help="A table for a paper instead of the page, to stdout or --output."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Figures of that table: exact, reference (the paper's protocol), or both. Default: exact."),
    ] = None,
    max_megabytes: Annotated[
        float, typer.Option(min=1, help="Of the page: its maps are shown smaller, then fewer, until it fits.")
    ] = 25,
    maps: Annotated[
        str | None, typer.Option(help="Scores whose maps the page holds, comma-separated. Default: a few of each run.")
    ] = None,
    data_root: DataRootOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Compare runs on one page, in a table, or as the paper's matrix figure."""
    if format_ is not None:
        if (matrix, images) != (None, None):
            raise UsageError("--format writes a table, --matrix and --images a figure: give one of them")
        from abet.cli.comparing import write_table

        write_table(
            runs,
            format_,
            place_of(output),
            split_names(dataset, what="data set"),
            scores,
            "exact" if columns is None else columns,
        )
        return
    if columns is not None:
        raise UsageError("--columns chooses the figures of a table: add --format md, csv or latex")
    if matrix is None and (images, dataset, scores) != (None, None, None):
        raise UsageError(
            "--images, --dataset and --scores choose what --matrix draws: add --matrix out.png, or --format"
        )
    if dataset is not None:
        require_ood_set(dataset)
    rows, keys = split_names(images), split_names(scores, what="score")
    embedded = split_names(maps, what="score")
    figure = None if matrix is None else folder_of("--matrix", matrix, remedy="copy it with `abet sync` afterwards")
    page = place_of(output) or (Path("report.html") if figure is None else None)
    places = [parse_place(run) for run in runs]
    from abet.site import load_site

    site = load_site()
    if figure is not None:
        _check_matrix(figure, device)
    if page is not None:
        require_output(page, kind="file", s3=site.s3)
    with ExitStack() as stack:
        loaded = [stack.enter_context(loaded_run(place, site)) for place in places]
        if figure is not None:
            from abet.compare import draw_matrix

            draw_matrix(
                loaded,
                figure,
                dataset=dataset,
                images=rows,
                scores=keys,
                data_root=place_of(data_root),
                device=device,
                site=site,
            )
            say(f"wrote {figure}")
        if page is not None:
            from abet.report.page import write_report

            write_report(loaded, page, max_megabytes=max_megabytes, maps=embedded, s3=site.s3)
            say(f"wrote {page}")


@contextmanager
def loaded_run(place: Place, site: "SiteConfig") -> Iterator["RunResults"]:
    """What a run holds for showing, while the block lasts; of one in S3 a copy on this machine."""
    from abet.mirror import mirrored, pull_results
    from abet.report.runs import load_run

    with mirrored(place, site) as mirror:
        pull_results(mirror)
        yield load_run(mirror.folder, place=place)


def _check_matrix(matrix: Path, device: str) -> None:
    """What would else be refused only after the networks have run."""
    from abet.report.matrix import check_figure_path

    check_figure_path(matrix)
    require_output(matrix, kind="file")
    from abet.devices import choose_device

    choose_device(device)


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
    from abet.calibration import threshold_of
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
        warned = ", which papers test on" if chosen.tested_on else ""
        say(f"threshold {named}: {chosen.value:.6g}, calibrated on {chosen.dataset} ({chosen.split}{warned})")
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
    say(f"wrote {len(found) - len(faults)} of {len(found)} predictions below {results}")
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
