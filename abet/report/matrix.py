"""The paper's figure: rows are images, columns are detectors, red is what reaches a detector's own 95% threshold.

abet report runs/abet runs/baseline --matrix matrix.png --images a.jpg,b.jpg
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from abet.errors import DataError, UsageError, unknown_name
from abet.files import atomic_path
from abet.labels import OOD, VOID
from abet.report.render import Mask, Picture, above, tint_label
from abet.report.runs import RunResults, Sample, label_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CROP_MARGIN_PIXELS = 40
ASPECT = 16 / 9
FEW_OOD_PIXELS = 50
"""Below this the reference left an image out (and shifted the rows of that column); we keep it and say so."""
CROPPED_DATASETS = frozenset({"lost_and_found"})
PREFERRED = {"abet": 0, "entropy": 1}
"""Which score stands for a run when none is named: the first of these, then of all others, with a threshold."""
FORMATS = (".png", ".pdf")

COLUMN_INCHES, GAP_INCHES, TITLE_LINE_INCHES, CAPTION_INCHES = 3.2, 0.05, 0.17, 0.2
DOTS_PER_INCH = 200
RED = (196, 0, 0)


class Box(NamedTuple):
    """Pixels top <= row < bottom, left <= column < right."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True, kw_only=True)
class MatrixColumn:
    """One detector: a score of a checkpoint, with its own threshold on the data set."""

    title: str
    score: str
    threshold: float
    """Raw score units; what reaches it shows red."""


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """One image of H x W pixels."""

    name: str
    image: Picture
    """(H, W, 3) uint8 RGB."""
    label: NDArray[np.uint8]
    """(H, W) of abet.labels ID, OOD, VOID."""
    scores: Sequence[NDArray[np.float32]]
    """One (H, W) map of raw scores per column, in the order of the columns."""
    cropped: bool
    """Show the surroundings of the OOD pixels alone (`crop_box`)."""


Style = Literal["overlay", "reference"]


def write_matrix(
    rows: Sequence[MatrixRow], columns: Sequence[MatrixColumn], output: Path, *, style: Style = "overlay"
) -> None:
    """Draw the figure into a ``.png`` or ``.pdf`` file; atomic, and the same input gives the same bytes.

    ``style`` chooses how excess is drawn: `mark_overlay`, or `mark_reference` as the published notebook did.

    Raises:
        UsageError: no row, no column, or another kind of file.
        DataError: the maps of a row differ in size or number.
    """
    if not rows or not columns:
        raise UsageError(f"a matrix needs at least one image and one column; there are {len(rows)} and {len(columns)}")
    check_figure_path(output)
    figure = _draw([_pictures(row, columns, style) for row in rows], [caption(row) for row in rows], columns)
    kind = output.suffix.lower().removeprefix(".")
    # Without these, a PDF holds the time of writing and a PNG the library's version
    metadata = {"Software": None} if kind == "png" else {"CreationDate": None, "Creator": None, "Producer": None}
    with atomic_path(output) as temporary:
        figure.savefig(temporary, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)


def check_figure_path(output: Path) -> None:
    """Raises UsageError unless `write_matrix` knows the format by the name's ending: to ask before any work."""
    if output.suffix.lower() not in FORMATS:
        raise UsageError(f"{output}: a matrix is written as {' or '.join(FORMATS)}; change the name's ending")


def matrix_columns(
    runs: Sequence[RunResults], dataset: str, scores: Sequence[str] | None = None
) -> list[tuple[RunResults, MatrixColumn]]:
    """The columns of ``runs`` with the run each belongs to: every run in turn with each of ``scores``.

    Without ``scores`` a run has one column: abet where its head defines it, else entropy, else its first score. Named
    scores that a head does not define are left out for that run, unless no run defines them.

    Raises:
        UsageError: a run without this data set, or a score that no run evaluated.
        DataError: a run has no threshold for any wanted score.
    """
    found = [
        (run, MatrixColumn(title=label, score=key, threshold=threshold))
        for run, label in zip(runs, label_runs(runs), strict=True)
        for key, threshold in _thresholds(run, dataset, scores).items()
    ]
    drawn = {column.score for _, column in found}
    for key in scores or ():
        if key not in drawn:
            raise DataError(
                f"score {key!r} has no 95% threshold on {dataset} in any of these runs: choose other --scores"
            )
    return found


def _thresholds(run: RunResults, dataset: str, scores: Sequence[str] | None) -> dict[str, float]:
    if dataset not in run.datasets:
        raise unknown_name(kind=f"data set of {run.place}", name=dataset, choices=run.datasets)
    figures = run.datasets[dataset].metrics.scores
    for key in scores or ():
        if key not in figures:
            raise unknown_name(kind=f"score of {run.place}", name=key, choices=figures)
    wanted = scores or sorted(figures, key=lambda key: PREFERRED.get(key, len(PREFERRED)))
    usable = {key: value for key in wanted if (value := figures[key].threshold) is not None}
    if not usable:
        raise DataError(f"{run.place}: none of {', '.join(wanted)} has a 95% threshold on {dataset}; see metrics.json")
    return usable if scores else dict([next(iter(usable.items()))])


def row_from_samples(dataset: str, samples: Sequence[Sample], columns: Sequence[MatrixColumn]) -> MatrixRow:
    """A row from the samples that the columns' runs kept of one image: one sample per column, in order.

    Raises:
        DataError: a sample lacks its column's score, or the samples are not of one image, or the runs read its label
            differently: the row shows one.
    """
    assert len(samples) == len(columns) > 0
    first = samples[0]
    for sample, column in zip(samples, columns, strict=True):
        if sample.name != first.name:
            raise DataError(f"samples of {first.name!r} and {sample.name!r} in one row: not one image")
        if not np.array_equal(sample.label, first.label):
            raise DataError(
                f"{first.name}: {columns[0].title!r} and {column.title!r} have different labels of it, and a row shows "
                "one: draw runs that were evaluated with one --ood-definition"
            )
        if column.score not in sample.scores:
            raise DataError(f"the sample of {sample.name!r} for {column.title!r} holds no score {column.score!r}")
    return MatrixRow(
        name=first.name,
        image=first.image,
        label=first.label,
        scores=[sample.scores[column.score] for sample, column in zip(samples, columns, strict=True)],
        cropped=dataset in CROPPED_DATASETS,
    )


def crop_box(label: NDArray[np.uint8], *, margin: int = CROP_MARGIN_PIXELS, aspect: float = ASPECT) -> Box:
    """The part to show of an image whose objects are small: the OOD pixels and ``margin`` pixels on each side.

    Grown about its centre to ``aspect`` (width / height), then moved, not cut, into the image (the reference's could
    start before the image); only what is larger than the image is cut to it. Without OOD pixels: the whole image.
    """
    height, width = label.shape
    found = np.argwhere(label == OOD)
    if found.size == 0:
        return Box(0, height, 0, width)
    (top, left), (bottom, right) = found.min(axis=0) - margin, found.max(axis=0) + 1 + margin
    tall = max(int(bottom - top), round((right - left) / aspect))
    wide = max(int(right - left), round(tall * aspect))
    rows = _place(float(top + bottom) / 2, tall, height)
    columns = _place(float(left + right) / 2, wide, width)
    return Box(*rows, *columns)


def _place(centre: float, length: int, limit: int) -> tuple[int, int]:
    """An interval of ``length`` about ``centre``, moved into [0, limit] and cut only if it does not fit there."""
    length = min(length, limit)
    start = min(max(round(centre - length / 2), 0), limit - length)
    return start, start + length


def excess(score: NDArray[np.float32], threshold: float, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How far each pixel exceeds the threshold, clipped at 0 and min-max normalised over the valid pixels: 0..1.

    NaN and +infinity are 1: they rank above every number. A pixel that just reaches the threshold is 0 like all below
    it (`abet.report.render.above` tells them apart), and so is every pixel where all exceed it alike.
    """
    wide = score.astype(np.float64)
    extreme = np.isnan(wide) | np.isposinf(wide)
    over = np.clip(np.where(extreme, threshold, wide) - threshold, 0, None)
    counted = over[valid & ~extreme]
    low, high = (counted.min(), counted.max()) if counted.size else (0.0, 0.0)
    level = (over - low) / (high - low) if high > low else np.zeros_like(over)
    return np.where(extreme, 1.0, np.clip(level, 0, 1))


def mark_reference(image: Picture, label: NDArray[np.uint8], level: NDArray[np.float64]) -> Picture:
    """The image with its red channel replaced by ``level`` (0..1) and void black (reference behaviour)."""
    marked = image.copy()
    marked[..., 0] = np.rint(level * 255)
    marked[label == VOID] = 0
    return marked


def mark_overlay(image: Picture, label: NDArray[np.uint8], level: NDArray[np.float64], flagged: Mask) -> Picture:
    """Red over the lightened grey image where ``flagged``, the stronger the higher ``level`` (0..1); void black.

    Replacing the red channel turns the scene cyan and a bright pixel white where it is flagged. Dark red on light grey
    is told apart by lightness alone; a pixel that just reaches the threshold already has a quarter of the ink.
    """
    grey = 90 + 0.6 * (image @ np.array([0.299, 0.587, 0.114]))
    ink = np.where(flagged, 0.25 + 0.75 * level, 0.0)[..., None]
    marked = (1 - ink) * grey[..., None] + ink * np.array(RED, dtype=np.float64)
    return np.asarray(np.where((label == VOID)[..., None], 0, np.clip(np.rint(marked), 0, 255)), dtype=np.uint8)


def caption(row: MatrixRow) -> str:
    """Name of the image, and a note where it has so few OOD pixels that the reference would leave it out."""
    ood = int(np.count_nonzero(row.label == OOD))
    return row.name if ood >= FEW_OOD_PIXELS else f"{row.name} (only {ood} OOD pixels)"


def _pictures(row: MatrixRow, columns: Sequence[MatrixColumn], style: Style) -> list[Picture]:
    """What the row shows, the labelled image first, cropped."""
    if len(row.scores) != len(columns):
        raise DataError(f"{row.name}: {len(row.scores)} score maps for {len(columns)} columns")
    height, width = row.image.shape[:2]
    shapes = {"label": row.label.shape} | {
        f"{column.title} {column.score}": score.shape for column, score in zip(columns, row.scores, strict=True)
    }
    for what, shape in shapes.items():
        if shape != (height, width):
            raise DataError(f"{row.name}: {what} is {shape}, the image {(height, width)} (rows, columns)")
    box = crop_box(row.label) if row.cropped else Box(0, height, 0, width)
    view = (slice(box.top, box.bottom), slice(box.left, box.right))
    marked = [_mark(row, score, column.threshold, style) for score, column in zip(row.scores, columns, strict=True)]
    return [picture[view] for picture in (tint_label(row.image, row.label), *marked)]


def _mark(row: MatrixRow, score: NDArray[np.float32], threshold: float, style: Style) -> Picture:
    level = excess(score, threshold, row.label != VOID)
    if style == "reference":
        return mark_reference(row.image, row.label, level)
    return mark_overlay(row.image, row.label, level, above(score, threshold))


def _draw(rows: Sequence[Sequence[Picture]], captions: Sequence[str], columns: Sequence[MatrixColumn]) -> "Figure":
    from matplotlib.figure import Figure

    heights = [COLUMN_INCHES * row[0].shape[0] / row[0].shape[1] for row in rows]
    total_width = (len(columns) + 1) * (COLUMN_INCHES + GAP_INCHES) + GAP_INCHES
    titles = ["image, OOD in red", *map(_heading, columns)]
    head = 0.12 + TITLE_LINE_INCHES * max(title.count("\n") + 1 for title in titles)
    total_height = head + sum(heights) + len(rows) * CAPTION_INCHES + GAP_INCHES
    figure = Figure(figsize=(total_width, total_height), facecolor="white")
    text: dict[str, Any] = {"parse_math": False, "color": "#1f2933", "family": "DejaVu Sans"}
    lefts = [GAP_INCHES + place * (COLUMN_INCHES + GAP_INCHES) for place in range(len(columns) + 1)]
    for left, title in zip(lefts, titles, strict=True):
        x, y = (left + COLUMN_INCHES / 2) / total_width, 1 - (head - 0.06) / total_height
        figure.text(x, y, title, ha="center", va="bottom", fontsize=9, **text)
    bottom = total_height - head
    for row, height, name in zip(rows, heights, captions, strict=True):
        bottom -= height
        for left, picture in zip(lefts, row, strict=True):
            place = (left / total_width, bottom / total_height, COLUMN_INCHES / total_width, height / total_height)
            axes = figure.add_axes(place)
            axes.imshow(_fit(picture), aspect="auto", interpolation="antialiased")
            axes.set_axis_off()
        bottom -= CAPTION_INCHES
        x, y = lefts[0] / total_width, (bottom + CAPTION_INCHES - 0.04) / total_height
        figure.text(x, y, name, ha="left", va="top", fontsize=7, **text)
    return figure


def _heading(column: MatrixColumn) -> str:
    """At most two lines of run, then the score with its threshold."""
    lines = textwrap.wrap(column.title, width=44, max_lines=2, placeholder="…")
    return "\n".join([*lines, f"{column.score} ≥ {column.threshold:.4g}"])


def _fit(picture: Picture) -> Picture:
    """No more pixels than the figure prints: keeps files small."""
    height, width = picture.shape[:2]
    limit = round(COLUMN_INCHES * DOTS_PER_INCH)
    if width <= limit:
        return picture
    size = (limit, max(1, round(height * limit / width)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
