"""Scores in closed form: of the logits, the cosine and the temperature alone, with nothing to fit.

All are computed from differences to the largest class, so that no logit is too large, and confident pixels stay apart
until float32 itself underflows. Where that difference is not defined (a NaN among the logits, two of +inf, none above
-inf) the scores computed from it are NaN. `abet.metrics` ranks NaN above every number, so that broken pixels are
flagged first, and counts them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from abet.scores.score import Observation

if TYPE_CHECKING:
    from torch import Tensor


def _gaps(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The largest logit (B, H, W), and every class's difference to it with -inf in that one class's place."""
    logits = logits.float()
    top, winner = logits.max(dim=1, keepdim=True)
    return top[:, 0], (logits - top).scatter_(1, winner, -math.inf)


def _log_sum_exp(logits: Tensor) -> Tensor:
    top, gaps = _gaps(logits)
    return top + gaps.exp_().sum(1).log1p_()


def abet(seen: Observation) -> Tensor:
    """-log sum_k exp(c_k / T), in (-inf, inf): only the inner temperature of the energy is kept."""
    return -_log_sum_exp(seen.logits)


def energy(seen: Observation) -> Tensor:
    """-T log sum_k exp(l_k), with the learned temperature also in front; T = 1 without one.

    T log sum exp(c/T) = max c + T log(1 + sum of exp((c_k - max c)/T)): no quotient is multiplied back.
    """
    if seen.cosine is None or seen.temperature is None:
        return -_log_sum_exp(seen.logits)
    top, gaps = _gaps(seen.cosine)
    heat = seen.temperature.float()
    return -(top + heat[:, 0] * gaps.div_(heat).exp_().sum(1).log1p_())


def entropy(seen: Observation) -> Tensor:
    """Entropy of the softmax in nats, in [0, ln C]: log Z - sum_k p_k (l_k - max l), two non-negative terms.

    Rounding may carry the sum past ln C, where the 100-bin protocol would drop it: it is cut to the largest float32
    that is not above.
    """
    _, gaps = _gaps(seen.logits)
    weights = gaps.exp()
    rest = weights.sum(1)
    # exp(-200) is zero in float32: such a class adds nothing, but 0 * -inf would be NaN
    mean_gap = gaps.clamp_(min=-200).mul_(weights).sum(1).div_(1 + rest)
    return (rest.log1p_() - mean_gap).clamp_(max=_float32_below(math.log(seen.logits.shape[1])))


def _float32_below(value: float) -> float:
    """The largest float32 (24 binary digits) that is not above a value of ordinary size."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(math.floor(math.ldexp(mantissa, 24)), exponent - 24)


def msp(seen: Observation) -> Tensor:
    """1 - max softmax, in [0, 1 - 1/C], as s / (1 + s): what the other classes hold, not one minus nearly one."""
    rest = _gaps(seen.logits)[1].exp_().sum(1)
    return rest / (1 + rest)


def max_logit(seen: Observation) -> Tensor:
    """-max_k l_k, in (-inf, inf)."""
    return -seen.logits.float().amax(1)


def godin(seen: Observation) -> Tensor:
    """The learned temperature itself, in (0, 1]."""
    assert seen.temperature is not None, "missing() tells which heads have none"
    return seen.temperature[:, 0].float()


def max_cosine(seen: Observation) -> Tensor:
    """-max_k c_k, in [-1, 1]."""
    assert seen.cosine is not None, "missing() tells which heads have none"
    return -seen.cosine.float().amax(1)
