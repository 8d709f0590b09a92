"""The network part of a recipe: which trunk, which head, how wide. A checkpoint keeps it beside its weights.

config = load_recipe("demo_finetune").model
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from abet.settings import Positive, Probability, Strict

TemperatureModel = Literal["none", "baseline", "learned"]


class WiderResNetConfig(Strict):
    """WiderResNet38-A2's family (Wu et al. 2016, arXiv 1611.10080; in-place ABN's A2 layout)."""

    kind: Literal["wider_resnet"] = Field(
        default="wider_resnet", description="the residual trunk: wider_resnet, resnet50 or resnet101"
    )
    stem_channels: Positive = Field(description="channels of mod1, the 3x3 convolution at full resolution")
    channels: tuple[tuple[Positive, ...], ...] = Field(
        description="per stage mod2..mod7 the channels of a block: two (3x3, 3x3) or three (1x1, 3x3, 1x1) convolutions"
    )
    blocks: tuple[Positive, ...] = Field(description="per stage mod2..mod7 the number of residual blocks")
    dropout: tuple[Probability, ...] = Field(
        default=(0.0, 0.0, 0.0, 0.0, 0.3, 0.5),
        description="per stage mod2..mod7 the probability that a channel is dropped before a block's last convolution",
    )

    @model_validator(mode="after")
    def _six_stages(self) -> "WiderResNetConfig":
        if {len(self.channels), len(self.blocks), len(self.dropout)} != {6}:
            raise ValueError("channels, blocks and dropout need one entry for each of the six stages mod2..mod7")
        if any(len(stage) not in (2, 3) for stage in self.channels):
            raise ValueError("a stage's channels are two (plain block) or three (bottleneck) numbers")
        return self


class ResNetConfig(Strict):
    """torchvision's ResNet (He et al. 2016, arXiv 1512.03385; stride in the 3x3 convolution): all of it is given."""

    kind: Literal["resnet50", "resnet101"] = Field(
        description="the residual trunk: wider_resnet, resnet50 or resnet101; the latter two have no further keys"
    )


def _default_kind(trunk: Any) -> Any:
    return {"kind": "wider_resnet", **trunk} if isinstance(trunk, dict) else trunk


TrunkConfig = Annotated[
    Annotated[WiderResNetConfig | ResNetConfig, Field(discriminator="kind")], BeforeValidator(_default_kind)
]
"""The residual trunk, a choice by ``kind``; without one (older checkpoints) it is a ``wider_resnet``."""


class ModelConfig(Strict):
    """DeepLabV3+ with one of the reference's three heads."""

    trunk: TrunkConfig
    num_classes: Positive = Field(description="classes that the head tells apart (Cityscapes 19, Mapillary 65)")
    temperature_model: TemperatureModel = Field(
        description="none: 1x1 classifier; baseline: biased 1x1, temperature 1; learned: cosine and temperature"
    )
    aspp_channels: Positive = Field(description="channels of each of the five ASPP branches")
    aspp_rates: tuple[Positive, Positive, Positive] = Field(
        description="dilations of the three 3x3 ASPP branches, stride 8"
    )
    skip_channels: Positive = Field(description="channels kept of mod2's (ResNet: layer1's) output for the decoder")
    decoder_channels: Positive = Field(description="channels of the decoder and of the penultimate features")
