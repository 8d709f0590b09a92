"""What a score is, and what it is computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args

if TYPE_CHECKING:
    from torch import Tensor

    from abet.model_config import TemperatureModel
    from abet.models.head import Output
    from abet.scores.fitted import Fitted

Need = Literal["logits", "cosine", "temperature", "features"]
NEEDS: Final[tuple[str, ...]] = get_args(Need)


class Head(Protocol):
    """A network's last step, which scores that change features or weights take once more."""

    def class_weights(self) -> Tensor:
        """(C, K): what the features are multiplied by; unit directions for the learned head."""

    def classify(self, features: Tensor, size: tuple[int, int], *, mask: Tensor | None = None) -> Output:
        """What the network says of features (B, K, h, w) at ``size``; ``mask`` (C, K) multiplies the class weights."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """One pass of a network over a batch: all that a score may look at. Tensors lie on the network's device."""

    logits: Tensor
    """(B, C, H, W)."""
    cosine: Tensor | None = None
    """(B, C, H, W) in [-1, 1]; None for a head without one."""
    temperature: Tensor | None = None
    """(B, 1, H, W) in (0, 1]; None for a head without one."""
    features: Tensor | None = None
    """(B, K, h, w): the decoder's features, at half or a quarter of the size; None where no score asked for them."""
    head: Head | None = None
    """The network's own; there whenever the features are."""
    fitted: Fitted | None = None
    """What `abet fit` found for these weights; None where nothing is fitted."""
    _kept: dict[str, Output] = field(default_factory=dict, init=False, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.logits.shape[-2], self.logits.shape[-1]

    def again(self, name: str, classify: Callable[[Observation], Output]) -> Observation:
        """What the head says after ``classify``; the last one by ``name`` is kept, since its scores follow each other.

        The outputs at full size are as large as the first: one more is in memory, not one for every kind.
        """
        if name not in self._kept:
            self._kept.clear()
            self._kept[name] = classify(self)
        return Observation(**self._kept[name]._asdict())


@dataclass(frozen=True, kw_only=True)
class Score:
    """One row of the table. A plug-in makes one too (docs/scores.md)."""

    key: str
    """Name on the command line and in metrics.json."""
    formula: str
    """With l the logits, c the cosine, T the temperature, k the classes, x a position's features."""
    source: str
    needs: tuple[Need, ...]
    """Maps of the network's output without which the score is not defined."""
    function: Callable[[Observation], Tensor]
    """To (B, H, W) float32, higher = more OOD, raw units."""
    fitted: str | None = None
    """What of it `abet fit` finds on in-distribution images; None: nothing."""
    reference: Callable[[Any, int], Any] | None = None
    """(raw, num_classes) to the reference's score, element by element; meant for [0, 1] but not bound to it; arrays or
    tensors. It must not fall anywhere as raw rises, NaN being below all: bins are counted by their edges in raw."""
    reference_absent: str | None = None
    """Why the reference has no such score."""
    distribution: str | None = None
    """Name and version of the installed package that brings it; None: abet's own."""

    def __post_init__(self) -> None:
        assert (self.reference is None) != (self.reference_absent is None), self.key


def missing(score: Score, head: TemperatureModel) -> str | None:
    """Why a head of this kind does not define ``score``; None when it does. Never substituted by another score."""
    provided = ("logits", "features", *(("cosine", "temperature") if head == "learned" else ()))
    absent = [name for name in score.needs if name not in provided]
    if not absent:
        return None
    return f"score {score.key} needs the learned {' and '.join(absent)}, which a network with head {head!r} lacks"
