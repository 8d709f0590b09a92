"""The mIoU of a checkpoint on a training set, in one process or several, and its predictions as the authors want them.

    abet validate runs/finetune --dataset cityscapes --mode sliding --scales 0.5,1,2 --flip

Float32 by the kernels of `abet.detector`, where training validates in its own precision and shows each image once.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from abet.data.index import Dataset, Pair
from abet.data.loader import Loaded, ValidationImages
from abet.data.pairing import IMAGE_TOKEN
from abet.data.registry import TRAINING_SETS
from abet.data.tables import ClassTable
from abet.detector import Detector
from abet.distributed import Topology, sum_over_ranks, work_apart
from abet.errors import CheckpointError, UsageError, not_finite
from abet.memory import readable_memory_errors
from abet.metrics.confusion import Confusion, confusion, summarise_confusion
from abet.progress import progress
from abet.report.render import write_png
from abet.windows import Inference, averaged_logits

REMEDY = "use --mode sliding with a smaller --crop, smaller --scales, a --height, or another --device"


@dataclass(frozen=True, kw_only=True)
class ValidationJob:
    """One checkpoint on one data set, in every process alike."""

    detector: Detector
    dataset: Dataset
    """A training set."""
    inference: Inference
    topology: Topology
    height: int | None = None
    """Of the squares that are looked at (`abet.data.validation_view`), in pixels; None: the images as they are."""
    split_images: int | None = None
    """Of the whole split, where ``dataset`` is a part of it; None: it is all."""
    predictions: Path | None = None
    """Folder for the predictions, as label ids; None writes none."""

    def __post_init__(self) -> None:
        """Raises CheckpointError for a network of other classes, UsageError for predictions that share a name."""
        found, wanted = self.detector.config.num_classes, len(self.dataset.classes)
        if found != wanted:
            raise CheckpointError(
                f"{self.detector.uri}: tells {found} classes apart, {self.dataset.name} has {wanted}: choose a "
                "checkpoint that was trained on it"
            )
        assert self.predictions is None or self.height is None, "predictions are of whole images"
        if self.predictions is not None:
            prediction_names(self.dataset.pairs)


def validate(job: ValidationJob) -> Confusion:
    """The confusion matrix over all images, each counted by one process, the same in all of them; exact in int64.

    The processes have met (`process_group`).

    Raises:
        DataError: a file that cannot be read, too little memory, or logits that are not finite.
        LostPeerError: the same in another process.
    """
    matrix = np.zeros((len(job.dataset.classes),) * 2, np.int64)
    work_apart(job.topology, lambda: _count_share(job, matrix))
    total = sum_over_ranks(job.topology, matrix.ravel().tolist())
    return np.array(total, np.int64).reshape(matrix.shape)


def _count_share(job: ValidationJob, matrix: Confusion) -> None:
    """Add this process's images to ``matrix``."""
    topology, names = job.topology, prediction_names(job.dataset.pairs) if job.predictions else {}
    if topology.device.type == "cuda":
        torch.cuda.set_device(topology.device)  # a thread starts on device 0
    share = "" if topology.processes == 1 else f", share of rank {topology.rank}"
    with ValidationImages(job.dataset, topology.rank, topology.processes, height=job.height) as images:
        for loaded in shown(images, f"{job.dataset.name} {job.dataset.split}{share}") if topology.rank == 0 else images:
            with readable_memory_errors(_described(loaded), remedy=REMEDY):
                classes = predict_classes(job.detector, loaded.image, job.inference, name=loaded.pair.name)
            matrix += confusion(loaded.label, classes, len(matrix))
            if job.predictions is not None:
                write_png(job.predictions / names[loaded.pair.name], label_ids(job.dataset)[classes])


def shown(images: ValidationImages, description: str) -> Iterable[Loaded]:
    """The images, with a progress display: one is done when the next is asked for."""
    with progress(description, len(images)) as advance:
        for loaded in images:
            yield loaded
            advance(1)


def _described(loaded: Loaded) -> str:
    return f"{loaded.pair.name} ({loaded.image.shape[1]}x{loaded.image.shape[0]} pixels)"


def predict_classes(
    detector: Detector, image: NDArray[np.uint8], inference: Inference, *, name: str = "this image"
) -> NDArray[np.uint8]:
    """(H, W) uint8 train ids of an (H, W, 3) uint8 RGB image: the arg-max of the averaged logits.

    Raises DataError, which calls the image ``name``, for logits that are not finite: an arg-max of NaN is some class.
    """
    logits = averaged_logits(lambda pixels: detector.output(pixels).logits[0], image, inference)
    if not bool(logits.isfinite().all()):
        raise not_finite(name, "logits")
    return logits.argmax(0).to(torch.uint8).cpu().numpy()


# --- predictions


def prediction_names(pairs: Iterable[Pair]) -> dict[str, str]:
    """Image name -> file name of its prediction: the image's stem and ``_pred.png``, all in one folder.

    ``CITY_SEQUENCE_FRAME_leftImg8bit.png`` becomes ``CITY_SEQUENCE_FRAME_pred.png``: the authors' scripts look for
    ``CITY_SEQUENCE_FRAME*.png``, one file per image, in any folder.

    Raises:
        UsageError: two images would write one file.
    """
    names = {pair.name: f"{PurePosixPath(pair.name).stem.removesuffix(IMAGE_TOKEN)}_pred.png" for pair in pairs}
    twins = sorted(name for name, count in Counter(names.values()).items() if count > 1)
    if twins:
        raise UsageError(f"--predictions: several images would be written as {twins[0]}; rename them, or leave it out")
    return names


def label_ids(dataset: Dataset) -> NDArray[np.uint8]:
    """(C,) uint8: train id -> the number that the authors' label files give the class."""
    table = TRAINING_SETS[dataset.name].published_labels
    assert isinstance(table, ClassTable), dataset.name
    ids = {train_id: value for value, train_id in table.train_ids.items()}
    return np.array([ids[train_id] for train_id in range(len(ids))], np.uint8)


def require_empty(folder: Path) -> None:
    """Raises UsageError where something lies in ``folder``: predictions of two checkpoints would not be told apart."""
    found = next(folder.iterdir(), None) if folder.is_dir() else None
    if found is not None:
        raise UsageError(f"--predictions {folder} is not empty ({found.name}): choose another folder, or remove it")


# --- results


def summarise(job: ValidationJob, matrix: Confusion) -> dict[str, Any]:
    """What ``--output`` holds: strict JSON; fractions, and null with a ``reason`` where nothing defines a figure."""
    data, inference = job.dataset, job.inference
    figures = summarise_confusion(matrix)
    columns = {name: figures.pop(name) for name in ("iou", "precision", "recall", "share")}
    sliding = inference.crop_pixels is not None
    return {
        "schema": 1,
        "dataset": data.name,
        "split": data.split,
        "images": len(data.pairs),
        "split_images": len(data.pairs) if job.split_images is None else job.split_images,
        "list_sha256": data.list_sha256(),
        "checkpoint": {"uri": job.detector.uri, "sha256": job.detector.sha256},
        "inference": {
            "mode": "sliding" if sliding else "whole",
            "crop_pixels": inference.crop_pixels,
            "overlap": inference.overlap if sliding else None,
            "scales": list(inference.scales),
            "flip": inference.flip,
            "height_pixels": job.height,
        },
        **figures,
        "classes": [
            {"train_id": number, "name": row.name, **{name: values[number] for name, values in columns.items()}}
            | {"reason": _why_null(matrix, number)}
            for number, row in enumerate(data.classes)
        ],
        "confusion": matrix.tolist(),
    }


def _why_null(matrix: Confusion, number: int) -> str | None:
    """Why a figure of a class is null; None when none is."""
    labelled, predicted = matrix[number].any(), matrix[:, number].any()
    if labelled and predicted:
        return None
    return (
        "neither labelled nor predicted"
        if not labelled and not predicted
        else ("not predicted" if labelled else "not labelled")
    )
