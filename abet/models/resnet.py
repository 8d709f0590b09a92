"""ResNet-50 and ResNet-101 (He et al. 2016, arXiv 1512.03385) as torchvision defines them, at output stride 8.

Parameter names are torchvision's (``conv1.weight``, ``layer1.0.downsample.0.weight``), so its weight files load by key.
The stride is the 3x3 convolution's. The last two stages keep their size; in their place dilations double, which is
torchvision's ``replace_stride_with_dilation=(False, True, True)``.
"""

from collections import OrderedDict
from typing import Final

from torch import Tensor, nn

from abet.model_config import ResNetConfig
from abet.models.recompute import RecomputableBlock

BLOCKS: Final = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
"""Of layer1..layer4."""
EXPANSION: Final = 4
"""Channels of a block's output over those of its 3x3 convolution."""
CHANNELS: Final = (256, 512, 1024, 2048)
"""Of the outputs of layer1..layer4."""
STRIDES: Final = (1, 2, 1, 1)
"""Of the first block of layer1..layer4; the first convolution and the max-pool make 8 with them."""
DILATIONS: Final = ((1, 1), (1, 1), (1, 2), (2, 4))
"""Of the first block of layer1..layer4, and of the further ones."""


class Bottleneck(RecomputableBlock):
    """1x1, 3x3 (with stride and dilation) and 1x1 convolution, each normalised; ReLU after the sum with the input.

    Where channels or stride change, the input comes to the sum by a normalised 1x1 convolution.
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        width = channels // EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != channels:
            projection = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def compute(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) to (B, channels, ceil(h / stride), ceil(w / stride))."""
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        result: Tensor = self.relu(self.bn3(self.conv3(inner)).add_(shortcut))
        return result


def stages(config: ResNetConfig) -> OrderedDict[str, nn.Module]:
    """conv1 to layer4, freshly initialised as torchvision's: convolutions He-normal in their outputs."""
    result: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        bn1=nn.BatchNorm2d(64),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(3, stride=2, padding=1),
    )
    for index, blocks in enumerate(BLOCKS[config.kind]):
        result[f"layer{index + 1}"] = _layer(index, blocks)
    for stage in result.values():
        for module in stage.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return result


def _layer(index: int, blocks: int) -> nn.Sequential:
    first, further = DILATIONS[index]
    in_channels = CHANNELS[index - 1] if index else 64
    layer = nn.Sequential(Bottleneck(in_channels, CHANNELS[index], stride=STRIDES[index], dilation=first))
    for _ in range(1, blocks):
        layer.append(Bottleneck(CHANNELS[index], CHANNELS[index], stride=1, dilation=further))
    return layer
