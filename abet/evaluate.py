"""One pass of one model over a data set: every score at full resolution into streaming metric states.

    abet evaluate --checkpoint weights/abet-cityscapes --dataset road_anomaly --output runs/eval

A shard is every N-th image from the I-th on. Its file holds counts alone, so shards add up in any order
(`abet.merge`) to the bytes that one unsharded pass gives.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from abet.data.index import OodDataset, Pair
from abet.detector import Detector, class_map, score_map
from abet.errors import DataError, UsageError
from abet.files import atomic_path, read_json, write_json
from abet.labels import ID, OOD, VOID
from abet.metrics.pixel import PixelCounter, PixelState
from abet.metrics.reference import ReferenceState
from abet.models.head import Output
from abet.progress import progress
from abet.run import evaluation_dir, open_run, provenance, sample_path, shard_path
from abet.scores import SCORES
from abet.version import __version__

SAMPLE_WIDTH_PIXELS = 1024
SHARD_FORMAT = 1
BUFFER_PIXELS = 2**22  # two buffers of 16 MiB for each score


@dataclass(frozen=True)
class Fingerprint:
    """What must agree between the shards of one evaluation."""

    dataset: str
    split: str
    images: int
    list_sha256: str
    checkpoint_sha256: str
    num_classes: int
    scores: tuple[str, ...]
    shards: int
    abet: str = __version__
    format: int = SHARD_FORMAT

    def to_json(self) -> dict[str, Any]:
        """Plain values, tuples as lists."""
        return {**asdict(self), "scores": list(self.scores)}


@dataclass(frozen=True)
class ShardResult:
    """What one shard adds to the evaluation: exact counts, nothing averaged."""

    fingerprint: dict[str, Any]
    shard: int
    images: int
    pixels: dict[str, int]
    missing: dict[str, str]
    """Score key -> why the head does not define it."""
    pixel: dict[str, PixelState]
    reference: dict[str, ReferenceState]


def run_config(detector: Detector) -> dict[str, Any]:
    """``config.yaml`` of an evaluation run."""
    return {
        "checkpoint": {"uri": detector.uri, "sha256": detector.sha256},
        "model": detector.config.model_dump(mode="json"),
    }


def shard_of(pairs: Sequence[Pair], shard: int, shards: int) -> tuple[Pair, ...]:
    """Images of shard ``shard`` (1-based) of ``shards``: every ``shards``-th one.

    Raises:
        UsageError: the shard does not exist, or would be empty.
    """
    if not 1 <= shard <= shards:
        raise UsageError(f"shard {shard}/{shards}: the shards of {shards} are 1/{shards} to {shards}/{shards}")
    if shards > len(pairs):
        raise UsageError(f"shard {shard}/{shards}: only {len(pairs)} images; use at most {len(pairs)} shards")
    return tuple(pairs[shard - 1 :: shards])


def sample_names(pairs: Sequence[Pair], count: int) -> frozenset[str]:
    """``count`` image names spread evenly over the whole list, the same whatever the sharding."""
    if count <= 0:
        return frozenset()
    places = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)
    return frozenset(pairs[place].name for place in places)


def estimate_seconds(detector: Detector, pixels: int) -> float:
    """Time that ``pixels`` of images will take, from two passes over a small patch (the first one warms up)."""
    patch = np.zeros((128, 256, 3), np.uint8)
    detector.output(patch)
    start = time.perf_counter()
    output = detector.output(patch)
    for key in detector.available_scores():
        score_map(key, output)
    return (time.perf_counter() - start) * pixels / (patch.shape[0] * patch.shape[1])


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One detector on one data set with the scores to take."""

    detector: Detector
    dataset: OodDataset
    scores: tuple[str, ...]
    shards: int = 1
    samples: int = 6
    """How many images keep their maps for the report."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What the shards of this evaluation share."""
        return Fingerprint(
            dataset=self.dataset.name,
            split=self.dataset.split,
            images=len(self.dataset.pairs),
            list_sha256=self.dataset.list_sha256(),
            checkpoint_sha256=self.detector.sha256,
            num_classes=self.detector.config.num_classes,
            scores=self.scores,
            shards=self.shards,
        )

    def run_shard(self, run: Path, shard: int) -> Path:
        """Evaluate shard ``shard`` (1-based) into its file below ``run`` and return the path.

        A shard that is already there, of the same evaluation, is kept. The file appears only when complete.

        Raises:
            UsageError: ``run`` holds another checkpoint or another evaluation of this data set.
            DataError: an image or label breaks its contract.
        """
        pairs = shard_of(self.dataset.pairs, shard, self.shards)
        open_run(run, run_config(self.detector))
        self._join(run)
        path = shard_path(run, self.dataset.name, shard, self.shards)
        if path.exists():
            read_shard(path)
            return path
        result = self._count(run, shard, pairs)
        write_shard(path, result)
        return path

    def _join(self, run: Path) -> None:
        """Write, or compare with, the description that all shards of this evaluation share."""
        path = evaluation_dir(run, self.dataset.name) / "evaluation.json"
        if not path.exists():
            description = {**self.fingerprint.to_json(), "data_root": self.dataset.root.resolve().as_posix()}
            write_json(path, {**description, "started": provenance()}, keep_existing=True)
        found, wanted = read_json(path), self.fingerprint.to_json()
        changed = [key for key, value in wanted.items() if found.get(key) != value]
        if changed:
            raise UsageError(
                f"{path.parent} holds another evaluation of {self.dataset.name} (different: "
                f"{', '.join(f'{key} {found.get(key)!r} there, {wanted[key]!r} here' for key in changed)}): "
                "choose another --output, or remove that folder"
            )

    def _count(self, run: Path, shard: int, pairs: Sequence[Pair]) -> ShardResult:
        missing = {key: reason for key in self.scores if (reason := self.detector.why_missing(key)) is not None}
        counters = {key: _Counter(key, self.detector.config.num_classes) for key in self.scores if key not in missing}
        pixels = {"id": 0, "ood": 0, "void": 0}
        kept = sample_names(self.dataset.pairs, self.samples)
        with progress(f"{self.dataset.name} {shard}/{self.shards}", len(pairs)) as advance:
            for pair in pairs:
                image, label = self.dataset.read(pair)
                output = self.detector.output(image)
                for name, value in (("id", ID), ("ood", OOD), ("void", VOID)):
                    pixels[name] += int((label == value).sum())
                maps = {key: counter.add(output, label) for key, counter in counters.items()}
                if pair.name in kept:
                    sample = make_sample(pair.name, image, label, class_map(output), maps)
                    write_sample(sample_path(run, self.dataset.name, pair.name), sample)
                advance(1)
        return ShardResult(
            fingerprint=self.fingerprint.to_json(),
            shard=shard,
            images=len(pairs),
            pixels=pixels,
            missing=missing,
            pixel={key: counter.pixel.state() for key, counter in counters.items()},
            reference={key: c.reference for key, c in counters.items() if c.reference is not None},
        )


class _Counter:
    """Both metric states of one score while a shard runs."""

    def __init__(self, key: str, num_classes: int) -> None:
        self.score = SCORES[key]
        self.num_classes = num_classes
        self.pixel = PixelCounter(buffer_pixels=BUFFER_PIXELS)
        self.reference = ReferenceState.empty() if self.score.reference is not None else None

    def add(self, output: Output, label: NDArray[np.uint8]) -> NDArray[np.float32]:
        raw = score_map(self.score.key, output)
        self.pixel.add(raw, label)
        if self.reference is not None:
            assert self.score.reference is not None
            bounded = self.score.reference(raw, self.num_classes)
            self.reference = ReferenceState.merge(self.reference, ReferenceState.count(bounded, label))
        return raw


def make_sample(
    name: str,
    image: NDArray[np.uint8],
    label: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    scores: Mapping[str, NDArray[np.float32]],
) -> dict[str, NDArray[Any]]:
    """Arrays of one image for showing, at most 1024 pixels wide: the photograph averaged, the maps by nearest pixel."""
    step = -(-label.shape[1] // SAMPLE_WIDTH_PIXELS)
    small = (slice(step // 2, None, step),) * 2
    target = label[small].shape
    shown = np.asarray(PilImage.fromarray(image).resize((target[1], target[0]), PilImage.Resampling.BOX))
    maps = {f"score_{key}": np.ascontiguousarray(value[small]) for key, value in scores.items()}
    return {"name": np.array(name), "image": shown, "label": label[small], "prediction": prediction[small], **maps}


def write_sample(path: Path, sample: Mapping[str, NDArray[Any]]) -> None:
    """Write one image's maps (see `make_sample`) as an npz file."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **sample)  # type: ignore[arg-type]


def write_shard(path: Path, result: ShardResult) -> None:
    """Write a shard's counts; the file appears only when complete."""
    header = {
        "fingerprint": result.fingerprint,
        "shard": result.shard,
        "images": result.images,
        "pixels": result.pixels,
        "missing": result.missing,
    }
    arrays: dict[str, NDArray[Any]] = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    for key, pixel in result.pixel.items():
        arrays |= {f"pixel.{key}.{name}": array for name, array in pixel.to_arrays().items()}
    for key, reference in result.reference.items():
        arrays |= {f"reference.{key}.{name}": array for name, array in reference.to_arrays().items()}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def read_shard(path: Path) -> ShardResult:
    """Read a shard. Raises DataError for a damaged one or one of another version."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop("header").tobytes())
        result = ShardResult(
            **header,
            pixel={key: PixelState.from_arrays(part) for key, part in _group(arrays, "pixel").items()},
            reference={key: ReferenceState.from_arrays(part) for key, part in _group(arrays, "reference").items()},
        )
    except Exception as error:  # a damaged archive raises whatever its parsers raise: zlib, zip, json, numpy, ours
        raise DataError(f"{path}: damaged shard ({error}); remove it and evaluate that shard again") from None
    if result.fingerprint.get("format") != SHARD_FORMAT:
        raise DataError(f"{path}: shard of another version; remove it and evaluate that shard again")
    return result


def _group(arrays: Mapping[str, NDArray[Any]], kind: str) -> dict[str, dict[str, NDArray[Any]]]:
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        prefix, key, part = name.split(".", 2)
        if prefix == kind:
            groups.setdefault(key, {})[part] = array
    return groups
