"""The table of scores: key, formula, source, what each needs of the network and of `abet fit`."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from abet.scores import closed_form, features, shaping
from abet.scores.plugins import ScoreTable
from abet.scores.score import Observation, Score

if TYPE_CHECKING:
    from abet.models.head import Output

_CLOSED_FORM = (
    Score(
        key="abet",
        formula="-logsumexp_k(c_k / T)",
        source="AbeT, 2024, arXiv 2401.12129",
        needs=("logits", "temperature"),
        function=closed_form.abet,
        reference=lambda raw, num_classes: 1 + raw / num_classes,
    ),
    Score(
        key="energy",
        formula="-T logsumexp_k(l_k); T = 1 without a learned temperature",
        source="Liu et al., 2020, arXiv 2010.03759",
        needs=("logits",),
        function=closed_form.energy,
        reference_absent="the reference has no energy with the temperature in front",
    ),
    Score(
        key="entropy",
        formula="-sum_k p_k ln p_k, p = softmax(l), in nats",
        source="Meta-OoD, Chan et al., 2021, arXiv 2012.06575",
        needs=("logits",),
        function=closed_form.entropy,
        reference=lambda raw, num_classes: raw / math.log(num_classes),
    ),
    Score(
        key="msp",
        formula="1 - max_k softmax(l)_k",
        source="Hendrycks and Gimpel, 2017, arXiv 1610.02136",
        needs=("logits",),
        function=closed_form.msp,
        reference=lambda raw, num_classes: raw,
    ),
    Score(
        key="max_logit",
        formula="-max_k l_k",
        source="Hendrycks et al., 2022, arXiv 1911.11132",
        needs=("logits",),
        function=closed_form.max_logit,
        reference=lambda raw, num_classes: 1 + raw / 30,
    ),
    Score(
        key="godin",
        formula="T",
        source="Generalized ODIN, Hsu et al., 2020, arXiv 2002.11297",
        needs=("temperature",),
        function=closed_form.godin,
        reference=lambda raw, num_classes: raw,
    ),
    Score(
        key="max_cosine",
        formula="-max_k c_k",
        source="Techapanurak et al., 2020, arXiv 1905.10628",
        needs=("cosine",),
        function=closed_form.max_cosine,
        reference_absent="the reference has no score from the cosine alone",
    ),
)

_DISTANCES = (
    Score(
        key="sml",
        formula="-(max_k l_k - mu) / sigma, by the predicted class",
        source="Jung et al., 2021, arXiv 2107.11264",
        needs=("logits",),
        function=features.sml,
        fitted="mean and variance of the largest logit, by predicted class",
        reference=lambda raw, num_classes: 0.3 + raw / 10,
    ),
    Score(
        key="mahalanobis",
        formula="min_k (x - mu_k)^T S^-1 (x - mu_k)",
        source="Lee et al., 2018, arXiv 1807.03888",
        needs=("features",),
        function=features.mahalanobis,
        fitted="mean of the features by class, and their shared covariance",
        reference_absent="the reference has no score of the features",
    ),
    Score(
        key="knn",
        formula="distance of x / ||x|| to its k-th nearest in a bank",
        source="Sun et al., 2022, arXiv 2204.06507",
        needs=("features",),
        function=features.knn,
        fitted="a bank of features, the same share of every class",
        reference_absent="the reference has no score of the features",
    ),
)

_SHAPINGS: tuple[tuple[Callable[[Observation], "Output"], str, str, str | None], ...] = (
    (
        shaping.react,
        "of min(x, r), r a percentile of ID activations",
        "ReAct, Sun et al., 2021, arXiv 2111.12797",
        "the percentile of all activations",
    ),
    (
        shaping.dice,
        "by the class weights of the largest mean w_ck x_k",
        "DICE, Sun and Li, 2022, arXiv 2111.09805",
        "the mean features",
    ),
    (
        shaping.ash,
        "of the largest 40% of each x, the rest 0",
        "ASH-P, Djurisic et al., 2023, arXiv 2209.09858",
        None,
    ),
)


def _shaped() -> tuple[Score, ...]:
    return tuple(
        Score(
            key=f"{shape.__name__}_{row.key}",
            formula=f"{row.key} {formula}",
            source=source,
            needs=(*(need for need in row.needs if need != "logits"), "features"),  # which become logits again
            function=shaping.shaped(shape.__name__, shape, row.function),
            fitted=fitted,
            reference_absent="the reference shapes no activations",
        )
        for shape, formula, source, fitted in _SHAPINGS
        for row in _CLOSED_FORM[:2]
    )


_OWN: Final = (*_CLOSED_FORM, *_DISTANCES, *_shaped())
OWN_KEYS: Final = tuple(row.key for row in _OWN)
"""Those of abet itself: no plug-in is looked for."""
SCORES: Final[Mapping[str, Score]] = ScoreTable(_OWN)
"""Every score by key, in the order of tables and reports; plug-ins, found when they are first asked for, stand last."""
