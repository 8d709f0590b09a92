"""Two models on the same images: intervals of the differences between their figures. No torch import.

    abet compare runs/abet runs/plain --dataset road_anomaly --scores abet:entropy

Both runs hold the pixels of every score image by image (``abet evaluate --protocols``). Equal images give equal draws
(`abet.metrics.bootstrap`), so what makes an image hard for both models drops out of the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from abet.errors import DataError, UsageError, unknown_name
from abet.metrics.bootstrap import FIGURES, compare, resample
from abet.metrics.image_counts import ImageCounts
from abet.metrics.pixel import PixelState
from abet.metrics.protocols import SEED
from abet.metrics.ranking import summarise
from abet.mirror import Mirror, mirrored
from abet.places import Place, S3Uri
from abet.run import CONFIG, evaluation_config, evaluation_dir, read_config, require_network
from abet.shard_set import complete_set
from abet.shards import ShardResult, read_shard
from abet.site import SiteConfig

Verdict = Literal["better", "worse", "not told apart"]

HIGHER_IS_BETTER: Final[Mapping[str, bool]] = {"auroc": True, "ap": True, "fpr95": False}
_ABOUT: Final = ("dataset", "split", "ood_definition")


@dataclass(frozen=True, kw_only=True)
class ModelCounts:
    """What one run counted on one data set, all shards together."""

    run: Place
    checkpoint: Mapping[str, Any]
    """``uri`` and ``sha256``."""
    about: Mapping[str, Any]
    """What must agree between two models, by name: the set as it was read, and its pixels."""
    list_sha256: str | None
    """`abet.data.index.Dataset.list_sha256` of what was read; None where it is not recorded."""
    pixel: Mapping[str, PixelState]
    """Score -> all pixels."""
    images: Mapping[str, ImageCounts]
    """Score -> pixels by image."""


def read_counts(run: Place, dataset: str, site: SiteConfig) -> ModelCounts:
    """The counts of a run, which may lie in S3.

    Raises:
        UsageError: controls were evaluated there.
        DataError: nothing is evaluated there, shards are missing, damaged or of different evaluations, or they were
            counted without what is compared here.
    """
    with mirrored(run, site) as mirror:
        names = _pull(mirror, dataset)
        config = read_config(mirror.folder)
        shards = [read_shard(evaluation_dir(mirror.folder, dataset) / name) for name in names]
    first = shards[0].fingerprint
    if (
        any(shard.fingerprint != first for shard in shards)
        or first["checkpoint_sha256"] != config["checkpoint"]["sha256"]
    ):
        raise DataError(f"{run}: the shards of {dataset} do not belong together: `abet merge` says which is wrong")
    if not first.get("protocols"):
        raise DataError(
            f"{run}: {dataset} was evaluated without what resampling images needs: evaluate it with --protocols into "
            "another --output, or remove its folder there first"
        )
    return ModelCounts(
        run=run,
        checkpoint=config["checkpoint"],
        about={key: first.get(key) for key in _ABOUT} | {"pixels": _pixels(shards)},
        list_sha256=first.get("list_sha256"),
        pixel={key: PixelState.merge(*(shard.pixel[key] for shard in shards)) for key in shards[0].pixel},
        images={
            key: ImageCounts.merge(*(shard.protocols[key].images for shard in shards)) for key in shards[0].protocols
        },
    )


def _pull(mirror: Mirror, dataset: str) -> list[str]:
    """Fetch the shards of a run in S3, and whose they are; returns their names. Raises DataError as `complete_set`."""
    below = evaluation_dir(Path(), dataset).as_posix() + "/"
    names = mirror.pull(lambda name: name in (CONFIG, f"evaluation/{CONFIG}"))
    if isinstance(mirror.place, S3Uri):
        there = [name.removeprefix(below) for name in names if name.startswith(below)]
    else:
        there = [path.name for path in evaluation_dir(mirror.folder, dataset).glob("shard-*.npz")]
    if evaluation_config(mirror.folder).is_file():
        uri = read_config(mirror.folder)["checkpoint"]["uri"]
        require_network(uri, mirror.place, purpose="they keep no counts to draw images from")
    found = complete_set(mirror.place, dataset, there)
    mirror.pull({below + name for name in found}.__contains__)
    return found


def _pixels(shards: Sequence[ShardResult]) -> dict[str, int]:
    return {name: sum(shard.pixels[name] for shard in shards) for name in shards[0].pixels}


def choose_pairs(first: ModelCounts, second: ModelCounts, named: Sequence[str]) -> list[tuple[str, str]]:
    """The scores to compare: ``KEY`` of both models, or ``KEY:KEY``, the first one's and the second's.

    Named none: every score that both define, in the first one's order.

    Raises:
        UsageError: a score that a run does not hold, or no score in common.
    """
    if not named:
        common = [(key, key) for key in first.images if key in second.images]
        if not common:
            raise UsageError(
                f"{first.run} and {second.run} have no score in common: name pairs, as "
                f"--scores {next(iter(first.images), 'KEY')}:{next(iter(second.images), 'KEY')}"
            )
        return common
    pairs = [(one, other if colon else one) for one, colon, other in (name.partition(":") for name in named)]
    for model, keys in zip((first, second), zip(*pairs, strict=True), strict=True):
        for key in keys:
            if key not in model.images:
                unknown = unknown_name(kind=f"score of {model.run}", name=key, choices=model.images)
                raise UsageError(f"{unknown}; A:B compares score A of the first with score B of the second")
    return pairs


def compare_models(first: ModelCounts, second: ModelCounts, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Per pair of scores and figure: both values, their difference, its interval, and what it says of the first model.

    The result is strict JSON, all figures fractions; ``non_finite_pixels`` where a score is no number somewhere.
    A verdict says better or worse where the interval lies on one side of 0.

    Raises:
        UsageError: the models saw other images, or these were read by another definition.
    """
    _require_same(first, second)
    drawn = {
        (side, key): resample(model.images[key], seed=SEED)
        for side, model in enumerate((first, second))
        for key in dict.fromkeys(pair[side] for pair in pairs)
    }
    points = {place: summarise((first, second)[place[0]].pixel[place[1]]) for place in drawn}
    comparisons = []
    for one, other in pairs:
        broken = {"first": _non_finite(first.pixel[one]), "second": _non_finite(second.pixel[other])}
        entry = {"score": one, "minus": other, **compare(drawn[0, one], drawn[1, other])}
        entry |= {"non_finite_pixels": broken} if any(broken.values()) else {}
        for figure in FIGURES:
            if entry[figure] is not None:
                entry[figure] = _judged(figure, points[0, one][figure], points[1, other][figure], entry[figure])
        comparisons.append(entry)
    models = ({"run": str(model.run), "checkpoint": dict(model.checkpoint)} for model in (first, second))
    return {
        "schema": 1,
        **first.about,
        **dict(zip(("first", "second"), models, strict=True)),
        "comparisons": comparisons,
    }


def _non_finite(state: PixelState) -> int:
    return state.non_finite_id + state.non_finite_ood


def _require_same(first: ModelCounts, second: ModelCounts) -> None:
    for what, one in first.about.items():
        if one != (other := second.about[what]):
            raise UsageError(
                f"{first.run} and {second.run} cannot be paired: {what} {one!r} and {other!r}; evaluate both alike"
            )
    names = [set().union(*(counts.names for counts in model.images.values())) for model in (first, second)]
    if alone := sorted(names[0] ^ names[1]):
        raise UsageError(
            f"{first.run} and {second.run} cannot be paired: {len(alone)} images are in one of them alone, such as "
            f"{alone[0]}; evaluate both on the same images"
        )
    if len({first.list_sha256, second.list_sha256} - {None}) > 1:
        raise UsageError(
            f"{first.run} and {second.run} cannot be paired: they read the same names from other files, by their sizes "
            "in bytes or their kind of label (list_sha256); evaluate both on equal copies of the set"
        )


def _judged(
    figure: str, one: Mapping[str, Any], other: Mapping[str, Any], interval: Mapping[str, Any]
) -> dict[str, Any]:
    values = {"first": one["value"], "second": other["value"], "difference": one["value"] - other["value"]}
    return {**values, **interval, "verdict": verdict(figure, interval["low"], interval["high"])}


def verdict(figure: str, low: float, high: float) -> Verdict:
    """What an interval of first minus second says of the first model."""
    if low <= 0 <= high:
        return "not told apart"
    return "better" if (low > 0) == HIGHER_IS_BETTER[figure] else "worse"
