"""What the report reads of ``metrics.json`` and ``curves.json``: fractions, counts and raw score units, validated."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """Frozen; keys that we do not show are allowed, numbers that JSON cannot hold are not."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Figure(Record):
    """One figure as a fraction, with the bracket that contains its exact value; all null when it is undefined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class FprFigure(Figure):
    """False positive rate, with the operating point it was taken at (threshold in raw score units)."""

    tpr: float | None = None
    threshold: float | None = None


class ByKind(Record):
    """A pixel count for each of the two kinds."""

    id: int = 0
    ood: int = 0


class ReferenceFigures(Record):
    """The paper's 100-bin protocol: fractions, and how many pixels it leaves out."""

    auroc: float | None = None
    auprc: float | None = None
    fpr95: float | None = None
    tpr: float | None = None
    threshold: float | None = None
    dropped: ByKind = ByKind()
    reason: str | None = None
    protocol: str | None = None


class Interval(Record):
    """An interval of a figure over resampled images, as fractions."""

    low: float
    high: float


class Intervals(Record):
    """What ``abet evaluate --protocols`` adds by drawing images anew; a figure without a defined draw is null."""

    confidence: float
    resamples: int
    auroc: Interval | None = None
    ap: Interval | None = None
    fpr95: Interval | None = None


class Protocols(Record):
    """Of the further protocols, the one that is shown beside the figures."""

    intervals: Intervals | None = Field(default=None, alias="image-bootstrap")


class ScoreFigures(Record):
    """Everything measured of one score on one data set."""

    protocol: str | None = None
    auroc: Figure | None = None
    ap: Figure | None = None
    fpr95: FprFigure | None = None
    non_finite: ByKind | None = None
    reference_protocol: ReferenceFigures | None = None
    reference_protocol_reason: str | None = None
    reason: str | None = None
    protocols: Protocols = Protocols()

    @property
    def threshold(self) -> float | None:
        """The raw score that 95% of the OOD pixels reach, if it is defined."""
        return self.fpr95.threshold if self.fpr95 else None


class PixelCounts(Record):
    """How many pixels of each kind were evaluated."""

    id: int
    ood: int
    void: int


class CheckpointReference(Record):
    """Which weights were evaluated."""

    uri: str
    sha256: str

    @property
    def name(self) -> str:
        """The last part of the URI: a folder or a file."""
        return self.uri.rstrip("/").rpartition("/")[2] or self.uri


class Metrics(Record):
    """``metrics.json``."""

    schema_: Literal[1] = Field(alias="schema")
    dataset: str
    split: str | None = None
    ood_definition: str | None = None
    images: int
    checkpoint: CheckpointReference
    pixels: PixelCounts
    scores: dict[str, ScoreFigures]


class Roc(Record):
    """Points of the ROC curve, from the lowest false positive rate on."""

    fpr: list[float]
    tpr: list[float]


class PrecisionRecall(Record):
    """Points of the precision-recall curve."""

    recall: list[float]
    precision: list[float]


class Histogram(Record):
    """Share of the ID and of the OOD pixels per bin: n + 1 edges in raw score units, n shares each."""

    edges: list[float]
    id: list[float]
    ood: list[float]


class Curves(Record):
    """The curves of one score; a part that is undefined is null."""

    roc: Roc | None = None
    pr: PrecisionRecall | None = None
    histogram: Histogram | None = None
    threshold: float | None = None


class CurvesFile(Record):
    """``curves.json``."""

    schema_: Literal[1] = Field(alias="schema")
    scores: dict[str, Curves | None]
