"""Activation shaping: features or class weights are changed, and the head runs again; the trunk does not.

The features are changed at their own resolution, before the head enlarges what it makes of them. In a learned head the
cosine is of the changed features, so a factor common to all channels leaves it alone; the temperature, which is not
normalised, sees every change. Class weights are those of the cosine: the temperature's stay whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from abet.scores.score import Head, Observation

if TYPE_CHECKING:
    from torch import Tensor

    from abet.models.head import Output

ASH_PERCENTILE: Final = 60
"""Percent of a position's activations that ASH-P sets to zero; chosen with the demo's OOD sets in view, see docs."""
BLOCK_POSITIONS: Final = 1 << 16
"""Positions that are shaped at a time: 64 MiB of 256 channels."""


def shaped(
    name: str, shape: Callable[[Observation], Output], score: Callable[[Observation], Tensor]
) -> Callable[[Observation], Tensor]:
    """``score`` of what the head says after ``shape``."""
    return lambda seen: score(seen.again(name, shape))


def _parts(seen: Observation) -> tuple[Tensor, Head]:
    assert seen.features is not None, "the detector brings the features that a score needs"
    assert seen.head is not None
    return seen.features, seen.head


def react(seen: Observation) -> Output:
    """min(x, r) in every channel, r being a percentile of all ID activations."""
    assert seen.fitted is not None, "the detector tells what is not fitted"
    features, head = _parts(seen)
    return head.classify(features.clamp(max=float(seen.fitted["react.threshold"])), seen.size)


def dice_mask(seen: Observation) -> Tensor:
    """(C, K): 1 for class weights whose mean contribution w_ck E[x_k] is above the percentile of all, else 0.

    A learned head adds up w_ck x_k / ||x||, so there it is E[x / ||x||].
    """
    import torch

    assert seen.fitted is not None, "the detector tells what is not fitted"
    _, head = _parts(seen)
    weights = head.class_weights().double()
    mean = seen.fitted["dice.mean" if seen.cosine is None else "dice.mean_direction"]
    contributions = weights * mean
    limit = torch.quantile(contributions.flatten(), seen.fitted.header.settings.dice_percentile / 100)
    return (contributions > limit).float()


def dice(seen: Observation) -> Output:
    """The features as they are, by the class weights that contribute most; a bias stays."""
    features, head = _parts(seen)
    return head.classify(features, seen.size, mask=dice_mask(seen))


def ash(seen: Observation) -> Output:
    """ASH-P at every position: the largest 40% of its activations as they are, the others 0.

    ASH-S would multiply them by exp(sum before / sum after): that leaves a cosine alone, and saturates a temperature.
    """
    import torch

    features, head = _parts(seen)
    channels = features.shape[1]
    kept = max(1, channels - round(channels * ASH_PERCENTILE / 100))
    rows = features.permute(0, 2, 3, 1)
    shaped_rows = torch.empty_like(rows, memory_format=torch.contiguous_format)
    into = shaped_rows.view(-1, channels)
    parts = torch.split(rows.reshape(-1, channels), BLOCK_POSITIONS)
    for part, out in zip(parts, torch.split(into, BLOCK_POSITIONS), strict=True):
        # equal ones at the limit all stay: which of them were kept would else be the kernel's choice
        least = part.topk(kept, dim=1).values[:, -1:]
        out.copy_(part.masked_fill(part < least, 0))  # a NaN is not below, and stays
    return head.classify(shaped_rows.permute(0, 3, 1, 2), seen.size)
