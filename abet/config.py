"""Typed, frozen configuration. A recipe in ``abet/recipes/`` is one complete YAML file; nothing is inherited.

abet show-config demo_finetune
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from abet.errors import unknown_name
from abet.settings import Strict, override, parse, read_yaml

Positive = Annotated[int, Field(ge=1, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Probability = Annotated[float, Field(ge=0, le=1)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
TemperatureModel = Literal["none", "baseline", "learned"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


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


class DataConfig(Strict):
    """What is learned from, and what the mIoU is measured on. Roots stand in the site file, never here."""

    dataset: str = Field(description="a training set by name: mapillary or cityscapes")
    train_split: str = Field(description="split that is trained on")
    validation_split: str = Field(description="split that the mIoU is measured on, every image of it")
    workers_per_process: Count = Field(description="loader processes per GPU; 0 loads in a thread of the trainer")


class AugmentationConfig(Strict):
    """What happens to a training image and its label, together and in this order: scale, crop, flip, colours."""

    scale_min: PositiveNumber = Field(description="smallest factor that an image is resized by")
    scale_max: PositiveNumber = Field(description="largest factor; factors are drawn uniformly")
    crop_height: Positive = Field(description="rows of a crop, in pixels; smaller images are padded with ignore")
    crop_width: Positive = Field(description="columns of a crop, in pixels")
    flip_probability: Probability = Field(description="probability of a horizontal flip")
    brightness: Probability = Field(description="factors are drawn from 1 - this to 1 + this")
    contrast: Probability = Field(description="factors are drawn from 1 - this to 1 + this")
    saturation: Probability = Field(description="factors are drawn from 1 - this to 1 + this")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(description="shift of the hue, in turns: from -this to +this")

    @model_validator(mode="after")
    def _ordered(self) -> "AugmentationConfig":
        if self.scale_min > self.scale_max:
            raise ValueError(f"scale_min {self.scale_min} is above scale_max {self.scale_max}")
        return self


class BatchConfig(Strict):
    """``global_batch`` = ``batch_per_gpu`` x processes x ``accumulation``, on any number of GPUs."""

    global_batch: Positive = Field(description="crops per optimiser step, over all processes")
    batch_per_gpu: Positive = Field(description="crops in memory of one process at a time")
    accumulation: Positive | None = Field(
        description="forward and backward passes per optimiser step; null: whatever the number of processes needs"
    )


class OptimiserConfig(Strict):
    """SGD with momentum and the polynomial schedule lr(t) = learning_rate * (1 - t / steps) ** poly_exponent."""

    learning_rate: PositiveNumber = Field(description="of the first step")
    momentum: Probability = Field(description="share of the last update that is kept")
    weight_decay: Number = Field(description="L2 penalty on every parameter, normalisation included, as the reference")
    poly_exponent: Number = Field(description="1: a straight line to zero; 0: constant")


class TrainingConfig(Strict):
    """How long, how exact, and how often things are measured and saved."""

    steps: Positive = Field(description="optimiser steps of the whole run")
    seed: Seed = Field(description="of initial weights, order, augmentation and dropout")
    precision: Precision = Field(
        description="auto: bfloat16 on Ampere and newer, float16 with loss scaling on older GPUs, float32 on CPU"
    )
    sync_batch_norm: bool = Field(description="batch statistics over all processes, the temperature's included")
    compile: bool = Field(
        description="train the network as torch.compile's fused kernels: a minute at each start, and other roundings"
    )
    activation_checkpointing: bool = Field(
        description="keep the inputs of the trunk's residual blocks alone and run them once more for their gradients: "
        "less memory, about a third more time"
    )
    reinitialise_classifier: bool = Field(
        description="start with a fresh classifier where the snapshot's has other classes or another kind of head"
    )
    log_every_steps: Positive = Field(description="steps between two lines of metrics.jsonl")
    validate_every_steps: Positive = Field(description="steps between two measurements of the mIoU; also at the end")
    checkpoint_every_steps: Positive = Field(description="steps between two checkpoints; also at the end")
    keep_last: Positive = Field(description="newest checkpoints that are kept, beside the one of the best mIoU")
    target_miou: Probability | None = Field(
        description="a run whose best mIoU stays below it ends as a failure, complete and saved; null: none"
    )

    @model_validator(mode="after")
    def _compiled_or_recomputed(self) -> "TrainingConfig":
        if self.compile and self.activation_checkpointing:
            raise ValueError("compile and activation_checkpointing exclude each other: set one of them to false")
        return self


class Recipe(Strict):
    """One complete job description."""

    description: str = Field(description="what the job is, in a sentence")
    model: ModelConfig
    data: DataConfig
    augmentation: AugmentationConfig
    batch: BatchConfig
    optimiser: OptimiserConfig
    training: TrainingConfig


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = resources.files("abet") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str, *, changes: Sequence[str] = ()) -> Recipe:
    """A shipped recipe by name, or one's own by the path of a ``.yaml`` file, with ``a.b=value`` changes applied.

    Raises:
        UsageError: an unknown recipe, a misspelt key, or a wrong value.
    """
    if name.endswith((".yaml", ".yml")):
        return parse(Recipe, override(Recipe, read_yaml(Path(name)), changes, source=name), source=name)
    if name not in recipe_names():
        raise unknown_name(kind="recipe", name=name, choices=recipe_names())
    source = f"recipe {name}"
    with resources.as_file(resources.files("abet") / "recipes" / f"{name}.yaml") as path:
        return parse(Recipe, override(Recipe, read_yaml(path), changes, source=source), source=source)
