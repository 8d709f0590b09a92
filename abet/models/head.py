"""Heads: features in, class logits at full resolution out.

    output = AbeTHead(in_channels=256, num_classes=19)(features, size=(1024, 2048))

The reference enlarges all K feature channels to full size before its head (2 GiB at 1024x2048). Bilinear
interpolation u = sum_i a_i x_i is linear, so <w, u> is the interpolated <w, x> and the temperature's convolution
likewise; ||u||^2 = sum_ij a_i a_j <x_i, x_j> needs the products of neighbouring features only. So C + 1 maps and one
grid of neighbour products are enlarged instead of K channels: the same numbers, in training and in evaluation.
"""

from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from abet.models.compiling import uncompiled
from abet.models.precision import at_least_float32, full_precision
from abet.models.products import neighbour_products, project
from abet.models.resample import resample, resample_squared_norm

NORM_EPSILON = 1e-4
"""Added to both norms of the cosine (reference behaviour)."""
TEMPERATURE_EPSILON = 1e-12
"""Added to the sigmoid, so that no temperature is zero (reference behaviour)."""


class Output(NamedTuple):
    """What a network says about every pixel; all float32."""

    logits: Tensor
    """(B, C, H, W): class scores before the softmax; cosine / temperature for the learned head."""
    cosine: Tensor | None = None
    """(B, C, H, W) in [-1, 1]: cosine of features and class direction; None for other heads."""
    temperature: Tensor | None = None
    """(B, 1, H, W) in (0, 1]: the learned temperature; None for other heads."""


class CosineClassifier(nn.Module):
    """The class directions: (C, K, 1, 1) weights under the reference's name ``h``."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.h = nn.Conv2d(in_channels, num_classes, 1, bias=False)
        nn.init.kaiming_normal_(self.h.weight)

    def directions(self) -> Tensor:
        """(C, K), at least float32: each class's weights over their norm + 1e-4."""
        weight = self.h.weight.flatten(1).to(at_least_float32(self.h.weight))
        norms: Tensor = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
        return weight / (norms + NORM_EPSILON)


class Classifier(nn.Conv2d):
    """A 1x1 convolution to class logits, in float32 whatever the features' type."""

    def __init__(self, *, in_channels: int, num_classes: int, bias: bool) -> None:
        super().__init__(in_channels, num_classes, 1, bias=bias)

    @uncompiled
    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, K, h, w) to (B, C, h, w); ``mask`` (C, K) multiplies the weights."""
        weight = self.weight.flatten(1)
        maps = project(features, weight if mask is None else weight * mask)
        return maps if self.bias is None else maps + self.bias.to(maps.dtype)[:, None, None]


class LinearClassifier(nn.Module):
    """The baseline's biased `Classifier` under the reference's name ``h``."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.h = Classifier(in_channels=in_channels, num_classes=num_classes, bias=True)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, K, h, w) to (B, C, h, w); ``mask`` (C, K) multiplies the weights."""
        maps: Tensor = self.h(features, mask)
        return maps


@uncompiled
def abet_output(
    features: Tensor,
    size: tuple[int, int],
    classifier: CosineClassifier,
    temperature: nn.Sequential,
    mask: Tensor | None = None,
) -> Output:
    """AbeT's cosine over learned temperature (arXiv 2401.12129, section 3), exact from low-resolution maps.

    Batch statistics of the temperature are, as in the reference, those of the full-size map. ``mask`` (C, K) multiplies
    the class directions, which stay as long as they are; the temperature's weights are left alone.
    """
    convolution, normalise, squash = temperature
    assert isinstance(convolution, nn.Conv2d)
    with full_precision(features.device):
        directions = classifier.directions() if mask is None else classifier.directions() * mask
        weight = torch.cat([directions, convolution.weight.flatten(1)])
        numerator, affine = torch.split(resample(project(features, weight), size), [len(weight) - 1, 1], dim=1)
        # No numerator exceeds the norm (Cauchy-Schwarz), but for the rounding of a norm that cancels
        norm = torch.maximum(resampled_norm(features, size), _largest(numerator))
        cosine = numerator / (norm + NORM_EPSILON)
        forefront = squash(_in_type_of(affine, normalise)) + TEMPERATURE_EPSILON
        return Output(cosine / forefront, cosine, forefront)


@torch.no_grad()
def _largest(maps: Tensor) -> Tensor:
    """The largest magnitude over the channels: a bound for the norm, through which no gradient needs to pass."""
    low, high = torch.aminmax(maps, dim=1, keepdim=True)
    return torch.maximum(high, low.neg_())


def _in_type_of(maps: Tensor, layer: nn.Module) -> Tensor:
    """``layer(maps)`` in the type of ``maps``, whatever its own: a float32 step of a network in half precision.

    What the layer does to its buffers (running statistics) reaches them.
    """
    state = dict(chain(layer.named_parameters(), layer.named_buffers()))
    cast = {name: value.to(maps.dtype) for name, value in state.items() if value.is_floating_point()}
    if all(cast[name] is state[name] for name in cast):
        result: Tensor = layer(maps)
        return result
    result = torch.func.functional_call(layer, cast, maps)
    with torch.no_grad():
        for name, buffer in layer.named_buffers():
            buffer.copy_(cast.get(name, buffer))
    return result


def resampled_norm(features: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 1, H, W) float32: the norm over the channels that the enlarged features would have.

    The quadratic form cancels where neighbours are nearly opposite (never after a ReLU). Below its own rounding error
    it says nothing, and the square root's slope is unbounded: the form is kept above eight float32 epsilons times
    the interpolated squared norm of the neighbours, and passes no gradient from below.
    """
    products = neighbour_products(features)
    squared = resample_squared_norm(products, size)
    limits = torch.finfo(squared.dtype)
    with torch.no_grad():
        floor = 8 * limits.eps * resample(products[..., ::2, ::2], size) + limits.tiny
    return torch.maximum(squared, floor).sqrt()


class AbeTHead(nn.Module):
    """Cosine over learned temperature, on any (B, K, h, w) features: logits, cosine and temperature.

    Parameters are the reference's: ``h.h.weight``, ``temperature.0.weight``, ``temperature.1.*``.
    """

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.h = CosineClassifier(in_channels=in_channels, num_classes=num_classes)
        self.temperature = nn.Sequential(nn.Conv2d(in_channels, 1, 1, bias=False), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, features: Tensor, size: tuple[int, int]) -> Output:
        """Classify ``features`` (any floating type) at every one of ``size``'s positions (align_corners=True)."""
        return abet_output(features, size, self.h, self.temperature)
