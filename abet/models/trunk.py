"""What a trunk is: stages that run one after another, the first few of which give the decoder its fine features."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from abet.model_config import ResNetConfig, TrunkConfig
from abet.models import resnet, wider_resnet


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """Stages by name, in the order in which they run; the names are those of the trunk's published weights."""

    stages: Mapping[str, nn.Module]
    skip: str
    """The stage whose output the decoder sees beside the context."""
    skip_channels: int
    channels: int
    """Of the last stage's output, at an eighth of the image's size."""


def build_trunk(config: TrunkConfig) -> Trunk:
    """The trunk that ``config`` describes, freshly initialised."""
    if isinstance(config, ResNetConfig):
        return Trunk(
            stages=resnet.stages(config),
            skip="layer1",
            skip_channels=resnet.CHANNELS[0],
            channels=resnet.CHANNELS[-1],
        )
    return Trunk(
        stages=wider_resnet.stages(config),
        skip="mod2",
        skip_channels=config.channels[0][-1],
        channels=config.channels[5][-1],
    )
