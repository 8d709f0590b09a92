"""abet report | predict"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
)
from abet.errors import DataError, UsageError
from abet.places import Place, parse_place

if TYPE_CHECKING:
    from abet.report.runs import RunResults
    from abet.site import SiteConfig


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.command()(report)
    app.command()(predict)


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
    dataset: Annotated[str | None, typer.Option(help="Data set of the matrix, if the runs hold several.")] = None,
    scores: Annotated[
        str | None, typer.Option(help="Columns of the matrix per run, comma-separated. Default: abet, else entropy.")
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
    """Compare runs on one page, or as the paper's matrix figure."""
    if matrix is None and (images, dataset, scores) != (None, None, None):
        raise UsageError("--images, --dataset and --scores choose what --matrix draws: add --matrix out.png")
    if dataset is not None:
        require_ood_set(dataset)
    rows, columns = split_names(images), split_names(scores, what="score")
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
        loaded = [stack.enter_context(_loaded(place, site)) for place in places]
        if figure is not None:
            from abet.compare import draw_matrix

            draw_matrix(
                loaded,
                figure,
                dataset=dataset,
                images=rows,
                scores=columns,
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
def _loaded(place: Place, site: "SiteConfig") -> Iterator["RunResults"]:
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
    threshold: Annotated[float | None, typer.Option(help="Write a mask of pixels with raw score >= this.")] = None,
    threshold_from: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Take the 95% TPR threshold from this metrics.json (of the same checkpoint)."
        ),
    ] = None,
    device: DeviceOption = "auto",
    model: ModelOption = "cityscapes_finetune",
) -> None:
    """Class overlay, heat map, 16-bit score and mask for anyone's photographs."""
    from abet.scores import SCORES

    check_names("score", [score], SCORES)
    if threshold is not None and threshold_from is not None:
        raise UsageError("--threshold and --threshold-from both name a threshold: give one")
    if threshold is not None and not math.isfinite(threshold):
        raise UsageError(f"--threshold {threshold}: a finite number of raw score units is needed")
    results = folder_of("--output", output, remedy="copy the results with `abet sync` afterwards")
    require_output(results, kind="folder")
    source = folder_of("--input", input_, remedy="fetch the images with `abet sync` first")
    metrics = None
    if threshold_from is not None:
        metrics = folder_of("--threshold-from", threshold_from, remedy="fetch it with `abet sync` first")
    from abet.predict import PredictionJob, find_images, predict_all
    from abet.predict import threshold_from as read_threshold
    from abet.site import load_site

    found = find_images(source, results)
    site = load_site()
    detector = load(choose_checkpoint(place_of(checkpoint), site), device, model, site)
    reason = detector.why_missing(score)
    if reason is not None:
        raise UsageError(f"score {score!r} is not defined here: {reason}; try --score {detector.available_scores()[0]}")
    limit = threshold if metrics is None else read_threshold(metrics, score, detector)
    job = PredictionJob(detector=detector, score=score, threshold=limit)
    faults = predict_all(job, found, results)
    say(f"wrote {len(found) - len(faults)} of {len(found)} predictions below {results}")
    if faults:
        raise DataError("; ".join(faults))
