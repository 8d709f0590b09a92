"""One normalisation for training and evaluation."""

import numpy as np
import pytest
import torch

from abet.checkpoint import Normalisation
from abet.models.inputs import normalise

MEAN, STD = Normalisation().mean, Normalisation().std


def every_byte():
    """(1, 16, 16, 3): each byte in each channel."""
    return torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(1, 1, 1, 3)


def test_every_byte_has_the_bits_of_the_formula():
    pixels = every_byte()[0]
    formula = ((pixels.float() / 255.0 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1)
    assert torch.equal(normalise(every_byte(), MEAN, STD)[0], formula)


def test_it_equals_the_arithmetic_in_double_precision():
    got = normalise(every_byte(), MEAN, STD)
    for channel in range(3):
        expected = (np.arange(256) / 255 - MEAN[channel]) / STD[channel]
        np.testing.assert_allclose(got[0, channel].numpy().ravel(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 5, 7), (3, 4, 4), (2, 1, 1)])
def test_channels_come_first_in_channels_last_memory(size):
    images = torch.randint(0, 256, (*size, 3), dtype=torch.uint8)
    before = images.clone()
    got = normalise(images, MEAN, STD)
    assert got.shape == (size[0], 3, *size[1:])
    assert got.dtype == torch.float32
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert got.contiguous(memory_format=torch.channels_last).data_ptr() == got.data_ptr()
    assert torch.equal(images, before)


def test_an_image_alone_and_in_a_batch_has_the_same_bits():
    images = torch.randint(0, 256, (4, 9, 11, 3), dtype=torch.uint8)
    together = normalise(images, MEAN, STD)
    for place in range(4):
        assert torch.equal(together[place : place + 1], normalise(images[place : place + 1], MEAN, STD))
