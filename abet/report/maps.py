"""What the viewer shows of a data set: photographs, labels, classes and coded score maps, as pictures in the page.

A map travels as a lossless picture of its 8-bit codes (`abet.report.levels`); the page's script reads the codes back
and compares. Each image is a block of its own in the page, decoded when it is shown. With every map goes a checksum,
since some browsers alter what a page reads from pictures.
"""

import base64
import io
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from abet.cpus import available_cpus
from abet.errors import UsageError
from abet.labels import ID, OOD, VOID
from abet.report.levels import Levels, choose_levels
from abet.report.render import Picture
from abet.report.runs import DatasetResults, RunResults, Sample, score_keys

MOST_MAPS: Final = 4
"""(run, score) choices of a data set whose maps are embedded, unless there are more runs."""
THUMBNAIL_WIDTH: Final = 112
PHOTO_QUALITY, THUMBNAIL_QUALITY = 78, 60
"""WebP's, 0..100."""

Codes = NDArray[np.uint8]
Lossless = tuple[str, int]
"""A data URI, and the Adler-32 of the codes in it, row by row."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice:
    """One score of one run whose maps can be looked at."""

    run: int
    score: str
    levels: Levels


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a page may hold: pixels per map, choices per data set, images per data set (evenly spread)."""

    pixels: int
    choices: int
    images: int


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The images of a data set that can be looked at, and the sizes of their maps."""

    blocks: Mapping[str, Mapping[str, Any]]
    """Image name -> its pictures as data URIs."""
    choices: Sequence[Choice]
    scale: str
    """At which size maps are shown, for people; empty without images."""


def choices(runs: Sequence[RunResults], dataset: str, wanted: Sequence[str] = ()) -> list[Choice]:
    """The (run, score) whose maps are embedded: of every run ``wanted``, or the first of its scores and then the best.

    Without ``wanted``, the runs take turns: the score that stands first in each run's table, then the others by AP,
    `MOST_MAPS` in all, but no run without any. A score without maps or without thresholds is left out.
    """
    found = []
    for number, run in enumerate(runs):
        if dataset not in run.datasets:
            continue
        results = run.datasets[dataset]
        order = [key for key in wanted if key in results.sampled_scores()] if wanted else _by_rank(results)
        made = [(key, _levels(results, key)) for key in order]
        found.append([Choice(run=number, score=key, levels=levels) for key, levels in made if levels is not None])
    if wanted:
        return [choice for row in found for choice in row]
    rounds = range(max(map(len, found), default=0))
    turns = [row[turn] for turn in rounds for row in found if turn < len(row)]
    kept = turns[: max(MOST_MAPS, len(found))]
    return sorted(kept, key=lambda choice: choice.run)


def check_wanted(runs: Sequence[RunResults], chosen: Mapping[str, Sequence[Choice]], wanted: Sequence[str]) -> None:
    """Raises UsageError for a score of ``wanted`` of which no data set's `choices` has a map; names those that do."""
    missing = [key for key in wanted if not any(choice.score == key for row in chosen.values() for choice in row)]
    if not missing:
        return
    every = (choice for run in runs for name in run.datasets for choice in choices([run], name, score_keys([run])))
    held = list(dict.fromkeys(choice.score for choice in every))
    remedy = f"choose among {', '.join(held)}" if held else "`abet evaluate --samples 60` into a new folder keeps some"
    raise UsageError(f"--maps {','.join(missing)}: these runs kept no map of {' or '.join(missing)}; {remedy}")


def _by_rank(results: DatasetResults) -> list[str]:
    first, *others = results.sampled_scores() or [""]
    return [first, *sorted(others, key=lambda key: -_ap(results, key))] if first else []


def _ap(results: DatasetResults, key: str) -> float:
    figure = results.metrics.scores[key].ap
    return 0.0 if figure is None or figure.value is None else figure.value


def _levels(results: DatasetResults, key: str) -> Levels | None:
    if key not in results.curves:
        return None
    return choose_levels(results.curves[key], results.metrics.scores[key].fpr95, results.metrics.pixels)


def evenly(names: Sequence[str], count: int) -> list[str]:
    """``count`` of the names at even distances, the first and the last among them; all when there are no more."""
    if len(names) <= count:
        return list(names)
    picks = np.linspace(0, len(names) - 1, count).round().astype(int)
    return [names[pick] for pick in np.unique(picks)] if count else []


def sampled(runs: Sequence[RunResults], dataset: str) -> list[str]:
    """The images of which any run kept maps, by name."""
    return sorted({name for run in runs if dataset in run.datasets for name in run.datasets[dataset].samples})


def largest_map(runs: Sequence[RunResults], dataset: str) -> int:
    """Pixels of the first map that each run kept of a data set, at most; 0 without any."""
    results = [run.datasets[dataset] for run in runs if dataset in run.datasets]
    firsts = [found.sample(next(iter(found.samples)), scores=()) for found in results if found.samples]
    return max((sample.label.size for sample in firsts), default=0)


def keep(runs: Sequence[RunResults], dataset: str, chosen: Sequence[Choice], budget: Budget) -> Kept:
    """The pictures of a data set that fit the budget. Raises DataError for a damaged sample."""
    names = evenly(sampled(runs, dataset), budget.images)
    chosen = chosen[: budget.choices]
    # Reading and encoding let go of the interpreter; as many images are in memory as there are processors
    with ThreadPoolExecutor(available_cpus()) as pool:
        made = pool.map(lambda name: _block(runs, dataset, name, chosen, budget.pixels), names)
        blocks = dict(zip(names, made, strict=True))
    return Kept(blocks=blocks, choices=chosen, scale=_scale(list(blocks.values())))


def _block(
    runs: Sequence[RunResults], dataset: str, name: str, chosen: Sequence[Choice], pixels: int
) -> dict[str, Any]:
    """Pictures of one image: ``maps`` by place among the choices, ``classes`` by run; sizes are (width, height).

    ``maps``, ``classes`` and ``labels`` are `Lossless` ones; ``label_of`` is by run its place among the labels, also of
    a run that kept no maps of the image where one of the same definition did. Runs that read the label alike share
    one: most pages hold one per image.
    """
    block: dict[str, Any] = {"maps": {}, "classes": {}, "label_of": {}}
    labels: list[Codes] = []
    for number, run in enumerate(runs):
        if dataset not in run.datasets or name not in run.datasets[dataset].samples:
            continue
        keys = [choice.score for choice in chosen if choice.run == number]
        sample = run.datasets[dataset].sample(name, scores=keys)
        if "size" not in block:
            block |= _views(sample, pixels)
        picks = _picks(sample.label.shape, (block["size"][1], block["size"][0]))
        block["classes"][number] = lossless(sample.prediction[picks])
        block["label_of"][number] = _place_among(labels, _kinds(sample.label[picks]))
        for place, choice in enumerate(chosen):
            if choice.run == number and choice.score in sample.scores:
                block["maps"][place] = lossless(choice.levels.encode(sample.scores[choice.score][picks]))
    return {**block, "label_of": _label_of(runs, dataset, block["label_of"]), "labels": tuple(map(lossless, labels))}


def _label_of(runs: Sequence[RunResults], dataset: str, kept: Mapping[int, int]) -> dict[int, int]:
    """By run the place of its label, those of ``kept`` and of the runs that go by the same definition of OOD."""
    definitions = {
        n: run.datasets[dataset].metrics.ood_definition for n, run in enumerate(runs) if dataset in run.datasets
    }
    found = {definitions[number]: place for number, place in kept.items()}
    return {**{number: found[name] for number, name in definitions.items() if name in found}, **kept}


def _kinds(label: Codes) -> Codes:
    """What a pixel is as the page's script names it, of a label (H, W) of ID, OOD and VOID."""
    kinds = np.zeros(label.shape, np.uint8)
    for code, kind in enumerate((ID, OOD, VOID)):
        kinds[label == kind] = code
    return kinds


def _place_among(found: list[Codes], one: Codes) -> int:
    """The place of a map among those found so far; one that is not there yet is put at the end."""
    for place, other in enumerate(found):
        if np.array_equal(other, one):
            return place
    found.append(one)
    return len(found) - 1


def _views(sample: Sample, pixels: int) -> dict[str, Any]:
    """What does not depend on the run."""
    height, width = fitted(sample.label.shape, pixels)
    full_height, full_width = sample.full_size or sample.label.shape
    small = (THUMBNAIL_WIDTH, max(1, round(THUMBNAIL_WIDTH * height / width)))
    return {
        "size": [width, height],
        "full": [full_width, full_height],
        "sampled": sample.full_size is not None,
        "photo": _photo(sample.image, (width, height), PHOTO_QUALITY),
        "thumbnail": _photo(sample.image, small, THUMBNAIL_QUALITY),
    }


def fitted(shape: tuple[int, ...], pixels: int) -> tuple[int, int]:
    """The largest (rows, columns) of this form with at most so many pixels, and never more than it has."""
    height, width = shape
    scale = min(1.0, (pixels / (height * width)) ** 0.5)
    return max(1, int(height * scale)), max(1, int(width * scale))


def _picks(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which pixels a smaller map takes: whole ones, so that a code is that of a pixel and never a mean."""
    rows, columns = (
        ((np.arange(small) + 0.5) * large / small).astype(np.intp) for small, large in zip(size, shape, strict=True)
    )
    return np.ix_(rows, columns)  # type: ignore[return-value]


def _scale(blocks: Sequence[Mapping[str, Any]]) -> str:
    """The sizes of all maps in words, as a range where they differ; empty without any."""
    if not blocks:
        return ""
    sizes, full = [block["size"] for block in blocks], [block["full"] for block in blocks]
    shown = _range([(width * height, f"{width}x{height}") for width, height in sizes])
    if sizes == full:
        return f"{shown} pixels, the full size" if all(block["sampled"] for block in blocks) else f"{shown} pixels"
    whole = _range([(width * height, f"{width}x{height}") for width, height in full])
    ratios = [(wide * high) / (width * height) for (width, height), (wide, high) in zip(sizes, full, strict=True)]
    every = _range([(ratio, f"{ratio:.3g}") for ratio in ratios])
    return f"{shown} of {whole} pixels, one of {every} and none averaged"


def _range(found: Sequence[tuple[float, str]]) -> str:
    low, high = min(found)[1], max(found)[1]
    return low if low == high else f"{low} to {high}"


def lossless(codes: Codes) -> Lossless:
    """A (H, W) uint8 map as a data URI that a browser reads back to the bit, and the Adler-32 of its bytes."""
    # Effort beyond this takes half as long again and saves 2%
    uri = _webp(np.repeat(codes[..., None], 3, axis=-1), lossless=True, quality=25, method=1)
    return uri, zlib.adler32(codes.tobytes())


def _photo(image: Picture, size: tuple[int, int], quality: int) -> str:
    if size != (image.shape[1], image.shape[0]):
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    return _webp(image, quality=quality, method=4)


def _webp(picture: Picture, **options: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", **options)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
