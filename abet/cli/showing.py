"""abet report | predict"""

import math
from pathlib import Path
from typing import Annotated

import typer

from abet.cli.options import (
    CheckpointOption,
    DataRootOption,
    DeviceOption,
    ModelOption,
    check_names,
    choose_checkpoint,
    load,
    require_ood_set,
    require_output,
    say,
    split_names,
)
from abet.errors import DataError, UsageError


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.command()(report)
    app.command()(predict)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories to compare.")],
    output: Annotated[Path | None, typer.Option(help="The page, one self-contained HTML file.")] = None,
    matrix: Annotated[
        Path | None, typer.Option(help="Write the paper's figure, .png or .pdf: images x (checkpoint, score).")
    ] = None,
    images: Annotated[str | None, typer.Option(help="Rows of the matrix: image names, comma-separated.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Data set of the matrix, if the runs hold several.")] = None,
    scores: Annotated[
        str | None, typer.Option(help="Columns of the matrix per run, comma-separated. Default: abet, else entropy.")
    ] = None,
    data_root: DataRootOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Compare runs on one page, or as the paper's matrix figure."""
    if matrix is None and (images, dataset, scores) != (None, None, None):
        raise UsageError("--images, --dataset and --scores choose what --matrix draws: add --matrix out.png")
    if dataset is not None:
        require_ood_set(dataset)
    page = output or (Path("report.html") if matrix is None else None)
    rows, columns = split_names(images), split_names(scores, what="score")
    if matrix is not None:
        _check_matrix(matrix, device)
    if page is not None:
        require_output(page, kind="file")
    from abet.report.runs import load_run

    loaded = [load_run(run) for run in runs]
    if matrix is not None:
        from abet.compare import draw_matrix

        draw_matrix(
            loaded,
            matrix,
            dataset=dataset,
            images=rows,
            scores=columns,
            data_root=data_root,
            device=device,
        )
        say(f"wrote {matrix}")
    if page is not None:
        from abet.report.page import write_report

        write_report(loaded, page)
        say(f"wrote {page}")


def _check_matrix(matrix: Path, device: str) -> None:
    """What would else be refused only after the networks have run."""
    from abet.report.matrix import check_figure_path

    check_figure_path(matrix)
    require_output(matrix, kind="file")
    from abet.devices import choose_device

    choose_device(device)


def predict(
    input_: Annotated[
        Path,
        typer.Option("--input", help="An image, or a folder of images (hidden ones and earlier results left out)."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the results.")],
    checkpoint: CheckpointOption = None,
    score: Annotated[str, typer.Option(help="Score key (see `abet scores`).")] = "abet",
    threshold: Annotated[float | None, typer.Option(help="Write a mask of pixels with raw score >= this.")] = None,
    threshold_from: Annotated[
        Path | None,
        typer.Option(help="Take the 95% TPR threshold from this metrics.json (of the same checkpoint)."),
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
    require_output(output, kind="folder")
    from abet.predict import PredictionJob, find_images, predict_all
    from abet.predict import threshold_from as read_threshold
    from abet.site import load_site

    found = find_images(input_, output)
    detector = load(choose_checkpoint(checkpoint, load_site()), device, model)
    reason = detector.why_missing(score)
    if reason is not None:
        raise UsageError(f"score {score!r} is not defined here: {reason}; try --score {detector.available_scores()[0]}")
    limit = threshold if threshold_from is None else read_threshold(threshold_from, score, detector)
    job = PredictionJob(detector=detector, score=score, threshold=limit)
    faults = predict_all(job, found, output)
    say(f"wrote {len(found) - len(faults)} of {len(found)} predictions below {output}")
    if faults:
        raise DataError("; ".join(faults))
