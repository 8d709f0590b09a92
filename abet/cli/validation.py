"""abet validate"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from abet.cli.options import (
    ChosenCheckpoint,
    DataRootOption,
    DeviceOption,
    ModelOption,
    announce_detector,
    choose_checkpoint,
    folder_of,
    place_of,
    require_output,
    require_promoted,
    say,
    split_names,
)
from abet.cli.panels import TRAIN
from abet.errors import UsageError, unknown_name
from abet.names import TRAINING_NAMES
from abet.places import parse_place
from abet.text import counted

if TYPE_CHECKING:
    from abet.data.index import Dataset
    from abet.detector import Detector
    from abet.distributed import Topology
    from abet.site import SiteConfig
    from abet.windows import Inference


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command(rich_help_panel=TRAIN)(validate)


def validate(
    dataset: Annotated[str, typer.Option("--dataset", help=f"The training set: {' or '.join(TRAINING_NAMES)}.")],
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Checkpoint, run or published .pth; also s3://. Default: the site file's, else the newest promoted.",
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the data set. Default: the one for validation.")] = None,
    data_root: DataRootOption = None,
    mode: Annotated[Literal["whole", "sliding"], typer.Option(help="Show images whole, or by windows.")] = "whole",
    scales: Annotated[str, typer.Option(help="Average over these sizes of the image: 0.5,1,2.")] = "1",
    flip: Annotated[bool, typer.Option("--flip/--no-flip", help="Average over the mirror image too.")] = False,
    crop: Annotated[
        int | None, typer.Option(min=1, help="Side of a window, in pixels; larger at scales above 1. Default: 1024.")
    ] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Share of a window that the next one shows again. Default: a third.")
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(min=1, help="Resize images to so many rows and take a square, as a recipe's validation_height."),
    ] = None,
    predictions: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Write each prediction as a PNG of the published label ids.")
    ] = None,
    output: Annotated[str | None, typer.Option(metavar="FILE", help="Write all figures as JSON.")] = None,
    images: Annotated[
        str | None, typer.Option(help="Only these images: names separated by commas, or @FILE with one per line.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads per process.")] = None,
    device: DeviceOption = "auto",
    model: ModelOption = "cityscapes_finetune",
) -> None:
    """Measure the mIoU of a checkpoint: one process, or one per GPU under `abet launch`."""
    if dataset not in TRAINING_NAMES:
        raise unknown_name(kind="training set", name=dataset, choices=TRAINING_NAMES)
    inference = choose_inference(mode, scales=scales, flip=flip, crop=crop, overlap=overlap)
    if predictions is not None and height is not None:
        raise UsageError("--predictions with --height: predictions are of the whole image at its own size; give one")
    results, folder = _here("--output", output, "file"), _here("--predictions", predictions, "folder")
    from abet.cli.before_passes import use_threads
    from abet.distributed import discover, process_group
    from abet.site import data_root as find_root
    from abet.site import load_site
    from abet.training.data import require_same_data, stage_on_each_node
    from abet.validate import ValidationJob, require_empty, summarise
    from abet.validate import validate as run

    if folder is not None:
        require_empty(folder)  # in each process before they meet, so before one of them writes
    site = load_site()
    root = find_root(site, dataset, place_of(data_root))
    use_threads(threads)
    topology = discover(device)
    with process_group(topology):
        below = stage_on_each_node(root, site, topology, what=dataset)
        data = _open(dataset, below, split, unlabelled=folder is not None)
        split_images = len(data.pairs)
        data = data.select(images=None if images is None else split_names(images), limit=limit)
        require_same_data(topology, data)
        detector = _load(checkpoint, len(data.classes), topology, model, site)
        if topology.rank == 0:
            say(*(f"note: {note}" for note in data.notes))
        job = ValidationJob(
            detector=detector,
            dataset=data,
            inference=inference,
            topology=topology,
            height=height,
            split_images=split_images,
            predictions=folder,
        )
        result = summarise(job, run(job))
        if topology.rank == 0:
            _tell(result, results, folder)


def _here(option: str, text: str | None, kind: Literal["file", "folder"]) -> Path | None:
    """The path of an output on this machine, which can be written; None for an option that is not given."""
    if text is None:
        return None
    path = folder_of(option, text, remedy="copy it with `abet sync` afterwards")
    require_output(path, kind=kind)
    return path


def _tell(result: dict[str, Any], results: Path | None, predictions: Path | None) -> None:
    from abet.cli.tables import print_validation
    from abet.files import write_json

    print_validation(result)
    if results is not None:
        write_json(results, result)
        say(f"wrote {results}")
    if predictions is not None:
        say(f"wrote {counted(result['images'], 'prediction')} to {predictions}")


def choose_inference(
    mode: Literal["whole", "sliding"], *, scales: str, flip: bool, crop: int | None, overlap: float | None
) -> "Inference":
    """What the options mean. Raises UsageError for values that cannot be meant."""
    from abet.windows import CROP_PIXELS, OVERLAP, Inference

    if mode == "whole" and (crop, overlap) != (None, None):
        raise UsageError("--crop and --overlap describe windows: add --mode sliding")
    try:
        factors = tuple(float(part) for part in scales.split(","))
    except ValueError:
        raise UsageError(f"--scales {scales!r}: expected numbers separated by commas, for example 0.5,1,2") from None
    return Inference(
        crop_pixels=None if mode == "whole" else crop or CROP_PIXELS,
        overlap=OVERLAP if overlap is None else overlap,
        scales=factors,
        flip=flip,
    )


def _open(name: str, root: Path, split: str | None, *, unlabelled: bool) -> "Dataset":
    from abet.data.index import open_dataset
    from abet.data.registry import TRAINING_SETS

    return open_dataset(name, root, split or TRAINING_SETS[name].validation_split, unlabelled=unlabelled)


def _load(given: str | None, num_classes: int, topology: "Topology", model: str, site: "SiteConfig") -> "Detector":
    """The detector that rank 0 chooses, the same in all processes.

    Raises:
        CheckpointError: nothing of the kind is there, or other weights than the promoted ones, or than rank 0's.
    """
    from abet.detector import load_detector
    from abet.distributed import from_rank_0, rank_0_alone
    from abet.training.start_weights import choose_start_weights

    found: list[ChosenCheckpoint] = []
    rank_0_alone(topology, lambda: found.append(choose_checkpoint(place_of(given), site, num_classes)))
    place, sha256 = from_rank_0(topology, [str(found[0].place), found[0].sha256] if found else None)
    chosen = ChosenCheckpoint(parse_place(place), sha256)
    weights = choose_start_weights(chosen.place, site, topology)
    require_promoted(chosen, weights.sha256)
    detector = replace(load_detector(weights.path, device=str(topology.device), model=model), uri=weights.uri)
    if topology.rank == 0:
        announce_detector(chosen.place, detector)
    return detector
