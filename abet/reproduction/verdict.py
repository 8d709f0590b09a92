"""Whether a published figure is reproduced: the paper's beside ours, by the paper's protocol and exact."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from abet.report.records import Metrics, ScoreFigures
from abet.reproduction.table import FIGURES, FigureName, PaperTable, Role, TableRow
from abet.scores import SCORES

Verdict = Literal["reproduced", "differs", "not compared", "not computed"]

VERDICTS: Final[tuple[Verdict, ...]] = ("reproduced", "differs", "not compared", "not computed")
TOLERANCE_POINTS: Final = 0.1
"""The paper rounds by up to 0.005, and another instruction set moved no figure of the demo by more than 0.0005 points.
The rest is room for what differs between two installations: arithmetic of GPUs, decoders of JPEG images."""
DUST_POINTS: Final = 1e-9
"""What decimal fractions lose in binary must not decide at the tolerance itself."""
EXACT: Final[Mapping[FigureName, str]] = {"auroc": "auroc", "auprc": "ap", "fpr95": "fpr95"}
"""What the exact figures are called in metrics.json."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure of one method on one set; all fractions."""

    dataset: str
    method: str
    checkpoint: Role | None
    score: str | None
    figure: FigureName
    paper: float | None
    reference: float | None = None
    """Ours by the paper's protocol."""
    exact: float | None = None
    verdict: Verdict
    because: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


def judge_table(
    table: PaperTable,
    found: Mapping[tuple[Role, str], Metrics],
    absent: Mapping[tuple[Role, str], str],
    *,
    tolerance_points: float = TOLERANCE_POINTS,
) -> list[Cell]:
    """Every cell of the table, set by set, in the order of its rows.

    found, absent: by network and set, what was measured, or why nothing was; each pair of the table is in one of them.
    """
    cells = []
    for dataset, wanted in table.sets.items():
        for row in table.rows:
            key = None if row.checkpoint is None else (row.checkpoint, dataset)
            metrics = None if key is None else found.get(key)
            why = None if key is None else absent.get(key)
            measured = _Measured(row=row, dataset=dataset, wanted_images=wanted.images, metrics=metrics, absent=why)
            cells += [measured.judge(figure, tolerance_points) for figure in FIGURES]
    return cells


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """A row of the table on one set, with what was measured for it."""

    row: TableRow
    dataset: str
    wanted_images: int
    metrics: Metrics | None
    absent: str | None
    """Why there are no metrics."""

    @property
    def entry(self) -> ScoreFigures | None:
        """Everything measured of the row's score."""
        return None if self.metrics is None or self.row.score is None else self.metrics.scores.get(self.row.score)

    def judge(self, figure: FigureName, tolerance_points: float) -> Cell:
        """One cell."""
        printed: float | None = getattr(self.row.figures[self.dataset], figure)
        reference, exact = self._reference(figure), self._exact(figure)
        verdict: Verdict
        if (why := self._why_not_computed()) is not None:
            verdict, because = "not computed", why
        elif printed is None or reference is None or self._images != self.wanted_images:
            verdict, because = "not compared", self._why_not_compared(printed)
        else:
            off = 100 * reference - printed
            exact_off = None if exact is None else 100 * exact - printed
            verdict = "reproduced" if within(off, tolerance_points) else "differs"
            because = self._explain(figure, off, exact_off, tolerance_points)
        return Cell(
            dataset=self.dataset,
            method=self.row.method,
            checkpoint=self.row.checkpoint,
            score=self.row.score,
            figure=figure,
            paper=None if printed is None else printed / 100,
            reference=reference,
            exact=exact,
            verdict=verdict,
            because=because,
        )

    def _reference(self, figure: FigureName) -> float | None:
        ours = self.entry.reference_protocol if self.entry else None
        return None if ours is None else getattr(ours, figure)

    def _exact(self, figure: FigureName) -> float | None:
        ours = getattr(self.entry, EXACT[figure]) if self.entry else None
        return None if ours is None else ours.value

    @property
    def _images(self) -> int | None:
        return None if self.metrics is None else self.metrics.images

    def _why_not_computed(self) -> str | None:
        score = self.row.score
        if self.row.checkpoint is None or score is None:
            return self.row.reason
        if self.metrics is None:
            return self.absent or "not evaluated"
        if self.entry is None:
            return f"evaluated without {score!r}" if score in SCORES else f"this version of abet has no score {score!r}"
        return _lasting(self.entry.reason or "undefined") if self.entry.auroc is None else None

    def _why_not_compared(self, printed: float | None) -> str:
        if self._images != self.wanted_images:
            return f"{self._images} images were evaluated, the paper's set has {self.wanted_images}"
        if printed is None:
            return str(self.row.reason)
        assert self.entry is not None
        own = self.entry.reference_protocol.reason if self.entry.reference_protocol else None
        return f"no figure by the paper's protocol: {own or self.entry.reference_protocol_reason}"

    def _explain(self, figure: FigureName, off: float, exact_off: float | None, tolerance_points: float) -> str:
        parts = [f"by the protocol {_off(off, tolerance_points)}"]
        if exact_off is not None:
            parts.append(f"exact {_off(exact_off, tolerance_points)}")
            if within(off, tolerance_points) != within(exact_off, tolerance_points):
                parts += self._what_the_protocol_does(figure)
        return "; ".join(parts)

    def _what_the_protocol_does(self, figure: FigureName) -> list[str]:
        """Why two figures of ours are apart."""
        assert self.metrics is not None
        assert self.entry is not None
        ours, pixels, exact = self.entry.reference_protocol, self.metrics.pixels, self.entry.fpr95
        assert ours is not None
        counted = (("ID", ours.dropped.id, pixels.id), ("OOD", ours.dropped.ood, pixels.ood))
        dropped = [f"{100 * part / whole:.2g}% of the {name} pixels" for name, part, whole in counted if part]
        parts = [f"the protocol drops {' and '.join(dropped)}"] if dropped else []
        if figure == "fpr95" and ours.tpr is not None and exact is not None and exact.tpr is not None:
            parts.append(f"its point finds {100 * ours.tpr:.2f}% of the OOD pixels, not {100 * exact.tpr:.2f}%")
        return parts or ["the protocol ranks by 100 bins"]


def within(points: float, tolerance_points: float) -> bool:
    """Whether a difference in percentage points is one that a reproduction may have."""
    return abs(points) <= tolerance_points + DUST_POINTS


def _off(points: float, tolerance_points: float) -> str:
    if within(points, tolerance_points):
        return f"within {tolerance_points:g} points"
    shown = f"{abs(points):.2f}"
    if float(shown) <= tolerance_points:  # rounded, it would look like what is allowed
        shown = f"{abs(points):.4f}"
    return f"{shown} points {'higher' if points > 0 else 'lower'}"


def counts(cells: list[Cell]) -> dict[Verdict, int]:
    """How many cells have each verdict."""
    return {verdict: sum(cell.verdict == verdict for cell in cells) for verdict in VERDICTS}


def _lasting(reason: str) -> str:
    """A set is not evaluated again where its figures lie, so a fit comes too late for them."""
    from abet.detector import NOT_FITTED

    return f"{reason}, then with another --output" if reason == NOT_FITTED else reason
