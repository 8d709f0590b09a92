"""Typed, frozen configuration. A recipe in ``abet/recipes/`` is one complete YAML file; nothing is inherited.
The network's section is `abet.model_config`.

abet show-config demo_finetune
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from abet.errors import unknown_name
from abet.model_config import ModelConfig
from abet.settings import Count, Number, Positive, PositiveNumber, Probability, Strict, override, parse, read_yaml

Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


class DataConfig(Strict):
    """What is learned from, and what the mIoU is measured on. Roots stand in the site file, never here."""

    dataset: str = Field(description="a training set by name: mapillary or cityscapes")
    train_split: str = Field(description="split that is trained on")
    validation_split: str = Field(description="split that the mIoU is measured on, every image of it")
    validation_height: Positive | None = Field(
        description="rows of the square that validation images are resized and cut or padded to; null: as they are"
    )
    workers_per_process: Count = Field(description="loader processes per GPU; 0 loads in a thread of the trainer")


class AugmentationConfig(Strict):
    """What happens to a training image and its label, together and in this order: scale, crop, flip, colours, blur."""

    scale_min: PositiveNumber = Field(description="smallest factor that an image is resized by")
    scale_max: PositiveNumber = Field(description="largest factor; factors are drawn uniformly")
    crop_height: Positive = Field(description="rows of a crop, in pixels; smaller images are padded with ignore")
    crop_width: Positive = Field(description="columns of a crop, in pixels")
    flip_probability: Probability = Field(description="probability of a horizontal flip")
    brightness: Probability = Field(description="factors are drawn from 1 - this to 1 + this")
    contrast: Probability = Field(description="factors are drawn from 1 - this to 1 + this")
    saturation: Probability = Field(description="factors are drawn from 1 - this to 1 + this")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(description="shift of the hue, in turns: from -this to +this")
    blur_sigma_min: Number = Field(description="smallest standard deviation of the Gaussian blur, in pixels of a crop")
    blur_sigma_max: Number = Field(description="largest; they are drawn uniformly for every crop; 0 and 0: no blur")

    @model_validator(mode="after")
    def _ordered(self) -> "AugmentationConfig":
        if self.scale_min > self.scale_max:
            raise ValueError(f"scale_min {self.scale_min} is above scale_max {self.scale_max}")
        if self.blur_sigma_min > self.blur_sigma_max:
            raise ValueError(f"blur_sigma_min {self.blur_sigma_min} is above blur_sigma_max {self.blur_sigma_max}")
        return self


class SamplingConfig(Strict):
    """Class-uniform sampling: a share of each epoch are crops around things of each class, as many for every class."""

    class_uniform_share: Probability = Field(
        description="share of an epoch's crops that are taken around a class, evenly over the classes; 0: none"
    )
    tile_pixels: Positive = Field(
        description="side of the squares that labels are cut into; each has one place per class that occurs in it"
    )
    boost_split: str | None = Field(
        description="a further split with coarse labels whose places of some classes join in; null: none"
    )
    boost_classes: tuple[Count, ...] = Field(description="train ids of the classes that boost_split adds places of")
    last_boosted_epoch: Count = Field(description="from the epoch after this one (from 0) on, boost_split is left out")

    @model_validator(mode="after")
    def _boosted(self) -> "SamplingConfig":
        if bool(self.boost_classes) != (self.boost_split is not None):
            raise ValueError("boost_split and boost_classes go together: give both, or null and []")
        if self.boost_split is not None and self.class_uniform_share == 0:
            raise ValueError("boost_split adds places of classes, which a class_uniform_share of 0 never visits")
        return self


class BatchConfig(Strict):
    """``global_batch`` = ``batch_per_gpu`` x processes x ``accumulation``, on any number of GPUs."""

    global_batch: Positive = Field(description="crops per optimiser step, over all processes")
    batch_per_gpu: Positive = Field(description="crops in memory of one process at a time")
    accumulation: Positive | None = Field(
        description="forward and backward passes per optimiser step; null: whatever the number of processes needs"
    )


LOSS_KINDS = "cross_entropy, image_weighted or relaxed: what is minimised; each kind has keys of its own"


class CrossEntropyConfig(Strict):
    """The mean of -log softmax over the valid pixels of a global batch."""

    kind: Literal["cross_entropy"] = Field(description=LOSS_KINDS)


ClassWeightBound = Annotated[Number, Field(description="a class weighs 1 + this x (1 - its share of the crop); 0: 1")]
ImagesSummed = Annotated[
    PositiveNumber,
    Field(
        description="the loss is this many times the mean over images: the reference sums over the crops of one GPU "
        "(two) and averages over GPUs"
    ),
]


class ImageWeightedConfig(Strict):
    """Cross-entropy in which classes that are rare in a crop weigh more, a mean within each image."""

    kind: Literal["image_weighted"] = Field(description=LOSS_KINDS)
    class_weight_bound: ClassWeightBound
    batch_statistics: bool = Field(description="shares are of the crops of a micro-batch together, not of each crop")
    images_summed: ImagesSummed


class RelaxedConfig(Strict):
    """Boundary label relaxation: near a boundary any class of the 3x3 window is right; hard labels at the end."""

    kind: Literal["relaxed"] = Field(description=LOSS_KINDS)
    class_weight_bound: ClassWeightBound
    strict_classes: tuple[Count, ...] = Field(description="train ids whose own pixels are never relaxed: thin things")
    last_relaxed_epoch: Count = Field(
        description="from the epoch after this one (from 0) on labels are hard, and boundary pixels count twice"
    )
    images_summed: ImagesSummed


LossConfig = Annotated[CrossEntropyConfig | ImageWeightedConfig | RelaxedConfig, Field(discriminator="kind")]


class SecondPhaseConfig(Strict):
    """The learning rate starts again: the reference's scl-poly, for the epochs with hard labels."""

    from_epoch: Positive = Field(description="first epoch (from 0) of the second phase")
    rescale: PositiveNumber = Field(description="the second phase starts with this x learning_rate")
    poly_exponent: Number = Field(description="exponent of the second phase")


class OptimiserConfig(Strict):
    """SGD with momentum and the polynomial schedule lr(t) = learning_rate * (1 - t / end) ** poly_exponent."""

    learning_rate: PositiveNumber = Field(description="of the first step")
    momentum: Probability = Field(description="share of the last update that is kept")
    weight_decay: Number = Field(description="L2 penalty on every parameter, normalisation included, as the reference")
    schedule_unit: Literal["step", "epoch"] = Field(description="when the rate changes; the reference: each epoch")
    poly_exponent: Number = Field(description="1: a straight line to zero; 0: constant")
    second_phase: SecondPhaseConfig | None = Field(description="a second fall of the rate; null: none")


class QuirkConfig(Strict):
    """What the reference's training does against its evident intent, each off unless one repeats its numbers."""

    border_weights_of_whole_batch: bool = Field(
        default=False,
        description="relaxed loss: sum each image's loss once per image of the micro-batch, with that one's boundary "
        "weights: with two crops about twice the loss, so set loss.images_summed to half",
    )
    schedule_one_epoch_ahead: bool = Field(
        default=False, description="epoch e uses the learning rate of e + 1, and the last epoch 0 (torch 1.1 and newer)"
    )
    ignored_count_as_last_class: bool = Field(
        default=False, description="image-weighted loss: ignored pixels count as the last class in the class shares"
    )
    boosted_centroids_never_cut: bool = Field(
        default=False, description="places of sampling.boost_split stay after sampling.last_boosted_epoch"
    )
    centroid_unmoved_by_padding: bool = Field(
        default=False, description="a padded crop looks for its class where it was before the padding moved it"
    )
    validation_images_dropped: bool = Field(
        default=False, description="each process validates floor(images / processes) images; the rest are left out"
    )


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
    start_weights: Literal["none", "imagenet_trunk", "pretraining"] = Field(
        description="what a job starts from when no snapshot is named: nothing; the trunk that was trained on "
        "ImageNet, without which it is refused; the promoted pre-training"
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
    sampling: SamplingConfig
    augmentation: AugmentationConfig
    batch: BatchConfig
    loss: LossConfig
    optimiser: OptimiserConfig
    training: TrainingConfig
    reference_quirks: QuirkConfig = QuirkConfig()

    @model_validator(mode="after")
    def _known_classes(self) -> "Recipe":
        lists = {"sampling.boost_classes": self.sampling.boost_classes}
        if isinstance(self.loss, RelaxedConfig):
            lists["loss.strict_classes"] = self.loss.strict_classes
        for name, train_ids in lists.items():
            if unknown := [str(train_id) for train_id in train_ids if train_id >= self.model.num_classes]:
                raise ValueError(
                    f"{name}: {', '.join(unknown)} is no train id of {self.model.num_classes} classes: they count "
                    f"from 0 to {self.model.num_classes - 1}"
                )
        return self


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
