"""Validation: every image once, whatever the number of processes, into one int64 confusion matrix."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from abet.checkpoint import Normalisation
from abet.data.index import Dataset
from abet.data.loader import ValidationImages
from abet.distributed import Topology, any_rank, sum_over_ranks
from abet.memory import readable_memory_errors
from abet.metrics.confusion import confusion, summarise_confusion
from abet.models.head import Output
from abet.models.inputs import normalise
from abet.report.render import Picture
from abet.training.pictures import KEPT_IMAGES, strip


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The figures over all images, and on rank 0 the first few of its images as pictures."""

    figures: dict[str, Any]
    pictures: list[Picture]


def validate(
    network: nn.Module,
    data: Dataset,
    topology: Topology,
    *,
    height: int | None,
    autocast: Callable[[], AbstractContextManager[Any]],
    stop: Callable[[], bool],
) -> Validation | None:
    """Measure ``network``; None when any rank was asked to stop (between two images): then nothing was measured.

    With ``height`` it is measured on the squares of `abet.data.validation_view`, else on the images as they are.
    The ranks go through their shares side by side, so that they can agree after every image.
    """
    num_classes, normalisation = len(data.classes), Normalisation()
    matrix, pictures = np.zeros((num_classes, num_classes), np.int64), list[Picture]()
    network.eval()
    with ValidationImages(data, topology.rank, topology.processes, height=height) as images:
        source = iter(images)
        for _ in range(-(-len(data.pairs) // topology.processes)):
            if any_rank(topology, stop()):
                return None
            for _, pair, image, label in [item for item in [next(source, None)] if item is not None]:
                with readable_memory_errors(pair.name), torch.inference_mode(), autocast():
                    pixels = torch.from_numpy(image)[None].to(topology.device)
                    output: Output = network(normalise(pixels, normalisation.mean, normalisation.std))
                prediction = output.logits[0].argmax(0).to(torch.uint8).cpu().numpy()
                matrix += confusion(label, prediction, num_classes)
                if topology.rank == 0 and len(pictures) < KEPT_IMAGES:
                    pictures.append(strip(image, label, output))
    total = sum_over_ranks(topology, matrix.ravel().tolist())
    return Validation(figures=summarise_confusion(np.array(total, np.int64).reshape(matrix.shape)), pictures=pictures)
