"""The residual trunk: WiderResNet38-A2's family (Wu et al. 2016, arXiv 1611.10080), output stride 8.

Widths, depths and dropout are parameters; strides and dilations belong to the family. Parameter names are the
reference's: ``mod4.block1.bn1.0.weight``, ``mod4.block1.convs.conv1.weight``, ``mod4.block1.proj_conv.weight``.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn

from abet.model_config import WiderResNetConfig
from abet.models.recompute import RecomputableBlock

STRIDES: Final = (1, 1, 2, 1, 1, 1)
"""Of the first block of mod2..mod7; two max-pools, before mod2 and mod3, make 8 with it."""
DILATIONS: Final = (1, 1, 1, 2, 4, 4)


def norm_relu(channels: int) -> nn.Sequential:
    """Batch normalisation and ReLU; the former's parameters are named ``0.*``."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def down_pool() -> nn.MaxPool2d:
    """The pooling before mod2 and mod3: it halves the size, rounded up."""
    return nn.MaxPool2d(3, stride=2, padding=1)


class ResidualBlock(RecomputableBlock):
    """Pre-activation residual block: two 3x3 convolutions, or a bottleneck of 1x1, 3x3, 1x1.

    The shortcut is the raw input, or, where channels or stride change, a 1x1 projection of the activated input.
    No activation follows the sum. The first 3x3 carries the stride, every 3x3 the dilation.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], *, stride: int, dilation: int, dropout: float
    ) -> None:
        super().__init__()
        self.bn1 = norm_relu(in_channels)
        self.convs = _convolutions(in_channels, channels, stride=stride, dilation=dilation, dropout=dropout)
        self.proj_conv: nn.Conv2d | None = None
        if stride != 1 or in_channels != channels[-1]:
            self.proj_conv = nn.Conv2d(in_channels, channels[-1], 1, stride=stride, bias=False)

    def compute(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) to (B, channels[-1], ceil(h / stride), ceil(w / stride))."""
        activated = self.bn1(x)
        shortcut = x if self.proj_conv is None else self.proj_conv(activated)
        result: Tensor = self.convs(activated)
        return result.add_(shortcut)


def _convolutions(
    in_channels: int, channels: Sequence[int], *, stride: int, dilation: int, dropout: float
) -> nn.Sequential:
    kernels = (3, 3) if len(channels) == 2 else (1, 3, 1)
    strided = kernels.index(3)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    widths = (in_channels, *channels)
    for i, kernel in enumerate(kernels):
        if i > 0:
            layers[f"bn{i + 1}"] = norm_relu(widths[i])
        if dropout > 0 and i == len(kernels) - 1:
            layers["dropout"] = nn.Dropout2d(dropout)
        spread = dilation if kernel == 3 else 1
        layers[f"conv{i + 1}"] = nn.Conv2d(
            widths[i],
            widths[i + 1],
            kernel,
            stride=stride if i == strided else 1,
            padding=spread * (kernel // 2),
            dilation=spread,
            bias=False,
        )
    return nn.Sequential(layers)


def stages(config: WiderResNetConfig) -> OrderedDict[str, nn.Module]:
    """mod1 to mod7, freshly initialised as torch's layers are (reference behaviour), and the pools between them."""
    result: OrderedDict[str, nn.Module] = OrderedDict(mod1=_stem(config))
    for index in range(6):
        if index < 2:
            result[f"pool{index + 2}"] = down_pool()
        result[f"mod{index + 2}"] = _stage(config, index)
    return result


def _stem(config: WiderResNetConfig) -> nn.Sequential:
    """mod1: one 3x3 convolution of the RGB image at full resolution."""
    return nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, config.stem_channels, 3, padding=1, bias=False)))


def _stage(config: WiderResNetConfig, index: int) -> nn.Sequential:
    """mod2 (``index`` 0) to mod7 (``index`` 5): the residual blocks of one width."""
    channels = config.channels[index]
    in_channels = config.channels[index - 1][-1] if index else config.stem_channels
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(config.blocks[index]):
        blocks[f"block{number + 1}"] = ResidualBlock(
            channels[-1] if number else in_channels,
            channels,
            stride=1 if number else STRIDES[index],
            dilation=DILATIONS[index],
            dropout=config.dropout[index],
        )
    return nn.Sequential(blocks)
