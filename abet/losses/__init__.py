"""What training minimises: plain cross-entropy, image-weighted cross-entropy, and the relaxed boundary loss.

    loss = make_loss(recipe.loss, recipe.reference_quirks, recipe.model.num_classes)
    total = loss(logits, labels, epoch)

Each is a sum, over valid pixels or over images, that adds up over micro-batches and processes (but not with class
shares, or the reference's boundary weights, of a whole micro-batch); `objective_scale` says what the sum over a global
batch is multiplied by.
"""

from collections.abc import Callable

from torch import Tensor

from abet.config import CrossEntropyConfig, ImageWeightedConfig, LossConfig, QuirkConfig
from abet.losses.cross_entropy import count_valid, cross_entropy_sum
from abet.losses.image_weighted import image_weighted_sum
from abet.losses.relaxed import hard_boundary_sum, relaxed_sum

__all__ = ["LossSum", "count_valid", "cross_entropy_sum", "make_loss", "objective_scale", "units"]

LossSum = Callable[[Tensor, Tensor, int], Tensor]
"""(logits (B, C, H, W), labels (B, H, W), epoch from 0) -> scalar float32, with a gradient."""


def make_loss(config: LossConfig, quirks: QuirkConfig, num_classes: int) -> LossSum:
    """The loss of a recipe as a sum over a micro-batch: over its valid pixels, or over its images."""
    if isinstance(config, CrossEntropyConfig):
        return lambda logits, labels, _: cross_entropy_sum(logits, labels)
    if isinstance(config, ImageWeightedConfig):
        return lambda logits, labels, _: image_weighted_sum(
            logits,
            labels,
            bound=config.class_weight_bound,
            batch_statistics=config.batch_statistics,
            ignored_count_as_last=quirks.ignored_count_as_last_class,
        )
    relaxed, strict = config, tuple(config.strict_classes)
    assert all(train_id < num_classes for train_id in strict), "a Recipe has none beyond its classes"

    def relaxed_then_hard(logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
        bound, mixed = relaxed.class_weight_bound, quirks.border_weights_of_whole_batch
        if epoch <= relaxed.last_relaxed_epoch:
            return relaxed_sum(logits, labels, bound=bound, strict=strict, border_weights_of_whole_batch=mixed)
        return hard_boundary_sum(logits, labels, bound=bound, border_weights_of_whole_batch=mixed)

    return relaxed_then_hard


def units(config: LossConfig, *, valid_pixels: int, images: int) -> int:
    """What a loss is a sum over, of a global batch: its valid pixels or its images. The mean is the sum over these."""
    return valid_pixels if isinstance(config, CrossEntropyConfig) else images


def objective_scale(config: LossConfig, *, valid_pixels: int, images: int) -> float:
    """What the sum over a global batch is multiplied by before its gradient is taken.

    Plain cross-entropy is a mean over valid pixels. The others are means over images, times ``images_summed``: the
    reference sums over the images of a process and averages over processes, so with two crops per GPU it minimises
    twice the mean. Here that does not depend on the number of processes.
    """
    weight = 1.0 if isinstance(config, CrossEntropyConfig) else config.images_summed
    return weight / max(units(config, valid_pixels=valid_pixels, images=images), 1)
