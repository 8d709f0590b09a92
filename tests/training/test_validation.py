"""What a validation says beside the mIoU: the temperature of right and of wrong pixels."""

import random

import numpy as np
import pytest
import torch

from abet.labels import IGNORE
from abet.training.tracking import read_metrics
from abet.training.validation import TemperatureSums, mean_temperatures, temperature_sums
from tests.training.conftest import Tiny, Zygote


def test_ignored_pixels_are_neither_right_nor_wrong() -> None:
    rng = np.random.default_rng(0)
    label = rng.choice([0, 1, 2, IGNORE], (9, 11)).astype(np.uint8)
    prediction = rng.integers(0, 3, (9, 11), dtype=np.uint8)
    temperature = rng.random((9, 11), dtype=np.float32)
    found = temperature_sums(torch.from_numpy(temperature), torch.from_numpy(prediction), label)
    right = [float(temperature[p]) for p in np.ndindex(9, 11) if label[p] == prediction[p]]
    wrong = [float(temperature[p]) for p in np.ndindex(9, 11) if label[p] not in (prediction[p], IGNORE)]
    assert found == TemperatureSums(pytest.approx(sum(right)), len(right), pytest.approx(sum(wrong)), len(wrong), 0)


def test_a_temperature_that_is_not_finite_is_counted_and_spoils_no_mean() -> None:
    label = np.array([[0, 1, IGNORE, 1]], np.uint8)
    temperature = torch.tensor([[0.5, torch.nan, torch.inf, 0.25]])
    found = temperature_sums(temperature, torch.zeros(1, 4, dtype=torch.uint8), label)
    assert found == TemperatureSums(0.5, 1, 0.25, 1, 1)
    assert mean_temperatures([found])["temperature_non_finite"] == 1


def test_means_are_over_pixels_whatever_the_order_of_the_images() -> None:
    sums = [TemperatureSums(0.1 * n, n, 0.3 * n, 2 * n, 0) for n in range(1, 50)]
    shuffled = random.Random(0).sample(sums, len(sums))
    assert mean_temperatures(sums) == mean_temperatures(shuffled)
    assert mean_temperatures(sums) == {
        "temperature_non_finite": 0,
        "temperature_correct": pytest.approx(0.1),
        "temperature_incorrect": pytest.approx(0.15),
    }


def test_nothing_is_said_without_a_temperature_and_null_without_a_pixel() -> None:
    assert mean_temperatures([]) == {}
    flawless = [TemperatureSums(1.0, 4, 0.0, 0, 0)]
    means = mean_temperatures(flawless)
    assert (means["temperature_correct"], means["temperature_incorrect"]) == (0.25, None)


def test_each_validation_of_a_run_has_them(zygote: Zygote, tiny: Tiny) -> None:
    assert zygote.train(*tiny.arguments("warm", "--set", "training.steps=3"))["codes"] == [0]
    (row,) = [row for row in read_metrics(tiny.runs / "warm") if row["kind"] == "validation"]
    assert 0 < row["temperature_correct"] < 1
    assert 0 < row["temperature_incorrect"] < 1


@pytest.mark.faults
@pytest.mark.parametrize("dropped", [False, True])
def test_two_processes_measure_every_image_unless_the_reference_s_slip_is_repeated(
    zygote: Zygote, tiny: Tiny, dropped: bool
) -> None:
    """Three images: the slip measures the first two alone."""
    options = ["--set", f"reference_quirks.validation_images_dropped={str(dropped).lower()}"]
    options += ["--set", "training.steps=3", "--set", "batch.batch_per_gpu=2"]
    name = f"measured-{dropped}"
    assert zygote.train(*tiny.arguments(name, *options), processes=2)["codes"] == [0, 0]
    (row,) = [row for row in read_metrics(tiny.runs / name) if row["kind"] == "validation"]
    valid = [int((dataset_label != IGNORE).sum()) for dataset_label in labels(tiny)]
    assert row["pixels"] == sum(valid[:2] if dropped else valid)


def labels(tiny: Tiny) -> list[np.ndarray]:
    from abet.data.index import open_dataset

    data = open_dataset("cityscapes", tiny.data, "val")
    return [data.read(pair)[1] for pair in data.pairs]
