"""Validation: every image once, whatever the number of processes, into one int64 confusion matrix."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from abet.checkpoint import Normalisation
from abet.data.images import IndexArray
from abet.data.index import Dataset
from abet.data.loader import ValidationImages
from abet.distributed import Topology, any_rank, from_all_ranks, sum_over_ranks
from abet.labels import IGNORE
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
    temperatures = list[TemperatureSums]()
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
                prediction = output.logits[0].argmax(0).to(torch.uint8)
                if output.temperature is not None:
                    temperatures.append(temperature_sums(output.temperature[0, 0], prediction, label))
                matrix += confusion(label, prediction.cpu().numpy(), num_classes)
                if topology.rank == 0 and len(pictures) < KEPT_IMAGES:
                    pictures.append(strip(image, label, output))
    total = sum_over_ranks(topology, matrix.ravel().tolist())
    everyone = [TemperatureSums(*sums) for share in from_all_ranks(topology, temperatures) for sums in share]
    figures = summarise_confusion(np.array(total, np.int64).reshape(matrix.shape))
    return Validation(figures=figures | mean_temperatures(everyone), pictures=pictures)


class TemperatureSums(NamedTuple):
    """Of one image: sum of the temperature and number of pixels, where the class is right and where it is wrong.

    Pixels whose temperature is not finite are left out of both, and counted.
    """

    correct: float
    correct_pixels: int
    incorrect: float
    incorrect_pixels: int
    non_finite_pixels: int


def temperature_sums(temperature: Tensor, prediction: Tensor, label: IndexArray) -> TemperatureSums:
    """Of (H, W) temperatures in (0, 1], (H, W) predicted train ids, and (H, W) train ids and IGNORE."""
    truth = torch.from_numpy(label).to(prediction.device)
    finite = temperature.isfinite()
    correct, incorrect = finite & (prediction == truth), finite & (prediction != truth) & (truth != IGNORE)
    of_correct, of_incorrect = (temperature[where].double().sum().item() for where in (correct, incorrect))
    pixels = (int(where.sum()) for where in (correct, incorrect, ~finite & (truth != IGNORE)))
    return TemperatureSums(of_correct, next(pixels), of_incorrect, next(pixels), next(pixels))


def mean_temperatures(sums: Sequence[TemperatureSums]) -> dict[str, float | None]:
    """The means over all pixels, whatever the order; empty for a network without a temperature, null without pixels.

    The method rests on them: where the network is wrong the temperature should be higher.
    """
    if not sums:
        return {}
    means: dict[str, float | None] = {"temperature_non_finite": sum(each.non_finite_pixels for each in sums)}
    for kind in ("correct", "incorrect"):
        pixels = sum(getattr(each, f"{kind}_pixels") for each in sums)
        total = math.fsum(getattr(each, kind) for each in sums)
        means[f"temperature_{kind}"] = total / pixels if pixels else None
    return means
