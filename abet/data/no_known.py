"""LostAndFound without what Cityscapes networks know: SegmentMeIfYouCan's split ``LostAndFound-testNoKnown``.

The rules are those of the benchmark's toolkit (road_anomaly_benchmark/datasets/tracks.py in the repository
SegmentMeIfYouCan/road-anomaly-benchmark): of LostAndFound's test split without the images whose labels are empty, one
street with children and three sequences with bicycles are left out, which makes 1043 images. Label ids decide: 1 is
ID, every higher one OOD (objects that one may drive over too, other than in LostAndFound itself), 0 void.

The toolkit names the empty labels by their place in the sorted list of all 1203 images, so they are left out of a
complete list alone. In any other they stay, and add nothing to any figure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from abet.data import lost_and_found as laf
from abet.data.layout import DatasetSpec, Pair, Scan
from abet.data.pairing import IMAGE_TOKEN
from abet.text import counted

KNOWN_PREFIXES: Final = (
    "15_Rechbergstr_Deckenpfronn",
    "01_Hanns_Klemm_Str_45_000006",
    "01_Hanns_Klemm_Str_45_000007",
    "10_Schlossberg_9_000004",
)
"""Children, and three times bicycles."""
EMPTY_PLACES: Final = frozenset({17, 37, 55, 72, 91, 110, 129, 153, 174, 197, 218, 353, 490, 618, 686, 792, 793})
"""Of the images with empty labels in the list of all, sorted by stem, from 0 on."""
_COMPLETE: Final = laf.LOST_AND_FOUND.published_images["test"]


def without_known(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Those of LostAndFound's test pairs that the benchmark evaluates, in the same order."""
    by_stem = sorted(pairs, key=_stem)
    empty = EMPTY_PLACES if len(by_stem) == _COMPLETE else frozenset()
    kept = {pair.name for place, pair in enumerate(by_stem) if place not in empty and not _is_known(pair)}
    return tuple(pair for pair in pairs if pair.name in kept)


def _stem(pair: Pair) -> str:
    return PurePosixPath(pair.name).stem.removesuffix(IMAGE_TOKEN)


def _is_known(pair: Pair) -> bool:
    return _stem(pair).startswith(KNOWN_PREFIXES)


def _scan(root: Path, split: str, *, kinds: laf.Kinds) -> Scan:
    whole = laf.scan(root, split, kinds=kinds)
    return replace(whole, pairs=without_known(whole.pairs), notes=(*whole.notes, *_notes(whole.pairs)))


def _notes(pairs: Sequence[Pair]) -> Iterator[str]:
    yield f"{counted(sum(map(_is_known, pairs)), 'image')} with children or bicycles left out"
    if len(pairs) != _COMPLETE:
        yield f"{len(pairs)} of LostAndFound's {_COMPLETE} images are here: images with empty labels are not left out"


_ROAD, _ALL_OBJECTS, *_WHOLE = (laf.by_definition(*row, scanner=_scan) for row in laf.BY_LABEL_IDS)
assert _ALL_OBJECTS.layouts is not None

LOST_AND_FOUND_NO_KNOWN: Final = DatasetSpec(
    title="LostAndFound NoKnown",
    kind="ood",
    citation="Chan, Lis, Uhlemeyer, Blum, Honari, Siegwart, Fua, Salzmann, Rottmann: SegmentMeIfYouCan: A Benchmark "
    "for Anomaly Segmentation. NeurIPS 2021 (Datasets and Benchmarks), arXiv 2104.14812. The images: "
    + laf.LOST_AND_FOUND.citation,
    page=laf.LOST_AND_FOUND.page,
    downloads=laf.LOST_AND_FOUND.downloads,
    licence=laf.LOST_AND_FOUND.licence,
    splits=("test",),
    default_split="test",
    published_images={"test": 1043},
    layouts=_ALL_OBJECTS.layouts,
    definitions=(_ALL_OBJECTS, _ROAD, *_WHOLE),
)
