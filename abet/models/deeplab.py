"""DeepLabV3+ (Chen et al. 2018, arXiv 1802.02611) on any of the trunks, and the reference's three networks on it.

Parameter names are the reference's: the trunk's own (``mod2.*``, ``layer1.*``), then ``aspp.*`` to ``final.*``, all
below ``underlying_model.`` wherever a head follows.
"""

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abet.model_config import ModelConfig
from abet.models.compiling import uncompiled
from abet.models.head import AbeTHead, Classifier, LinearClassifier, Output, abet_output
from abet.models.resample import resample
from abet.models.trunk import build_trunk

BODY_PREFIX: Final = "underlying_model."
"""Before the names of trunk, ASPP and decoder in the networks with a head of their own."""
BEYOND_TRUNK: Final = ("aspp.", "bot_", "final.")
"""How the names begin that are neither the trunk's nor a head's."""


@uncompiled  # torch 2.13's inductor gives what stands below it gradients of zero, in this network if not alone
def _enlarge(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=True)


def _conv_norm_relu(in_channels: int, channels: int, *, dilation: int | None = None) -> list[nn.Module]:
    """A 1x1 convolution, or with ``dilation`` a 3x3 one, with its batch normalisation and ReLU."""
    if dilation is None:
        convolution = nn.Conv2d(in_channels, channels, 1, bias=False)
    else:
        convolution = nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
    return [convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling: (B, in, h, w) to (B, 5 * channels, h, w).

    In order: the image's mean, a 1x1 convolution, three 3x3 convolutions at growing dilation.
    """

    def __init__(self, in_channels: int, channels: int, *, rates: Sequence[int]) -> None:
        super().__init__()
        branches = [None, *rates]
        self.features = nn.ModuleList(
            nn.Sequential(*_conv_norm_relu(in_channels, channels, dilation=rate)) for rate in branches
        )
        self.img_conv = nn.Sequential(*_conv_norm_relu(in_channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the five branches."""
        pooled = self.img_conv(x.mean((2, 3), keepdim=True))
        return torch.cat([pooled.expand(-1, -1, *x.shape[2:]), *(branch(x) for branch in self.features)], dim=1)


class DeepLabV3Plus(nn.Module):
    """Trunk, ASPP and decoder: (B, 3, H, W) to the features (B, decoder_channels, h, w).

    (h, w) is the size of the trunk's skip: half of the image's on a WiderResNet, a quarter on a ResNet, rounded up.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        trunk, width = build_trunk(config.trunk), config.decoder_channels
        for name, stage in trunk.stages.items():  # the trunk has no level of its own in the names
            self.add_module(name, stage)
        self.trunk_stages, self.skip_stage = tuple(trunk.stages), trunk.skip
        self.aspp = Aspp(trunk.channels, config.aspp_channels, rates=config.aspp_rates)
        self.bot_fine = nn.Conv2d(trunk.skip_channels, config.skip_channels, 1, bias=False)
        self.bot_aspp = nn.Conv2d(5 * config.aspp_channels, width, 1, bias=False)
        self.final = nn.Sequential(
            *_conv_norm_relu(config.skip_channels + width, width, dilation=1),
            *_conv_norm_relu(width, width, dilation=1),
        )
        for convolution in (self.final[0], self.final[3]):
            assert isinstance(convolution, nn.Conv2d)
            nn.init.kaiming_normal_(convolution.weight)

    def forward(self, image: Tensor) -> Tensor:
        """What ``final`` makes of the skip and the enlarged ASPP; non-negative as long as it ends in a ReLU."""
        return self._decode(image, self.final)

    def _decode(self, image: Tensor, last: nn.Module) -> Tensor:
        skip = deep = image
        for name in self.trunk_stages:
            deep = getattr(self, name)(deep)
            if name == self.skip_stage:
                skip = deep
        context = _enlarge(self.bot_aspp(self.aspp(deep)), like=skip)
        result: Tensor = last(torch.cat([self.bot_fine(skip), context], dim=1))
        return result


class PlainModel(DeepLabV3Plus):
    """``temperature_model: none``: a bias-free 1x1 classifier as ``final.6``, and no prefix in the names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        classifier = Classifier(in_channels=config.decoder_channels, num_classes=config.num_classes, bias=False)
        nn.init.kaiming_normal_(classifier.weight)
        self.final.append(classifier)

    def forward(self, image: Tensor) -> Output:  # type: ignore[override]  # a subclass for its names alone
        return Output(resample(super().forward(image), _size(image)))

    def features(self, image: Tensor) -> Tensor:
        """(B, K, h, w): what the classifier is given."""
        return self._decode(image, self.final[:-1])

    def classify(self, features: Tensor, size: tuple[int, int], *, mask: Tensor | None = None) -> Output:
        """The output at ``size``; ``mask`` (C, K) multiplies the class weights."""
        return Output(resample(self.final[-1](features, mask), size))

    def class_weights(self) -> Tensor:
        """(C, K): what the features are multiplied by."""
        classifier = self.final[-1]
        assert isinstance(classifier, Classifier)
        return classifier.weight.flatten(1)


class BaselineModel(nn.Module):
    """``temperature_model: baseline``: a biased 1x1 classifier, temperature 1.

    Classifying commutes with interpolation, whose weights sum to one: the classes are enlarged, not the features.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.underlying_model = DeepLabV3Plus(config)
        self.h = LinearClassifier(in_channels=config.decoder_channels, num_classes=config.num_classes)

    def forward(self, image: Tensor) -> Output:
        return self.classify(self.features(image), _size(image))

    def features(self, image: Tensor) -> Tensor:
        """(B, K, h, w): what the classifier is given."""
        result: Tensor = self.underlying_model(image)
        return result

    def classify(self, features: Tensor, size: tuple[int, int], *, mask: Tensor | None = None) -> Output:
        """The output at ``size``; ``mask`` (C, K) multiplies the class weights."""
        return Output(resample(self.h(features, mask), size))

    def class_weights(self) -> Tensor:
        """(C, K): what the features are multiplied by."""
        return self.h.h.weight.flatten(1)


class AbeTModel(nn.Module):
    """``temperature_model: learned``: the AbeT head, cosine over learned temperature."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.underlying_model = DeepLabV3Plus(config)
        head = AbeTHead(in_channels=config.decoder_channels, num_classes=config.num_classes)
        self.h, self.temperature = head.h, head.temperature  # the names have no level for the head itself

    def forward(self, image: Tensor) -> Output:
        return self.classify(self.features(image), _size(image))

    def features(self, image: Tensor) -> Tensor:
        """(B, K, h, w): what the head is given."""
        result: Tensor = self.underlying_model(image)
        return result

    def classify(self, features: Tensor, size: tuple[int, int], *, mask: Tensor | None = None) -> Output:
        """The output at ``size``; ``mask`` (C, K) multiplies the class directions."""
        return abet_output(features, size, self.h, self.temperature, mask)

    def class_weights(self) -> Tensor:
        """(C, K): the class directions."""
        return self.h.directions()


SegmentationModel = PlainModel | BaselineModel | AbeTModel
"""A whole network: ``model(image) -> Output`` at the size of the image.

``image`` is (B, 3, H, W) float32, RGB, normalised with the ImageNet mean and standard deviation.
"""


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]
