"""Made scores that are hard on an evaluation protocol; each says in measured words what it shows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from abet.labels import ID, OOD, VOID
from abet.scores import SCORES, Observation

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]

CLASSES: Final = 19
HEIGHT, WIDTH = 256, 512
IMAGES: Final = 8
FEW: Final = 12


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """Scores (images, H, W) as abet computes them and as the reference does, for [0, 1]; and what they show."""

    name: str
    shows: str
    raw: Floats
    reference: Floats
    labels: Labels


def scenes(rng: np.random.Generator, images: int = IMAGES) -> Labels:
    """(images, H, W): a quarter of void above, and OOD rectangles below."""
    labels = np.full((images, HEIGHT, WIDTH), ID, np.uint8)
    labels[:, : HEIGHT // 4] = VOID
    for label in labels:
        for _ in range(4):
            top, left = rng.integers(HEIGHT // 4, HEIGHT - 40), rng.integers(WIDTH - 60)
            label[top : top + rng.integers(8, 40), left : left + rng.integers(8, 60)] = OOD
    return labels


def drawn(rng: np.random.Generator, labels: Labels, known: tuple[float, float], unknown: tuple[float, float]) -> Floats:
    """Normal scores of (mean, standard deviation) for ID and for OOD pixels."""
    mean, deviation = (np.where(labels == OOD, b, a).astype(np.float32) for a, b in zip(known, unknown, strict=True))
    return np.asarray(mean + deviation * rng.standard_normal(labels.shape, np.float32), np.float32)


def share(chosen: npt.NDArray[np.bool_], labels: Labels, kind: int | None = None) -> str:
    """How many percent of the evaluated pixels, of one kind or all, are chosen."""
    among = labels != VOID if kind is None else labels == kind
    return f"{100 * np.count_nonzero(chosen & among) / np.count_nonzero(among):.1f}%"


def naive_msp(logits: torch.Tensor) -> torch.Tensor:
    """1 - max softmax as the reference has it: exp without a shift, in float32; (B, C, H, W) to (B, H, W)."""
    weights = logits.exp()
    return 1 - (weights / weights.sum(1, keepdim=True)).amax(1)


def _msp(lead: Floats, top: float | None, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Ours and the naive MSP of logits whose largest one leads by ``lead``; ``top``: its value, None for ``lead``."""
    raw, naive = np.empty_like(lead), np.empty_like(lead)
    for place, one in enumerate(lead):
        logits = rng.normal(0, 0.5, (1, CLASSES, *one.shape)).astype(np.float32)
        logits[0, 0] = one
        if top is not None:
            logits += np.float32(top) - one
        tensor = torch.from_numpy(logits)
        raw[place] = SCORES["msp"].function(Observation(logits=tensor))[0].numpy()
        naive[place] = naive_msp(tensor)[0].numpy()
    return raw, naive


def saturated_msp(rng: np.random.Generator) -> Case:
    """Networks this confident on most pixels are usual."""
    labels = scenes(rng)
    lead = drawn(rng, labels, (20, 2), (17, 2)).clip(1, 60)
    lead = np.where((labels == OOD) & (rng.random(labels.shape) < 0.3), np.float32(4), lead)
    raw, naive = _msp(lead, None, rng)
    assert (raw > 0).all()
    zero, lowest = share(naive == 0, labels), share(naive < 0.01, labels)
    return Case(
        name="saturated MSP",
        shows=f"1 - max p of a naive softmax is exactly 0 in {zero} of the pixels, ours in none; {lowest} "
        "share the lowest bin",
        raw=raw, reference=naive, labels=labels,
    )  # fmt: skip


def overflowing_softmax(rng: np.random.Generator) -> Case:
    """exp(88.8) is infinite in float32: the largest logit is cos / T, and T may be 0.01."""
    labels = scenes(rng)
    lead = drawn(rng, labels, (6, 2), (3, 2)).clip(0.5, 30)
    top = np.float32(92)
    raw, naive = _msp(lead, None, rng)
    high = rng.random(len(labels)) < 0.5
    high[:2] = True, False
    raw[high], naive[high] = _msp(lead[high], float(top), rng)
    broken = np.isnan(naive)
    assert np.isfinite(raw).all()
    return Case(
        name="softmax overflows",
        shows=f"logits of 92 in some images: naive MSP is NaN in {share(broken, labels)} of the pixels, ours in none",
        raw=raw, reference=naive, labels=labels,
    )  # fmt: skip


def large_logsumexp(rng: np.random.Generator) -> Case:
    """cos / T passes 19 from T = 0.05 down: the surest pixels."""
    labels = scenes(rng)
    raw = -drawn(rng, labels, (24, 6), (17, 6))
    reference = np.asarray(1 + raw / np.float32(CLASSES), np.float32)
    lost = reference < 0
    return Case(
        name="logsumexp above 19",
        shows=f"the reference's AbeT score is negative, hence dropped, in {share(lost, labels, ID)} of the ID and "
        f"{share(lost, labels, OOD)} of the OOD pixels",
        raw=raw, reference=reference, labels=labels,
    )  # fmt: skip


def heavy_ties(rng: np.random.Generator) -> Case:
    """As of scores that were stored in few levels."""
    labels = scenes(rng)
    levels = np.array([0.1, 0.3, 0.5, 0.7, 0.9], np.float32)
    known = rng.choice(levels, labels.shape, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    unknown = rng.choice(levels, labels.shape, p=[0.015, 0.055, 0.31, 0.32, 0.3])
    raw = np.where(labels == OOD, unknown, known)
    count = np.unique(raw).size
    return Case(
        name="heavy ties",
        shows=f"{count} distinct scores; with TPRs of about 93 and 98.5% the nearest to 95% is too low",
        raw=raw, reference=raw, labels=labels,
    )  # fmt: skip


def narrow_range(rng: np.random.Generator) -> Case:
    """The paper's score is 1 - logsumexp / 19: logits of a few units fill few of the bins."""
    labels = scenes(rng)
    raw = -drawn(rng, labels, (7.0, 0.09), (6.8, 0.09))
    reference = np.asarray(1 + raw / np.float32(CLASSES), np.float32)
    used = np.histogram(reference[labels != VOID], np.linspace(0, 1, 101))[0]
    full = 1 + int(np.searchsorted(np.cumsum(np.sort(used)[::-1]), 0.99 * used.sum()))
    return Case(
        name="narrow range",
        shows=f"{np.unique(raw).size:,} distinct scores, and {full} of the 100 bins hold 99% of the pixels",
        raw=raw, reference=reference, labels=labels,
    )  # fmt: skip


def few_ood_pixels(rng: np.random.Generator) -> Case:
    """One small object in a whole set."""
    labels = scenes(rng)
    labels[labels == OOD] = ID
    labels[0, HEIGHT // 2, :FEW] = OOD
    raw = drawn(rng, labels, (0.35, 0.08), (0.7, 0.06)).clip(0.001, 0.999)
    raw[0, HEIGHT // 2, 0] = 0.3
    found = int(np.count_nonzero(labels == OOD))
    return Case(
        name="few OOD pixels",
        shows=f"{found} OOD among {np.count_nonzero(labels == ID):,} ID pixels: TPR moves in steps "
        f"of {100 / found:.1f} points",
        raw=raw, reference=raw, labels=labels,
    )  # fmt: skip


def jump_at_95(rng: np.random.Generator) -> Case:
    """More than half of the OOD pixels share one score with many ID pixels: no TPR lies between 45% and 100%."""
    labels = scenes(rng)
    raw = drawn(rng, labels, (0.3, 0.08), (0.8, 0.05)).clip(0.001, 0.999)
    places = rng.permutation(np.flatnonzero(labels == OOD))
    raw.ravel()[places[: round(0.55 * places.size)]] = 0.45
    raw[(labels == ID) & (rng.random(labels.shape) < 0.3)] = 0.45
    tied = raw == np.float32(0.45)
    return Case(
        name="TPR jumps past 95%",
        shows=f"{share(tied, labels, OOD)} of the OOD and {share(tied, labels, ID)} of the ID pixels share one score: "
        "the nearest point has a TPR of 1, and AbeT steps back from it to one of 45%",
        raw=raw, reference=raw, labels=labels,
    )  # fmt: skip


def nan_scores(rng: np.random.Generator) -> Case:
    """As after an overflow in half precision."""
    labels = scenes(rng)
    raw = drawn(rng, labels, (0.4, 0.1), (0.6, 0.1)).clip(0.001, 0.999)
    chance = np.where(labels == OOD, 0.1, 0.02)
    raw[rng.random(labels.shape) < chance] = np.nan
    broken = np.isnan(raw)
    return Case(
        name="NaN",
        shows=f"NaN in {share(broken, labels, ID)} of the ID and {share(broken, labels, OOD)} of the OOD pixels: "
        "dropped there; flagged first and counted here",
        raw=raw, reference=raw, labels=labels,
    )  # fmt: skip


CASES: Final[Mapping[str, Callable[[np.random.Generator], Case]]] = MappingProxyType(
    {
        make.__name__: make
        for make in (
            saturated_msp, overflowing_softmax, large_logsumexp, heavy_ties, narrow_range, few_ood_pixels, jump_at_95,
            nan_scores,
        )
    }
)  # fmt: skip


def blobs(rng: np.random.Generator, levels: float | None = None) -> tuple[Floats, Labels]:
    """Smooth noise of 128 x 256 whose objects touch several predictions and the reverse; ``levels``: the ties' step."""
    truth, noise = (_smooth(rng) for _ in range(2))
    labels = np.where(truth > 1.2, OOD, np.where(truth < -1.5, VOID, ID)).astype(np.uint8)
    scores = truth + noise
    return (scores if levels is None else np.round(scores / np.float32(levels)) * np.float32(levels)), labels


def _smooth(rng: np.random.Generator) -> Floats:
    field = rng.normal(size=(128, 256))
    for _ in range(4):
        field = sum((np.roll(field, shift, axis) for axis in (0, 1) for shift in (-1, 0, 1)), np.zeros_like(field))
    return np.asarray(field / field.std(), np.float32)
