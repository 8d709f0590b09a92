"""What the report reads of ``metrics.json``, ``curves.json`` and ``images.json``, validated.

Figures are fractions, thresholds raw score units.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from abet.metrics.bootstrap import PROTOCOL as BOOTSTRAP


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
    threshold_of: str | None = None
    """What the threshold is one of, where it is not of the raw score."""
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
    protocols: dict[str, dict[str, JsonValue]] = {}
    """Protocol -> its entry, whatever figures it has; only of an evaluation with ``--protocols``."""

    @model_validator(mode="after")
    def _intervals_are_whole(self) -> Self:
        """A damaged entry is found where the file is read, not where it is shown."""
        assert self.intervals is None or self.intervals.resamples
        return self

    @property
    def intervals(self) -> Intervals | None:
        """The figures over resampled images; None without them."""
        entry = self.protocols.get(BOOTSTRAP)
        return None if entry is None else Intervals.model_validate(entry)

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
    fitted_sha256: str | None = None
    """Of the fitted file that decided what the scores were, where one did."""
    images: int
    list_sha256: str | None = None
    """Fingerprint of which files were read: their names and sizes."""
    checkpoint: CheckpointReference
    pixels: PixelCounts
    scores: dict[str, ScoreFigures]
    paired_differences: list[dict[str, JsonValue]] = []


class Roc(Record):
    """Points of the ROC curve, from the lowest false positive rate on."""

    fpr: list[float]
    tpr: list[float]
    threshold: list[float | None] = []


class PrecisionRecall(Record):
    """Points of the precision-recall curve."""

    recall: list[float]
    precision: list[float]
    threshold: list[float | None] = []


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


class CountBounds(Record):
    """Pixels of each image, at least and at most."""

    low: list[int]
    high: list[int]


class FigureColumn(Record):
    """One figure of each image with its bracket; null for an image without it."""

    value: list[float | None]
    low: list[float | None]
    high: list[float | None]


class ImageFigures(Record):
    """One score on each image: its own figures, and what the set's 95% threshold does to it."""

    auroc: FigureColumn
    ap: FigureColumn
    fpr95: FigureColumn
    threshold: float | None = None
    false_positives: CountBounds | None = None
    missed: CountBounds | None = None


class ImagePixels(Record):
    """Pixels of each image by kind."""

    id: list[int]
    ood: list[int]


class ImageTable(Record):
    """``images.json``: all lists run along ``images``."""

    schema_: Literal[1] = Field(alias="schema")
    images: list[str]
    pixels: ImagePixels
    scores: dict[str, ImageFigures]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        parts: list[CountBounds | FigureColumn] = []
        for figures in self.scores.values():
            bounds = [part for part in (figures.false_positives, figures.missed) if part is not None]
            parts += [figures.auroc, figures.ap, figures.fpr95, *bounds]
        columns = [column for part in (self.pixels, *parts) for column in dict(part).values()]
        if any(len(column) != len(self.images) for column in columns):
            raise ValueError("columns of different length")
        return self
