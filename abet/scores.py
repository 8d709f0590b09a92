"""Pixel scores of how out-of-distribution (OOD) a pixel is; higher = more OOD.

abet scores

Every function is pure: (B, C, H, W) logits and cosine and (B, 1, H, W) temperature in, (B, H, W) float32 out, in raw
units (nothing is squashed to [0, 1]: ranking metrics need every digit). All are computed from differences to the
largest class, so that no logit is too large, and confident pixels stay apart until float32 itself underflows.

Where that difference is not defined (a NaN among the logits, two of +inf, none above -inf) the scores computed from it
are NaN. `abet.metrics` ranks NaN above every number, so that broken pixels are flagged first, and counts them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from abet.model_config import TemperatureModel

Map = Literal["logits", "cosine", "temperature"]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One row of the table."""

    key: str
    """Name on the command line and in metrics.json."""
    formula: str
    """With l the logits, c the cosine, T the temperature, k the classes."""
    source: str
    needs: tuple[Map, ...]
    """Maps of the head's output without which the score is not defined."""
    function: Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
    """(logits, cosine, temperature) to (B, H, W) float32, higher = more OOD, raw units."""
    reference: Callable[[Any, int], Any] | None = None
    """(raw, num_classes) to the reference's score, meant for [0, 1] but not bound to it; arrays or tensors."""
    reference_absent: str | None = None
    """Why the reference has no such score."""

    def __post_init__(self) -> None:
        assert (self.reference is None) != (self.reference_absent is None), self.key


def _gaps(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The largest logit (B, H, W), and every class's difference to it with -inf in that one class's place."""
    logits = logits.float()
    top, winner = logits.max(dim=1, keepdim=True)
    return top[:, 0], (logits - top).scatter_(1, winner, -math.inf)


def _log_sum_exp(logits: Tensor) -> Tensor:
    top, gaps = _gaps(logits)
    return top + gaps.exp_().sum(1).log1p_()


def abet(logits: Tensor, _cosine: Tensor | None, _temperature: Tensor | None) -> Tensor:
    """-log sum_k exp(c_k / T), in (-inf, inf): only the inner temperature of the energy is kept."""
    return -_log_sum_exp(logits)


def energy(logits: Tensor, cosine: Tensor | None, temperature: Tensor | None) -> Tensor:
    """-T log sum_k exp(l_k), with the learned temperature also in front; T = 1 without one.

    T log sum exp(c/T) = max c + T log(1 + sum of exp((c_k - max c)/T)): no quotient is multiplied back.
    """
    if cosine is None or temperature is None:
        return -_log_sum_exp(logits)
    top, gaps = _gaps(cosine)
    heat = temperature.float()
    return -(top + heat[:, 0] * gaps.div_(heat).exp_().sum(1).log1p_())


def entropy(logits: Tensor, _cosine: Tensor | None, _temperature: Tensor | None) -> Tensor:
    """Entropy of the softmax in nats, in [0, ln C]: log Z - sum_k p_k (l_k - max l), two non-negative terms.

    Rounding may carry the sum past ln C, where the 100-bin protocol would drop it: it is cut to the largest float32
    that is not above.
    """
    _, gaps = _gaps(logits)
    weights = gaps.exp()
    rest = weights.sum(1)
    # exp(-200) is zero in float32: such a class adds nothing, but 0 * -inf would be NaN
    mean_gap = gaps.clamp_(min=-200).mul_(weights).sum(1).div_(1 + rest)
    return (rest.log1p_() - mean_gap).clamp_(max=_float32_below(math.log(logits.shape[1])))


def _float32_below(value: float) -> float:
    """The largest float32 (24 binary digits) that is not above a value of ordinary size."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(math.floor(math.ldexp(mantissa, 24)), exponent - 24)


def msp(logits: Tensor, _cosine: Tensor | None, _temperature: Tensor | None) -> Tensor:
    """1 - max softmax, in [0, 1 - 1/C], as s / (1 + s): what the other classes hold, not one minus nearly one."""
    rest = _gaps(logits)[1].exp_().sum(1)
    return rest / (1 + rest)


def max_logit(logits: Tensor, _cosine: Tensor | None, _temperature: Tensor | None) -> Tensor:
    """-max_k l_k, in (-inf, inf)."""
    return -logits.float().amax(1)


def godin(_logits: Tensor, _cosine: Tensor | None, temperature: Tensor | None) -> Tensor:
    """The learned temperature itself, in (0, 1]."""
    assert temperature is not None, "missing() tells which heads have none"
    return temperature[:, 0].float()


def max_cosine(_logits: Tensor, cosine: Tensor | None, _temperature: Tensor | None) -> Tensor:
    """-max_k c_k, in [-1, 1]."""
    assert cosine is not None, "missing() tells which heads have none"
    return -cosine.float().amax(1)


_ROWS = (
    Score(
        key="abet",
        formula="-logsumexp_k(c_k / T)",
        source="AbeT, 2024, arXiv 2401.12129",
        needs=("logits", "temperature"),
        function=abet,
        reference=lambda raw, num_classes: 1 + raw / num_classes,
    ),
    Score(
        key="energy",
        formula="-T logsumexp_k(l_k); T = 1 without a learned temperature",
        source="Liu et al., 2020, arXiv 2010.03759",
        needs=("logits",),
        function=energy,
        reference_absent="the reference has no energy with the temperature in front",
    ),
    Score(
        key="entropy",
        formula="-sum_k p_k ln p_k, p = softmax(l), in nats",
        source="Meta-OoD, Chan et al., 2021, arXiv 2012.06575",
        needs=("logits",),
        function=entropy,
        reference=lambda raw, num_classes: raw / math.log(num_classes),
    ),
    Score(
        key="msp",
        formula="1 - max_k softmax(l)_k",
        source="Hendrycks and Gimpel, 2017, arXiv 1610.02136",
        needs=("logits",),
        function=msp,
        reference=lambda raw, num_classes: raw,
    ),
    Score(
        key="max_logit",
        formula="-max_k l_k",
        source="Hendrycks et al., 2022, arXiv 1911.11132",
        needs=("logits",),
        function=max_logit,
        reference=lambda raw, num_classes: 1 + raw / 30,
    ),
    Score(
        key="godin",
        formula="T",
        source="Generalized ODIN, Hsu et al., 2020, arXiv 2002.11297",
        needs=("temperature",),
        function=godin,
        reference=lambda raw, num_classes: raw,
    ),
    Score(
        key="max_cosine",
        formula="-max_k c_k",
        source="Techapanurak et al., 2020, arXiv 1905.10628",
        needs=("cosine",),
        function=max_cosine,
        reference_absent="the reference has no score from the cosine alone",
    ),
)

SCORES: Final[Mapping[str, Score]] = {row.key: row for row in _ROWS}
"""Every score by key, in the order of tables and reports."""


def missing(score: Score, head: TemperatureModel) -> str | None:
    """Why a head of this kind does not define ``score``; None when it does. Never substituted by another score."""
    provided: tuple[Map, ...] = ("logits", "cosine", "temperature") if head == "learned" else ("logits",)
    absent = [name for name in score.needs if name not in provided]
    if not absent:
        return None
    return f"score {score.key} needs the learned {' and '.join(absent)}, which a network with head {head!r} lacks"
